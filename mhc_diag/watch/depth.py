"""Products over depth for every token, on the device and without waiting for it.

L sites, T tokens, n streams; M (L, T, n, n), out x in. All prefixes and suffixes are formed by doubling, in
log2 L steps. Each product is mantissa and log10 of a scale, so that none over- or underflows. Where the sites
lie on several stages, each stage multiplies its own, and one product a stage is all that the others need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Product(NamedTuple):
    """Matrices as mantissa * 10**scale."""

    mantissa: Tensor
    """(*B, n, n), float64 where the device has it; largest absolute entry 1."""
    scale: Tensor
    """(*B)."""


def as_wide(matrices: Tensor) -> Tensor:
    """In the widest floating type of the device."""
    import torch

    return matrices.to(torch.float32 if matrices.device.type == "mps" else torch.float64)


def prefixes(matrices: Tensor) -> Product:
    """M_l ... M_0 for every site l, (L, T, n, n).

    Example:
        >>> import torch
        >>> made = prefixes(torch.full((400, 1, 1, 1), 10.0))
        >>> made.mantissa[-1].item(), made.scale[-1].item()
        (1.0, 400.0)
    """
    return _doubled(as_wide(matrices), suffixes=False)


def suffixes(matrices: Tensor) -> Product:
    """M_{L-1} ... M_l for every site l, (L, T, n, n)."""
    return _doubled(as_wide(matrices), suffixes=True)


def times(late: Product, early: Product) -> Product:
    """The product of two, the later of them on the left; shapes broadcast."""
    return _rescaled(late.mantissa @ early.mantissa, late.scale + early.scale)


def beside(stages: Sequence[Product | None], own: int) -> tuple[Product | None, Product | None]:
    """What comes before a stage, and what follows it.

    Formula: of stages with products P_0 ... P_{S-1}, P_{own-1} ... P_0 and P_{S-1} ... P_{own+1}.

    Args:
        stages: the product of all sites of each stage (T, n, n), in the order of depth; None for a stage
            without sites.
        own: which stage.

    Returns:
        Both products (T, n, n), each None where there are no sites.

    Example:
        >>> import torch
        >>> stage = [Product(torch.eye(1)[None] * k, torch.zeros(1)) for k in (2.0, 3.0, 5.0)]
        >>> before, after = beside(stage, 1)
        >>> (before.mantissa * 10**before.scale).item(), (after.mantissa * 10**after.scale).item()
        (2.0, 5.0)
    """
    return _chain(stages[:own]), _chain(stages[own + 1 :])


def _chain(stages: Sequence[Product | None]) -> Product | None:
    made: Product | None = None
    for stage in stages:
        if stage is not None:
            made = stage if made is None else times(stage, made)
    return made


def _doubled(m: Tensor, *, suffixes: bool) -> Product:
    made, scales = _rescaled(m, m.new_zeros(m.shape[:2]))
    reach = 1
    while reach < len(m):
        early, late = slice(0, -reach), slice(reach, None)
        product, scale = _rescaled(made[late] @ made[early], scales[late] + scales[early])
        made, scales = made.clone(), scales.clone()
        done = early if suffixes else late
        made[done], scales[done] = product, scale
        reach *= 2
    return Product(made, scales)


def _rescaled(matrices: Tensor, scales: Tensor) -> Product:
    import torch

    size = matrices.abs().amax(dim=(-2, -1))
    size = torch.where(torch.isfinite(size) & (size > 0), size, 1.0)
    return Product(matrices / size[..., None, None], scales + size.log10())
