"""What was recorded, kept on the device until somebody asks."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mhc_diag.watch.gains import NAMES, log10_gains
from mhc_diag.watch.stages import Record, thinned

if TYPE_CHECKING:
    from torch import Tensor

    from mhc_diag.watch.ranks import Ranks


KEPT = 100
"""Records that a rank keeps until all ranks ask for them."""


class History:
    """One row of numbers for each recorded forward pass.

    Args:
        ranks: with whom the model is shared; None where one process has all of it.
        tokens: how many tokens of a record to keep for the other ranks.
    """

    def __init__(self, ranks: Ranks | None = None, tokens: int = 64) -> None:
        self._rows: list[dict[str, float]] = []
        self._pending: list[tuple[int, Tensor, bool]] = []
        self._records: deque[Record] = deque(maxlen=KEPT)
        self._ranks, self._tokens = ranks, tokens
        self._asked = False
        self.dropped = 0
        """How many records were given up because nobody had asked for them in time."""

    def passed(self) -> None:
        """A forward pass that is to be recorded came by, with or without a record of it."""
        self._asked = False

    def add(
        self,
        forward: int,
        matrices: Tensor,
        weights: Tensor | None = None,
        numbers: Tensor | None = None,
        *,
        tapped: bool,
    ) -> None:
        """Add a forward pass, without waiting for the device.

        Args:
            forward: its number.
            matrices: (L, T, n, n).
            weights: (T) of the tokens, if they do not all count.
            numbers: (T) which tokens they are, if not all.
            tapped: whether they were read off taps.
        """
        if self._ranks is None:
            self._pending.append((forward, log10_gains(matrices, weights), tapped))
            return
        record = Record(forward, matrices, weights, numbers, tapped)
        alone = self._ranks.distribution.stages is None
        self.dropped += len(self._records) == KEPT
        self._records.append(record.settled() if alone else thinned(record, self._tokens))

    def rows(self, *, empty: bool = False) -> list[dict[str, float]]:
        """All rows, earliest first, each a dictionary of its own. Of several ranks, all have to ask.

        Args:
            empty: whether this rank has no sites.
        """
        import torch

        if self._ranks is not None and not self._asked:
            made = self._ranks.rows(tuple(self._records), empty=empty)
            self._pending += [(whole.forward, whole.numbers, whole.tapped) for whole in made]
            self._records.clear()
            self._asked = True
        if self._pending:
            columns = torch.stack([numbers.cpu() for _, numbers, _ in self._pending])
            for (forward, _, tapped), numbers in zip(self._pending, columns.tolist(), strict=True):
                self._rows.append(_row(forward, numbers, tapped))
            self._pending.clear()
        return [dict(row) for row in self._rows]


def _row(forward: int, numbers: list[float], tapped: bool) -> dict[str, float]:
    logs = dict(zip(NAMES, numbers[:-1], strict=True))
    row = {f"mhc/{name}": _power(log10) for name, log10 in logs.items()}
    row |= {f"mhc/log10_{name}": log10 for name, log10 in logs.items()}
    return row | {
        "mhc/nonfinite_tokens": numbers[-1],
        "mhc/forward_pass": float(forward),
        "mhc/tapped": float(tapped),
    }


def _power(log10: float) -> float:
    try:
        return float(10.0**log10)
    except OverflowError:
        return float("inf")
