"""Run an operation again with one of its arguments changed in a known way, and everything else as it was."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from mhc_diag.sources.probe.call import Call, written


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One more run of an operation."""

    given: Tensor
    """What it was given in place of an argument."""
    results: tuple[Tensor, ...]
    size: float
    """How large the change was."""


class Replay:
    """An operation that is about to run, with what it takes to run it again.

    Args:
        call: the call; what it will write to is copied first.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        overwritten = written(call.func, call.args, call.kwargs) if call.func._schema.is_mutable else []
        self._kept = {id(x): x.clone() for x in overwritten if isinstance(x, Tensor)}

    def before(self, tensor: Tensor) -> Tensor:
        """An argument as it is before the operation runs."""
        return self._kept.get(id(tensor), tensor)

    def runs(self, argument: Tensor, sizes: Sequence[float]) -> tuple[Run, ...]:
        """The operation with a random sign times each size added to an argument.

        Returns:
            A run for each size; none at all where the operation fails with one of them.
        """
        draw = torch.Generator().manual_seed(argument.numel())
        try:
            with torch.random.fork_rng(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return tuple(self._run(argument, size, draw) for size in sizes)
        except (
            Exception
        ):  # a kernel may refuse such values in any way, and then its own values remain to be fitted
            return ()

    def _run(self, argument: Tensor, size: float, draw: torch.Generator) -> Run:
        before = self.before(argument)
        signs = torch.randint(0, 2, before.shape, generator=draw).to(before) * 2 - 1
        given = before + size * signs
        fresh = {key: kept.clone() for key, kept in self._kept.items()}
        fresh[id(argument)] = given.clone() if id(argument) in fresh else given
        func = self._call.func
        args, kwargs = tree_map_only(
            Tensor, lambda x: fresh.get(id(x), x), (self._call.args, self._call.kwargs)
        )
        out = func(*args, **kwargs)
        results = written(func, args, kwargs) if self._kept else tree_leaves(out)
        return Run(given, tuple(x for x in results if isinstance(x, Tensor)), abs(size))


def typical_size(values: Tensor) -> float:
    """The power of two nearest to the root mean square of values; 1 where that is no number or 0.

    Example:
        >>> typical_size(torch.tensor([3.0, -5.0])), typical_size(torch.zeros(2))
        (4.0, 1.0)
    """
    root_mean_square = float(values.to(torch.float64).square().mean().sqrt())
    return 2.0 ** round(math.log2(root_mean_square)) if 0 < root_mean_square < math.inf else 1.0
