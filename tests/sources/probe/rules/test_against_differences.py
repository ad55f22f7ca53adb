"""What rules do to tangents, against the operation itself on streams that differ by these tangents.

All that may pass is affine in the streams, so that the difference of two outputs is exact but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mhc_diag.sources.probe.follow import Follow
from mhc_diag.sources.probe.rules import arithmetic, contractions, moves, places

B, S, N, C = 2, 3, 4, 16
aten = torch.ops.aten


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


M, W, P = draw(B, S, N, N), draw(B, S, N, 1), draw(N)
ORDER = torch.tensor([2, 0, 1])
SOME = draw(B, S, N, C) > 0


def flat(y: Tensor) -> Tensor:
    return y.flatten(0, 1)


def last(y: Tensor) -> Tensor:
    return y.movedim(2, -1).reshape(-1, N)


def target(count: int) -> Tensor:
    return torch.arange(count).view(1, 1, count, 1).expand(B, S, count, C)


SAMPLES: list[Callable[[Tensor], Any]] = [
    # moves
    lambda y: y.clone(),
    lambda y: y.double(),
    lambda y: aten.lift_fresh_copy(y),
    lambda y: y[:, ORDER],
    lambda y: aten._unsafe_index(y, [None, None, ORDER]),
    lambda y: y.index_select(2, ORDER),
    lambda y: y.gather(2, ORDER.view(1, 1, 3, 1).expand(B, S, 3, C)),
    lambda y: y.take(torch.arange(y.numel()).flip(0)),
    lambda y: y.repeat(2, 1, 1, 1),
    lambda y: y.roll((1, 2), (2, 3)),
    lambda y: y.flip(2, 3),
    lambda y: aten.rot90(y, 1, [2, 3]),
    lambda y: aten.pixel_shuffle(y.movedim(2, 1), 2),
    lambda y: aten.pixel_unshuffle(y, 2),
    lambda y: aten.channel_shuffle(y.movedim(2, 1), 2),
    lambda y: aten.view_copy(y, [B, S, N * C]),
    lambda y: aten.permute_copy(y, [2, 0, 1, 3]),
    lambda y: aten.slice_copy(y, 2, 1, 3),
    lambda y: aten.split_copy(y, 2, 2)[1],
    lambda y: y.clone().unsqueeze_(0).transpose_(1, 2),
    # places
    lambda y: draw(B, S, N, C).copy_(y),
    lambda y: torch.cat([y[:, :, 2:], y[:, :, :2]], 2),
    lambda y: torch.stack([y[:, :, 2], y[:, :, 0]], 2),
    lambda y: torch.select_scatter(2 * y, y[:, :, 0], 2, 3),
    lambda y: torch.slice_scatter(y, 3 * y[:, :, 1:3], 2, 2, 4),
    lambda y: torch.diagonal_scatter(y, 3 * y.diagonal(0, 2, 3), 0, 2, 3),
    lambda y: torch.as_strided_scatter(y, 2 * y[:, :, 0], (B, S, C), (S * N * C, N * C, 1), 0),
    lambda y: y.index_put((torch.tensor([1]),), 2 * y[0]),
    lambda y: y.clone().index_put_((torch.tensor([1]),), 2 * y[1:], accumulate=True),
    lambda y: aten._unsafe_index_put(y, [torch.tensor([1])], 2 * y[0]),
    lambda y: aten._index_put_impl(y, [torch.tensor([1])], 2 * y[0]),
    lambda y: y.masked_scatter(SOME, 3 * y),
    lambda y: y.index_copy(2, ORDER, 2 * y[:, :, :3]),
    lambda y: y.scatter(2, target(2), 2 * y[:, :, 2:]),
    lambda y: y.scatter(2, target(2), 0.5),
    lambda y: y.index_add(2, ORDER, y[:, :, :3], alpha=3),
    lambda y: y.scatter_add(2, target(3), y),
    lambda y: torch.where(SOME, 2 * y, 3 * y),
    lambda y: torch.where(SOME, 2.0, y),
    lambda y: y.masked_fill(SOME, 7.0),
    lambda y: y.index_fill(2, ORDER[:1], 7.0),
    lambda y: y.tril(),
    lambda y: y.triu(),
    lambda y: torch.nan_to_num(y),
    lambda y: torch.constant_pad_nd(y, [0, 0, 2, 1, 1, 0], 5.0),
    lambda y: torch.constant_pad_nd(y, [0, 0, -1, 0], 5.0),
    # arithmetic
    lambda y: torch.add(y, y.flip(2), alpha=3),
    lambda y: torch.sub(y, y.flip(2), alpha=3),
    lambda y: torch.rsub(y, y.flip(2), alpha=3),
    lambda y: 1 - y,
    lambda y: (y * W) * 2,
    lambda y: torch.mul(W, y, out=torch.empty(B, S, N, C)),
    lambda y: y / W,
    lambda y: y.clone().mul_(W).div_(2),
    lambda y: -y,
    lambda y: torch.addcmul(y, y.flip(2), W, value=3),
    lambda y: torch.addcdiv(y, y.flip(2), W, value=3),
    lambda y: torch.addr(y[0, 0], P, y[0, 0, 0], beta=2, alpha=3),
    lambda y: torch.lerp(y, y.flip(2), 0.3),
    lambda y: torch.lerp(y, draw(B, S, N, C), W),
    lambda y: torch._foreach_add(list(y.unbind(2)), list(y.flip(2).unbind(2)), alpha=2)[1],
    lambda y: torch._foreach_sub(list(y.unbind(2)), 1.0)[1],
    lambda y: torch._foreach_mul(list(y.unbind(2)), [1.0, 2.0, 3.0, 4.0])[1],
    lambda y: torch._foreach_div(list(y.unbind(2)), [W[:, :, 0]] * 4)[1],
    lambda y: torch._foreach_neg(list(y.unbind(2)))[1],
    lambda y: torch._foreach_addcmul([y, y], [y, 2 * y], [W, W], [1.0, 3.0])[1],
    lambda y: torch._foreach_addcdiv([y, y], [y, 2 * y], [W, W], 3.0)[1],
    lambda y: torch._foreach_lerp([y], [y.flip(2)], 0.2)[0],
    # contractions
    lambda y: P.view(1, N) @ y[0, 0],
    lambda y: torch.bmm(flat(M), flat(y)),
    lambda y: torch.mv(last(y), P),
    lambda y: torch.mv(y[0, 0].T, P),
    lambda y: torch.dot(y[0, 0, :, 1], P),
    lambda y: torch.dot(P, y[0, 0, :, 1]),
    lambda y: torch.addmm(y[0, 0], M[0, 0], y[0, 0], beta=2, alpha=3),
    lambda y: torch.addmv(last(y)[:, 1], last(y), P, beta=2, alpha=3),
    lambda y: torch.baddbmm(flat(y), flat(M), flat(y), beta=2, alpha=3),
    lambda y: torch.addbmm(draw(N, S * C), M[0, 0].view(N, N, 1), y[0].movedim(1, 0).reshape(N, 1, -1)),
    lambda y: y.sum(2),
    lambda y: y.mean((2,), keepdim=True),
    lambda y: y.cumsum(2),
    lambda y: torch.conv1d(flat(y), M[0, 0][..., None]),
]
LINEAR = (*moves.FAMILIES[:3], *places.FAMILIES, *arithmetic.FAMILIES, *contractions.FAMILIES)


class Noting(Follow):
    """Follows, and notes what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func._schema.name.removeprefix("aten::").removesuffix("_"))
        return super().__torch_dispatch__(func, types, args, kwargs)


def follow(operation: Callable[[Tensor], Any]) -> tuple[Noting, Tensor, Tensor, Tensor]:
    """A mode, streams, their tangents, and what the operation made of them."""
    mode, x = Noting(), draw(B, S, C)
    mode.memory.enter(x, "", "input")
    with mode, torch.no_grad():
        y = x.unsqueeze(2).repeat(1, 1, N, 1)
        before = mode.memory.read(y)
        assert before is not None
        tangent = before.tangent.clone()
        out = operation(y)
    return mode, y, tangent, out


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_tangents_are_differences(number: int) -> None:
    mode, y, tangent, out = follow(SAMPLES[number])
    before = SAMPLES[number](y)
    expected = SAMPLES[number](y + tangent) - before
    signal = mode.memory.read(out)

    assert torch.equal(out, before)
    assert signal is not None
    tracked = torch.where(signal.label >= 0, signal.tangent, 0.0)
    assert torch.allclose(tracked.to(expected.dtype), expected, atol=1e-4)


def test_no_linear_operation_is_left_out() -> None:
    listed = {name for family in LINEAR for name in family.operations if not name.endswith("_copy")}
    seen = set().union(*(follow(operation)[0].seen for operation in SAMPLES))
    clearing = {"zero", "fill", "_foreach_copy", "_foreach_zero"}  # these are in place only
    assert listed - seen <= clearing
