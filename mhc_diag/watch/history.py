"""What was recorded, kept on the device until somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhc_diag.watch.gains import NAMES, log10_gains

if TYPE_CHECKING:
    from torch import Tensor


class History:
    """One row of numbers for each recorded forward pass."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._pending: list[tuple[int, Tensor, bool]] = []

    def __len__(self) -> int:
        return len(self._rows) + len(self._pending)

    def add(self, forward: int, matrices: Tensor, weights: Tensor | None = None, *, tapped: bool) -> None:
        """Add a forward pass, without waiting for the device.

        Args:
            forward: its number.
            matrices: (L, T, n, n).
            weights: (T) of the tokens, if they do not all count.
            tapped: whether they were read off taps.
        """
        self._pending.append((forward, log10_gains(matrices, weights), tapped))

    def rows(self) -> list[dict[str, float]]:
        """All rows, earliest first, each a dictionary of its own."""
        import torch

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
