"""The example input as the probe's own: a copy, and the tensors in it at which a path can begin."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from mhc_diag.sources.inputs import Arguments


class _Copies(TorchFunctionMode):
    """A mode under which a deep copy of a tensor has no history, and is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        memo[id(tensor)] = made = tensor.detach().clone()
        self.made.append(made)
        return made


def copied(call: Arguments) -> tuple[Arguments, list[Tensor]]:
    """A copy of the arguments, and its floating-point tensors with more than one axis.

    Tensors are found in whatever holds them: containers, dataclasses, objects of the user's own.

    Example:
        >>> import torch
        >>> (args, _), tensors = copied((({"x": torch.ones(2, 3), "ids": torch.zeros(2)},), {}))
        >>> [tuple(tensor.shape) for tensor in tensors], tensors[0] is args[0]["x"]
        ([(2, 3)], True)
    """
    copies = _Copies()
    modules = {id(x): x for x in tree_leaves(call) if isinstance(x, nn.Module)}
    try:
        with copies:
            made = copy.deepcopy(call, modules)  # modules among the arguments stay what they are
    except Exception:  # something of which there is no copy, such as an iterator or an open file
        copies.made.clear()
        made = tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), call)
    leaves = [x for x in tree_leaves(made) if isinstance(x, Tensor)]
    tensors = {id(x): x for x in (*leaves, *copies.made)}
    return made, [x for x in tensors.values() if x.is_floating_point() and x.ndim > 1]
