"""What lies inside the objects of a checkpoint whose classes were not loaded: modules, configurations.

A pickle may share its parts so that a walk over them never ends; every walk here counts its steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mhc_diag.sources.files.pickled_objects import Damaged, Foreign, as_key
from mhc_diag.sources.files.torch_rebuild import StoredTensor

PARTS = ("_parameters", "_buffers", "_modules")
MOST_STEPS = 300_000
LONGEST_NAME = 1000
MOST_VALUES = 10_000
DEEPEST_VALUE = 12


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
    if is_module(node):
        return _state_dict(node)
    if node.items and not node.entries:
        return node.items
    return {**_pairs(node), **node.attributes, **node.entries}


def is_module(node: Any) -> bool:
    """Whether an object is a torch.nn.Module."""
    if not isinstance(node, Foreign):
        return False
    return all(isinstance(node.attribute(part), Mapping) for part in PARTS)


def _state_dict(top: Foreign) -> dict[str, StoredTensor]:
    """The tensors of a module in the order of torch: its own, its buffers', then those of its parts."""
    tensors: dict[str, StoredTensor] = {}
    left, todo = MOST_STEPS, [("", top)]
    while todo:
        prefix, module = todo.pop()
        parameters, buffers, parts = (module.attribute(part) for part in PARTS)
        passing = module.attribute("_non_persistent_buffers_set")
        skipped: Collection[Any] = passing if isinstance(passing, (set, list)) else ()
        left -= 1 + len(parameters) + len(buffers) + len(parts)
        if len(prefix) > LONGEST_NAME or left < 0:
            raise Damaged("a module within a module, without end")
        none: Collection[Any] = ()
        for own, left_out in ((parameters, none), (buffers, skipped)):
            for name, tensor in own.items():
                if isinstance(tensor, StoredTensor) and name not in left_out:
                    tensors[f"{prefix}{name}"] = tensor
        inner = [(f"{prefix}{name}.", part) for name, part in parts.items() if is_module(part)]
        todo += reversed(inner)
    return tensors


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
        left[0] -= node.size  # opening it copies them
        return _plain(_opened(node), depth - 1, left) if left[0] >= 0 else None
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
    inside = {} if is_module(node) or node.name == "collections.OrderedDict" else unfold(node)
    if isinstance(inside, Mapping):
        if isinstance(inside.get("_content"), Mapping):  # omegaconf's containers, whose nodes hold values
            return inside["_content"]
        if "_val" in inside:
            return inside["_val"]
    if not inside and type(node.args) is tuple and len(node.args) == 1:
        return node.args[0]  # a member of an enumeration, a device
    return inside
