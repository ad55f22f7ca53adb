"""The weights with which the output of a branch is written to the streams."""

from __future__ import annotations

import torch
from torch import Tensor

from mhc_diag.sources.probe.layout import BLOCK

ROUNDINGS = 2
"""How often a branch may have been rounded on its way to the streams, each time by half a last digit."""
TOLERANCE = 1e-5
"""Largest part of what is added that may not be the branch's output times a weight, at least."""


def weights(added: Tensor, output: Tensor) -> Tensor | None:
    """The p in what is added = p f, for each token; None where there is none for some finite token.

    Formula: p_i = <b_i, f> / <f, f> over the channels, if max abs(b_i - p_i f) <= tolerance * max abs(p f).

    Args:
        added: b, (T, C, m).
        output: f, (T, C).

    Returns:
        (T, m); NaN for tokens whose output is 0 or not finite.

    Example:
        >>> f = torch.tensor([[1.0, 2.0]])
        >>> weights(torch.stack([f, 3 * f], dim=-1), f)
        tensor([[1., 3.]])
        >>> weights(torch.stack([f, f.flip(1)], dim=-1), f) is None
        True
    """
    tolerance = max(TOLERANCE, ROUNDINGS * torch.finfo(added.dtype).eps / 2)
    wide = torch.promote_types(torch.promote_types(added.dtype, output.dtype), torch.float32)
    tokens = max(1, BLOCK // max(1, added[0].numel()))
    found = []
    for b, f in zip(torch.split(added, tokens), torch.split(output, tokens), strict=True):
        block = _weights(b.to(wide), f.to(wide), tolerance)
        if block is None:
            return None
        found.append(block)
    return torch.cat(found)


def _weights(added: Tensor, output: Tensor, tolerance: float) -> Tensor | None:
    lines = added.mT  # (T, m, C): along the channels, which most often is along memory
    largest = output.abs().amax(dim=1, keepdim=True)
    usable = largest.isfinite() & (largest > 0)
    unit = output / torch.where(usable, largest, 1.0)
    length = torch.where(usable, unit.square().sum(dim=1, keepdim=True), 1.0)
    found = (lines * unit[:, None]).sum(dim=2) / length
    rest = (found[..., None] * unit[:, None]).sub_(lines).abs_().amax(dim=(1, 2))
    size = found.abs().amax(dim=1)  # of what is added, if it is what is looked for
    finite = size.isfinite() & largest[:, 0].isfinite()
    if not bool(((rest <= tolerance * size) | ~finite).all()):
        return None
    return (found / largest).masked_fill(~(usable & finite[:, None]), torch.nan)
