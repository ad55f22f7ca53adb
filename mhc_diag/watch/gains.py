"""The gains of one forward pass as a few numbers on the device, without waiting for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhc_diag.watch.tables import log10_numbers, table

if TYPE_CHECKING:
    from torch import Tensor

NAMES = (
    "forward_max",
    "forward_mean",
    "backward_max",
    "backward_mean",
    "site_forward_max",
    "site_backward_max",
    "forward_min",
    "backward_min",
    "uniformity_mean",
)
"""Worst over depth of the largest and of the mean over tokens: composites, then single sites; then the lowest
over depth of the smallest gain, and of the mean distance of a prefix from full averaging."""


def log10_gains(matrices: Tensor, weights: Tensor | None = None) -> Tensor:
    """Log10 of the gains that `NAMES` lists, and the number of tokens with an entry that is not finite.

    Formula: forward, max_i abs(sum_j A_ij) of the prefixes A = M_l ... M_0; backward, max_j abs(sum_i A_ij)
    of the suffixes A = M_{L-1} ... M_l. The mean over tokens is that of the gains, not of their logarithms.
    Uniformity, norm_F(A - J) / sqrt(n - 1) of the prefixes with J = ones / n, as in the metric of that name.

    Args:
        matrices: (L, T, n, n), out x in.
        weights: (T), 1 for a token that counts and 0 for a repetition of one that does; all count if None.

    Returns:
        (len(NAMES) + 1), float64 where the device has it.

    Example:
        >>> import torch
        >>> log10_gains(torch.full((400, 2, 1, 1), 10.0))[:4].tolist()
        [400.0, 400.0, 400.0, 400.0]
    """
    return log10_numbers(table(matrices, weights))
