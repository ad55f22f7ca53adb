"""Taps: verified places at which the operators of a model's sites can be read, and how to read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mhc_diag.records import Site, Skipped
from mhc_diag.sources.exposed.places import Place
from mhc_diag.sources.exposed.squares import Order, Square, picked, rows_of_tokens, square
from mhc_diag.sources.taps.mask import Mask

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Tap:
    """One place that shows the operator of one site."""

    site: int
    place: Place
    run: int
    """Which call of the place's module or function in a forward pass, from 0."""
    transposed: bool
    order: Order
    cast: torch.dtype | None
    """What the matrix is rounded to before it is applied, if anything."""
    deviation: float
    """Largest difference to what was measured when the tap was found."""


@dataclass(frozen=True, slots=True)
class Taps:
    """The taps of a model, and the sites that have none."""

    sites: tuple[Site, ...]
    streams: int
    found: tuple[Tap, ...]
    """In the order of the sites."""
    missing: tuple[Skipped, ...]
    runs: Mapping[Place, int]
    """How often each place came by in the forward pass that was measured."""
    dtypes: frozenset[torch.dtype] = frozenset()
    """Floating types that the model computed in."""
    mask: Mask | None = None
    """The argument that tells which tokens are padding, if there is one."""

    @property
    def complete(self) -> bool:
        """Whether every site has a tap, so that composites can be formed of them."""
        return len(self.found) == len(self.sites) > 0

    @property
    def places(self) -> tuple[Place, ...]:
        """Where to listen: the places of taps at which something comes by."""
        return tuple(dict.fromkeys(tap.place for tap in self.found if not tap.place.is_static))


Shown = tuple["Tensor", Square]


class Reading:
    """What the taps showed in one forward pass. Nothing here waits for the device.

    Args:
        taps: a complete set.
        model: whose taps.
        limit: how many tokens to keep, evenly spread.
        kept: (T) which tokens are no padding, if that is known.
    """

    def __init__(self, taps: Taps, model: nn.Module, limit: int, kept: Tensor | None = None) -> None:
        self._taps, self._limit, self._kept = taps, limit, kept
        self._weights: Tensor | None = None
        self.numbers: Tensor | None = None
        """(K): which tokens the operators are of, when they have been read; None where they are of all."""
        self._runs: Counter[Place] = Counter()
        self._wanted = {(tap.place, tap.run): tap for tap in taps.found}
        self._rows: dict[tuple[Place, int], Shown] = {}
        for tap in taps.found:
            if tap.place.is_static:
                module = model.get_submodule(tap.place.path)
                self._keep(tap.place, 0, getattr(module, tap.place.name), tap.order)

    def heard(self, place: Place, run: int, tensor: Tensor) -> None:
        """Take what stands at a place."""
        self._runs[place] += 1
        tap = self._wanted.get((place, run))
        if tap is not None:
            self._keep(place, run, tensor, tap.order)

    def _keep(self, place: Place, run: int, tensor: Tensor, order: Order) -> None:
        import torch

        form = square(tensor, self._taps.streams)
        if form is None:
            return
        with torch.no_grad():
            index = self._tokens(form.count, tensor.device)
            if order in {"tokens", "reversed"}:
                index = rows_of_tokens(form, order, index, form.count)
            else:  # a matrix for several tokens: which tokens is known when all taps have been seen
                index = torch.arange(form.count, device=tensor.device)
            self._rows[place, run] = picked(tensor, form, index), form

    @property
    def weights(self) -> Tensor | None:
        """(K): 1 for a token that counts and 0 for one that does not; None where all count."""
        return self._weights

    def matrices(self) -> Tensor | None:
        """Operators (L, K, n, n); None where the forward pass went another way than the one measured."""
        import torch

        if self._runs != {p: count for p, count in self._taps.runs.items() if not p.is_static}:
            return None
        totals = {
            self._rows[t.place, t.run][1].count
            for t in self._taps.found
            if (t.place, t.run) in self._rows and t.order in {"tokens", "reversed"}
        }
        if len(totals) > 1 or any((t.place, t.run) not in self._rows for t in self._taps.found):
            return None
        of_samples = max(form.count for _, form in self._rows.values())
        if self._kept is not None and self._kept.numel() % of_samples == 0:
            of_samples = self._kept.numel()
        total = totals.pop() if totals else of_samples
        with torch.no_grad():
            last = self._rows[self._taps.found[-1].place, self._taps.found[-1].run][0].device
            made = [self._of_tokens(tap, total).to(last, non_blocking=True) for tap in self._taps.found]
            width = max(len(m) for m in made)
            self.numbers = self._tokens(total, last) if width > 1 else None
            return torch.stack([m.expand(width, -1, -1) for m in made])

    def _of_tokens(self, tap: Tap, total: int) -> Tensor:
        rows, form = self._rows[tap.place, tap.run]
        if tap.order in {"first", "last"}:
            rows = rows[rows_of_tokens(form, tap.order, self._tokens(total, rows.device), total)]
        rows = rows if tap.cast is None else rows.to(tap.cast)
        rows = rows.to(_wide(rows.dtype))
        return rows.mT if tap.transposed else rows

    def _tokens(self, total: int, device: torch.device) -> Tensor:
        """Numbers of tokens, evenly spread over those that are no padding, made on the device.

        How many are no padding is known to the device only: if they are fewer than wanted, the last of them
        stands for the rest, with no weight.
        """
        import torch

        take = min(total, self._limit)
        steps = torch.arange(take, device=device)
        if self._kept is None or self._kept.numel() != total:
            return steps * total // take
        kept = self._kept.to(device, non_blocking=True)
        real = kept.sum()
        number = torch.where(real > take, steps * real // take, torch.minimum(steps, real - 1).clamp(min=0))
        self._weights = (steps < real).to(torch.float32)
        return torch.argsort(~kept, stable=True)[number]


def _wide(dtype: torch.dtype) -> torch.dtype:
    import torch

    return dtype if dtype == torch.float64 else torch.float32


def runs_of(places: Iterable[Place], seen: Iterable[Place]) -> dict[Place, int]:
    """How often each of some places was seen.

    Example:
        >>> here, there = Place("a", "output"), Place("b", "output")
        >>> list(runs_of([here], [here, there, here]).values())
        [2]
    """
    count = Counter(seen)
    return {place: count[place] for place in dict.fromkeys(places)}
