"""What lies inside the objects of a checkpoint whose classes were not loaded: modules, configurations.

A pickle may share its parts so that a walk over them never ends; every walk here counts its steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mhc_diag.sources.files.pickled_objects import Damaged, Foreign, as_key
from mhc_diag.sources.files.torch_rebuild import StoredTensor

MOST_TENSORS = 1_000_000
DEEPEST_MODULE = 64
LONGEST_NAME = 4096
MOST_VALUES = 10_000
DEEPEST_VALUE = 8


def unfold(node: Any) -> Any:
    """What an object holds as a dictionary or a list; a module becomes its state_dict.

    Raises:
        Damaged: a module that has no end.

    Example:
        >>> namespace = Foreign("argparse.Namespace", ())
        >>> namespace.build({"lr": 0.1})
        >>> unfold(namespace), unfold([1])
        ({'lr': 0.1}, [1])
    """
    if not isinstance(node, Foreign):
        return node
    attributes = node.attributes
    if is_module(node):
        return dict(_state_dict(node, "", 0, [MOST_TENSORS]))
    if node.items and not node.entries:
        return node.items
    return {**_pairs(node), **attributes, **node.entries}


def is_module(node: Any) -> bool:
    """Whether an object is a torch.nn.Module."""
    return isinstance(node, Foreign) and all(
        isinstance(node.attributes.get(part), Mapping) for part in ("_parameters", "_buffers", "_modules")
    )


def _state_dict(
    module: Foreign, prefix: str, depth: int, left: list[int]
) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors of a module in the order of torch: its own, its buffers', then those of its parts."""
    inside = module.attributes
    passing = inside.get("_non_persistent_buffers_set") or ()
    left[0] -= 1
    if depth > DEEPEST_MODULE or len(prefix) > LONGEST_NAME or left[0] < 0:
        raise Damaged("a module within a module, without end")
    for tensors, skipped in ((inside["_parameters"], ()), (inside["_buffers"], passing)):
        for name, tensor in tensors.items():
            left[0] -= 1
            if isinstance(tensor, StoredTensor) and name not in skipped:
                yield f"{prefix}{name}", tensor
    for name, part in inside["_modules"].items():
        if is_module(part):
            yield from _state_dict(part, f"{prefix}{name}.", depth + 1, left)


def _pairs(node: Foreign) -> dict[Any, Any]:
    """An ordered dictionary, as Python 2 wrote it: made from a list of pairs."""
    pairs = node.args[0] if type(node.args) is tuple and len(node.args) == 1 else None
    if node.name != "collections.OrderedDict" or type(pairs) is not list:
        return {}
    return {as_key(pair[0]): pair[1] for pair in pairs if type(pair) in (list, tuple) and len(pair) == 2}


def configuration(node: Any) -> dict[str, Any] | None:
    """A configuration in plain values, if an object is one: a dictionary, a namespace, a class's attributes.

    What is no number, text, list or table is left out.

    Example:
        >>> config = Foreign("my.Config", ())
        >>> config.build({"streams": 4, "extra": {"eps": 1e-6}, "device": Foreign("torch.device", ("cpu",))})
        >>> configuration(config)
        {'streams': 4, 'extra': {'eps': 1e-06}, 'device': 'cpu'}
    """
    if is_module(node) or not isinstance(node, (Foreign, Mapping)):
        return None
    found = _plain(node, DEEPEST_VALUE, [MOST_VALUES])
    return found if isinstance(found, dict) and found else None


def _plain(node: Any, depth: int, left: list[int]) -> Any:
    """A value in plain containers; None for what is not plain."""
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        return None
    if isinstance(node, (str, int, float, bool)):
        return node
    if isinstance(node, Foreign):
        return _plain(_opened(node), depth, left)
    if isinstance(node, Mapping):
        return {
            str(k): _plain(v, depth - 1, left)
            for k, v in _few(node.items(), left)
            if isinstance(k, (str, int))
        }
    if isinstance(node, (list, tuple, set, frozenset)):
        return [_plain(v, depth - 1, left) for v in _few(node, left)]
    return None


def _few(items: Any, left: list[int]) -> Iterator[Any]:
    """As many items as may still be looked at."""
    for item in items:
        if left[0] < 0:
            return
        yield item


def _opened(node: Foreign) -> Any:
    """What an object stands for: its attributes, or the one value that it was made from."""
    inside = unfold(node) if not is_module(node) else {}
    if isinstance(inside, Mapping):
        if isinstance(inside.get("_content"), Mapping):  # omegaconf's containers, whose nodes hold values
            return inside["_content"]
        if "_val" in inside:
            return inside["_val"]
    if not inside and type(node.args) is tuple and len(node.args) == 1:
        return node.args[0]  # a member of an enumeration, a device
    return inside
