"""Mixing matrices by least squares, from the values that an operation took and the values that it gave.

For what no tangent can pass. Every token on its own, in float64: C equations for the n + k unknowns of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

ROUNDINGS = 4.0
"""An operation that differs from a linear one by at most so many roundings of its results is linear."""
CANCELLED = 4.0
"""How much larger than the results their terms may be, for the rounding of an operation to be its own."""
SPARE = 8
"""Least number of equations beyond the unknowns; with fewer, what is not linear could fit by chance."""
SINGULAR = 1e-12
"""Singular values below this, with every stream scaled to length 1, are zero in float64."""
FORMATS = (torch.bfloat16, torch.float16, torch.float32)
BLOCK = 1 << 22
"""Numbers that are worked on at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Fits Y = X M^T + F P^T of each token; the branches' share P is fitted and not kept."""

    matrix: Tensor
    """(T, m, n): M, out x in; the shortest of all solutions where several fit."""
    bound: Tensor
    """(T, m, n): error bound of each entry; infinite where the streams do not determine it."""
    excess: Tensor
    """(T, m): length of what does not fit over what rounding explains."""
    residual: Tensor
    """(T): largest length of what does not fit, over that of the results."""
    condition: Tensor
    """(T): condition number of the streams, scaled to length 1, without their part along the branches."""

    @property
    def linear(self) -> bool:
        """Whether everything fits, at every token whose values are numbers."""
        numbers = self.excess[~self.excess.isnan()]
        return bool(numbers.numel()) and bool((numbers <= ROUNDINGS).all())


def enough(channels: int, streams: int, branches: int) -> bool:
    """Whether there are enough equations that a fit means something.

    Example:
        >>> enough(16, 4, 1), enough(12, 4, 1)
        (True, False)
    """
    unknowns = streams + branches
    return channels >= unknowns + max(SPARE, unknowns)


def fit(
    streams: Tensor, branches: Tensor, results: Tensor, shown: torch.finfo, besides: Tensor | None = None
) -> Fitted:
    """Least squares for every token.

    Formula: with the part along the branches projected out of everything, M^T = X^+ Y and R = Y - X M^T. The
    error of M_ij is at most ||row j of X^+|| E_i, where E_i = max(||h_i||, 2 ||R_i||) and h is half a unit in
    the last place of |X| |M|^T + |F| |P|^T. Rounding that lies in the span of the streams leaves no residual:
    hence ||h||, which supposes that all of it does.

    Args:
        streams: X, (T, C, n).
        branches: F, (T, C, k); k may be 0, and its columns may depend on one another.
        results: Y, (T, C, m).
        shown: the format that the results were rounded to.
        besides: (T, C, m), how large other terms were that the results were rounded together with.

    Example:
        >>> x = torch.eye(16, dtype=torch.float64)[None, :, :2]
        >>> mixed = x @ torch.tensor([[0.75, 0.5], [0.25, 0.5]], dtype=torch.float64)
        >>> made = fit(x, x[..., :0], mixed, torch.finfo(torch.float32))
        >>> made.matrix.tolist(), made.linear, made.condition.item()
        ([[[0.75, 0.25], [0.5, 0.5]]], True, 1.0)
    """
    besides = results.new_zeros(()).expand(results.shape) if besides is None else besides
    every = (streams, branches, results, besides)
    step = max(1, BLOCK // max(1, sum(v[0].numel() for v in every)))
    fits = []
    for start in range(0, streams.shape[0], step):
        x, f, y, z = (v[start : start + step].to(torch.float64) for v in every)
        fits.append(_fit(x, f, y, z, shown))
    return Fitted(*(torch.cat([getattr(f, name) for f in fits]) for name in Fitted.__slots__))


def _fit(x: Tensor, f: Tensor, y: Tensor, besides: Tensor, shown: torch.finfo) -> Fitted:
    ok = torch.stack([v.isfinite().all(-1).all(-1) for v in (x, f, y)]).all(0)
    x, f, y = (torch.where(ok[:, None, None], v, 0.0) for v in (x, f, y))
    tiny = torch.finfo(x.dtype).tiny
    off = partial(_without, _basis(f))
    scale = x.norm(dim=1).clamp(min=tiny)
    u, s, vh = torch.linalg.svd(off(x / scale[:, None]), full_matrices=False)
    rows = vh.mT * torch.where(s > SINGULAR, 1 / s, 0.0)[:, None] / scale[..., None]  # X^+ = rows @ u.mT
    m = (rows @ (u.mT @ off(y))).mT
    r = off(y - x @ m.mT)
    along = (y - x @ m.mT - r).abs()
    rounding = half_unit(x.abs() @ m.abs().mT + along + besides, shown).norm(dim=1)
    allowed = half_unit(_plain_size(x, y) + besides, shown).norm(dim=1)
    missed = r.norm(dim=1)
    reach = rows.norm(dim=2).masked_fill((s <= SINGULAR).any(-1, keepdim=True), torch.inf)
    nan = torch.where(ok, 0.0, torch.nan)
    return Fitted(
        matrix=m + nan[:, None, None],
        bound=torch.maximum(rounding, 2 * missed)[..., None] * reach[:, None] + nan[:, None, None],
        excess=missed / allowed + nan[:, None],
        residual=(missed / y.norm(dim=1).clamp(min=tiny)).amax(dim=1) + nan,
        condition=torch.where(s[:, -1] > SINGULAR, s[:, 0] / s[:, -1], torch.inf) + nan,
    )


def _plain_size(x: Tensor, y: Tensor) -> Tensor:
    """How large the terms of results can be if not much of them cancels.

    The terms of the fit itself would not do: among streams that are nearly copies they are large where a
    branch is missing, and then anything would fit.
    """
    gain = CANCELLED * y.norm(dim=1) / x.norm(dim=1).amax(dim=1, keepdim=True).clamp(min=1e-300)
    return y.abs() + gain[:, None] * x.abs().sum(dim=2, keepdim=True)


def _basis(f: Tensor) -> Tensor:
    """Orthonormal directions of the branches (T, C, k), with zeros in place of those that are not there."""
    if not f.shape[-1]:
        return f
    u, s, _ = torch.linalg.svd(f / f.norm(dim=1, keepdim=True).clamp(min=1e-300), full_matrices=False)
    return u * (s > 1e-10)[:, None]


def _without(basis: Tensor, values: Tensor) -> Tensor:
    for _ in range(2 if basis.shape[-1] else 0):  # the second time removes what rounding left
        values = values - basis @ (basis.mT @ values)
    return values


def half_unit(size: Tensor, format: torch.finfo) -> Tensor:
    """Half a unit in the last place of numbers of these sizes in a floating-point format.

    Example:
        >>> half_unit(torch.tensor([1.0, 1.5, 2.0]), torch.finfo(torch.bfloat16)).tolist()
        [0.00390625, 0.00390625, 0.0078125]
    """
    relative = torch.full_like(size, format.eps / 4)
    return torch.ldexp(relative, torch.frexp(size).exponent).clamp(
        min=format.smallest_normal * format.eps / 2
    )


def precision(values: Tensor) -> torch.finfo:
    """The coarsest floating-point format that holds all the values.

    A kernel may work in a format that is coarser than that of the tensors it returns.

    Example:
        >>> precision(torch.tensor([1.0, 0.5])).dtype, precision(torch.tensor([1 + 2**-20])).dtype
        ('bfloat16', 'float32')
    """
    formats = [torch.finfo(dtype) for dtype in FORMATS]
    own = torch.finfo(values.dtype)
    fit = (f for f in formats if f.eps > own.eps and _holds(getattr(torch, f.dtype), values))
    return next(fit, own)


def _holds(dtype: torch.dtype, values: Tensor) -> bool:
    return torch.equal(values.to(dtype).to(values.dtype).nan_to_num(), values.nan_to_num())
