"""What was recorded, kept on the device until it has arrived here or somebody asks."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mhc_diag.watch.gains import NAMES, log10_gains
from mhc_diag.watch.stages import Kept

if TYPE_CHECKING:
    from torch import Tensor

    from mhc_diag.records import MixingStack, Site
    from mhc_diag.watch.shelf import Shelf

FIXED = ("step", "forward_pass", "tapped", "time", "streams", "first_forward", "first_backward")
"""What a record holds before its numbers."""
WIDTH = len(FIXED) + len(NAMES) + 1


@dataclass(frozen=True, slots=True)
class Pending:
    """A record whose numbers are on their way."""

    fixed: tuple[float, ...]
    numbers: Tensor
    """On the host, and not to be read before `arrived`."""
    arrived: Any
    """The event of the device after which they are there; None where they are."""
    stack: Callable[[], MixingStack]
    """Gives the operators that the numbers are from, for whoever wants to know which site it was."""
    sites: Callable[[], tuple[int, tuple[Site, ...]]]
    """Gives streams and sites alone."""

    @property
    def is_here(self) -> bool:
        """Whether the numbers can be read without waiting."""
        return self.arrived is None or bool(self.arrived.query())


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded forward pass."""

    step: int
    time: float
    """Seconds since 1970."""
    row: dict[str, float]
    """Its numbers under flat names."""
    stack: Callable[[], MixingStack]
    sites: Callable[[], tuple[int, tuple[Site, ...]]]


class History:
    """One row of numbers for each recorded forward pass, of 136 bytes.

    Args:
        shelf: where records wait for those of other ranks; None where one process has the whole model.
    """

    def __init__(self, shelf: Shelf | None = None) -> None:
        self._rows = array("d")
        self._pending: deque[Pending] = deque()
        self._shelf = shelf
        self.stack: Callable[[], MixingStack]
        """Gives the operators of the latest row that has arrived."""
        self._given = 0
        self.first: tuple[float, float] | None = None
        """Log10 of the largest composite gains of the run's first record, forward and backward."""

    def __len__(self) -> int:
        return len(self._rows) // WIDTH + len(self._pending)

    def add(
        self,
        step: int,
        forward: int,
        matrices: Tensor,
        weights: Tensor | None = None,
        numbers: Tensor | None = None,
        *,
        tapped: bool,
        stack: Callable[[], MixingStack],
    ) -> None:
        """Add a forward pass, without waiting for the device.

        Args:
            step: of the training run.
            forward: number of the forward pass.
            matrices: (L, T, n, n).
            weights: (T) of the tokens, if they do not all count.
            numbers: (T) which tokens they are, if not all.
            tapped: whether they were read off taps.
            stack: gives the stack of those that count.
        """
        if self._shelf is not None:
            self._shelf.put(Kept(forward, matrices, weights, numbers, tapped, step), stack)
            return
        fixed = (float(step), float(forward), float(tapped), time.time(), float(matrices.shape[-1]))
        gains, arrived = on_its_way(log10_gains(matrices, weights))
        self._pending.append(Pending(fixed, gains, arrived, stack, lambda: _sites(stack())))

    def meet(self) -> None:
        """Make rows of what several ranks have recorded. All of them call this, after the same steps."""
        for whole in () if self._shelf is None else self._shelf.meet():
            fixed = (float(whole.step), float(whole.forward), float(whole.tapped), time.time())
            self._pending.append(
                Pending((*fixed, float(whole.streams)), whole.numbers.cpu(), None, whole.stack, whole.sites)
            )

    def arrived(self, *, wait: bool = False) -> Iterator[Record]:
        """The records that have come since the last call, earliest first.

        Args:
            wait: for the device, so that all of them have.
        """
        while self._pending and (wait or self._pending[0].is_here):
            pending = self._pending.popleft()
            if pending.arrived is not None:
                pending.arrived.synchronize()
            numbers = pending.numbers.tolist()
            if self.first is None:
                self.first = numbers[0], numbers[2]
            self._rows.extend((*pending.fixed, *self.first, *numbers))
            self.stack = pending.stack
            step, time = int(pending.fixed[0]), pending.fixed[3]
            yield Record(step, time, self.latest(), pending.stack, pending.sites)

    def latest(self) -> dict[str, float]:
        """The latest row that has arrived."""
        return _row(self._rows[-WIDTH:])

    def fresh(self) -> list[dict[str, float]]:
        """The rows that have arrived since the last call of this."""
        given, self._given = self._given, len(self._rows)
        return [_row(self._rows[i : i + WIDTH]) for i in range(given, len(self._rows), WIDTH)]

    def rows(self) -> list[dict[str, float]]:
        """All rows that have arrived, earliest first, each a dictionary of its own."""
        return [_row(self._rows[i : i + WIDTH]) for i in range(0, len(self._rows), WIDTH)]


def on_its_way(numbers: Tensor) -> tuple[Tensor, Any]:
    """Numbers on the host, and the event after which they are there."""
    import torch

    if numbers.device.type != "cuda":
        return numbers.cpu(), None
    here = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
    here.copy_(numbers, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(numbers.device))
    return here, event


def _sites(stack: MixingStack) -> tuple[int, tuple[Site, ...]]:
    return stack.streams, stack.sites


def _row(held: array[float]) -> dict[str, float]:
    fixed, numbers = dict(zip(FIXED, held, strict=False)), held[len(FIXED) :]
    logs = dict(zip(NAMES, numbers, strict=False))
    if fixed["streams"] == 1:
        del logs["uniformity_mean"]  # one stream has no differences
    row = {f"mhc/{name}": _power(log10) for name, log10 in logs.items()}
    row |= {f"mhc/log10_{name}": log10 for name, log10 in logs.items()}
    for direction in ("forward", "backward"):
        row[f"mhc/{direction}_rise"] = _power(logs[f"{direction}_max"] - fixed[f"first_{direction}"])
    return row | {
        "mhc/nonfinite_tokens": numbers[-1],
        "mhc/forward_pass": fixed["forward_pass"],
        "mhc/step": fixed["step"],
        "mhc/tapped": fixed["tapped"],
    }


def _power(log10: float) -> float:
    try:
        return float(10.0**log10)
    except OverflowError:
        return float("inf")
