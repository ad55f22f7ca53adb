"""Matrices of a measured model, read back from a saved report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Array, Report
from mhc_diag.sources import saved
from mhc_diag.sources.counterfactual import logits_of
from mhc_diag.sources.printable import printable
from mhc_diag.sources.saved import SAVE_AGAIN


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The sampled matrices of a report, and what a projection is to act on."""

    matrices: Array
    """(L, K, n, n) float64: of K tokens at each of L sites."""
    logits: Array
    """(L, K, n, n) float64: the measured logits, or what stands for them."""
    note: str
    """Which of the two, in one sentence."""


def read(path: Path) -> Measured:
    """The matrices of the first report in a file that holds any.

    Raises:
        MhcDiagError: no readable report, or none with matrices.
    """
    report = next((r for r in saved.read(path).reports if r.sample is not None), None)
    if report is None:
        raise MhcDiagError(f"{printable(path)} holds no sampled matrices", hint=SAVE_AGAIN)
    return _measured(report, path)


def _measured(report: Report, path: Path) -> Measured:
    import numpy as np

    matrices = np.asarray(report.sample, dtype=np.float64)
    if matrices.ndim != 4 or 0 in matrices.shape or matrices.shape[-1] != matrices.shape[-2]:
        raise MhcDiagError(
            f"{printable(path)} is a damaged report: a sample of shape {matrices.shape}, "
            "expected (sites, tokens, n, n)",
            hint=SAVE_AGAIN,
        )
    known = report.sample_logits
    if known is not None and known.shape != matrices.shape:
        raise MhcDiagError(
            f"{printable(path)} is a damaged report: logits of shape {known.shape} "
            f"for matrices of shape {matrices.shape}",
            hint=SAVE_AGAIN,
        )
    logits, note = logits_of(matrices, None if known is None else np.asarray(known, dtype=np.float64))
    return Measured(matrices, logits, note)
