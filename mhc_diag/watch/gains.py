"""The gains of one forward pass as a few numbers on the device, without waiting for it.

M (L, T, n, n). Products of all prefixes and suffixes are formed by doubling, in log2 L steps. Each product is
mantissa and log10 of a scale, so that none over- or underflows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

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
    import torch

    with torch.no_grad():
        finite = torch.isfinite(matrices).flatten(2).all(dim=2).all(dim=0)
        m = matrices.to(torch.float32 if matrices.device.type == "mps" else torch.float64)
        everyone = weights is None or len(weights) != m.shape[1]
        count = m.new_ones(m.shape[1]) if everyone or weights is None else weights.to(m)
        worst, lowest = [], []
        prefixes = _products(m)
        for axis, products in ((-1, prefixes), (-2, _products(m, suffixes=True))):
            gains = _log10(products[0], axis) + products[1]
            worst += [gains.amax(), _mean(gains, count).amax()]
            lowest.append(gains.amin())
        worst += [_log10(m, axis).amax() for axis in (-1, -2)]
        lowest.append(_mean(_uniformity(*prefixes), count).amin())
        return torch.stack([*worst, *lowest, ((~finite) * count).sum()])


def _mean(log10: Tensor, count: Tensor) -> Tensor:
    """Log10 of the mean over tokens, (L, T) to (L)."""
    import torch

    total = torch.logsumexp(log10 * math.log(10) + count.log(), dim=1) / math.log(10)
    return total - count.sum().log10()


def _uniformity(mantissa: Tensor, scale: Tensor) -> Tensor:
    """Log10 of the distance from full averaging, (L, T). One stream has none: -inf."""
    import torch

    n = mantissa.shape[-1]
    if n == 1:
        return torch.full_like(scale, -math.inf)
    unit = scale.clamp(min=0)  # so that neither A nor J overflows
    apart = mantissa * (10 ** (scale - unit))[..., None, None] - (10**-unit)[..., None, None] / n
    return apart.square().sum(dim=(-2, -1)).sqrt().log10() - math.log10(n - 1) / 2 + unit


def _log10(matrices: Tensor, axis: int) -> Tensor:
    return matrices.sum(dim=axis).abs().amax(dim=-1).log10()


def _products(m: Tensor, *, suffixes: bool = False) -> tuple[Tensor, Tensor]:
    """Products of every prefix, or suffix, as mantissas (L, T, n, n) and log10 of scales (L, T)."""
    made, scales = _rescaled(m, m.new_zeros(m.shape[:2]))
    reach = 1
    while reach < len(m):
        early, late = slice(0, -reach), slice(reach, None)
        product, scale = made[late] @ made[early], scales[late] + scales[early]
        product, scale = _rescaled(product, scale)
        made, scales = made.clone(), scales.clone()
        done = early if suffixes else late
        made[done], scales[done] = product, scale
        reach *= 2
    return made, scales


def _rescaled(matrices: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    size = matrices.abs().amax(dim=(-2, -1))
    size = torch.where(torch.isfinite(size) & (size > 0), size, 1.0)
    return matrices / size[..., None, None], scales + size.log10()
