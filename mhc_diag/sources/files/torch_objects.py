"""What lies inside the objects of a checkpoint whose classes were not loaded: modules, configurations.

A pickle may share its parts so that a walk over them never ends; every walk here counts its steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mhc_diag.sources.files.pickled_objects import Damaged, Foreign, as_key
from mhc_diag.sources.files.torch_rebuild import StoredTensor

PARTS = ("_parameters", "_buffers", "_modules")
MOST_STEPS = 400_000
LONGEST_NAME = 1000
MOST_VALUES = 10_000
DEEPEST_VALUE = 12


class Unfold:
    """Opens the objects of one file, as long as they are not more than any checkpoint has.

    Example:
        >>> namespace = Foreign("argparse.Namespace", ())
        >>> namespace.build({"lr": 0.1})
        >>> unfold = Unfold()
        >>> unfold(namespace), unfold([1])
        ({'lr': 0.1}, [1])
    """

    def __init__(self, most: int = MOST_STEPS) -> None:
        self._left = most

    def __call__(self, node: Any) -> Any:
        """What an object holds as a dictionary or a list; a module becomes its state_dict.

        Raises:
            Damaged: objects share their parts without end.
        """
        if not isinstance(node, Foreign):
            return node
        if is_module(node):
            return self._state_dict(node)
        if node.items and not node.entries:
            return node.items
        self._count(node.size)
        return {**self._pairs(node), **node.attributes, **(node.entries or {})}

    def _count(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise Damaged("it has objects within objects, without end")

    def _state_dict(self, top: Foreign) -> dict[str, StoredTensor]:
        """The tensors of a module in the order of torch: its own, its buffers', then those of its parts."""
        tensors: dict[str, StoredTensor] = {}
        todo = [("", top)]
        while todo:
            prefix, module = todo.pop()
            parameters, buffers, parts = (module.attribute(part) for part in PARTS)
            passing = module.attribute("_non_persistent_buffers_set")
            passing = passing if isinstance(passing, (set, list)) else ()
            self._count(1 + len(parameters) + len(buffers) + len(parts) + len(passing))
            if len(prefix) > LONGEST_NAME:
                raise Damaged("it has a module within a module, without end")
            skipped = {name for name in passing if type(name) is str}
            kept = {name: tensor for name, tensor in buffers.items() if name not in skipped}
            for name, tensor in (*parameters.items(), *kept.items()):
                if type(name) is str and isinstance(tensor, StoredTensor):
                    tensors[f"{prefix}{name}"] = tensor
            inner = [(n, part) for n, part in parts.items() if type(n) is str and is_module(part)]
            todo += ((f"{prefix}{name}.", part) for name, part in reversed(inner))
        return tensors

    def _pairs(self, node: Foreign) -> dict[Any, Any]:
        """An ordered dictionary, as Python 2 wrote it: made from a list of pairs."""
        pairs = node.args[0] if type(node.args) is tuple and len(node.args) == 1 else None
        if node.name != "collections.OrderedDict" or type(pairs) is not list:
            return {}
        self._count(len(pairs))
        return {as_key(pair[0]): pair[1] for pair in pairs if type(pair) in (list, tuple) and len(pair) == 2}


def is_module(node: Any) -> bool:
    """Whether an object is a torch.nn.Module."""
    if not isinstance(node, Foreign):
        return False
    return all(isinstance(node.attribute(part), Mapping) for part in PARTS)


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
    if is_module(node):
        return None
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
    inside = {**node.attributes, **(node.entries or {})} or node.items or []
    if isinstance(inside, Mapping):
        if isinstance(inside.get("_content"), Mapping):  # omegaconf's containers, whose nodes hold values
            return inside["_content"]
        if "_val" in inside:
            return inside["_val"]
    if not inside and type(node.args) is tuple and len(node.args) == 1:
        return node.args[0]  # a member of an enumeration, a device
    return inside
