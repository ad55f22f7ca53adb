"""Forms of mixing, all over streams (B, S, n, C) and with the same injection."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from case import B, C, Model, S, case
from torch import Tensor

Mix = Callable[[Model, Tensor, Tensor], Tensor]


def mixing(name: str, *, static: bool = False, n: int = 4) -> Callable[[Mix], Mix]:
    """A case from a function of the model, its matrix (B, S, n, n) and the streams."""

    def register(mix: Mix) -> Mix:
        def run(model: Model, x: Tensor) -> Tensor:
            y = model.widen(x)
            for _ in range(2):
                m = model.static.detach().expand(B, S, n, n) if static else model.dynamic(y.mean(2))
                y = mix(model, model.applies(m), y) + model.branch(y)
            return y.sum(2)

        case(name, n=n)(run)
        return mix

    return register


def bsnc(x: Tensor) -> Tensor:
    return x.unflatten(0, (B, S))


mixing("matmul")(lambda model, m, y: m @ y)
mixing("matmul with the transpose")(lambda model, m, y: torch.matmul(m.mT.contiguous().transpose(-1, -2), y))
mixing("bmm")(lambda model, m, y: bsnc(torch.bmm(m.flatten(0, 1), y.flatten(0, 1))))
mixing("einsum")(lambda model, m, y: torch.einsum("bsij,bsjc->bsic", m, y))
mixing("einsum, transposed")(lambda model, m, y: torch.einsum("bsji,bsjc->bsic", m.mT, y))
mixing("mul and sum")(lambda model, m, y: (m[..., None] * y[:, :, None]).sum(3))
mixing("mul and sum, transposed")(lambda model, m, y: (m.mT.unsqueeze(-1) * y.unsqueeze(-2)).sum(dim=2))
mixing("mul and mean")(lambda model, m, y: 4 * (m[..., None] * y[:, :, None]).mean(3))
mixing("tensordot of a parameter", static=True)(
    lambda model, m, y: torch.tensordot(y, model.static, dims=([2], [1])).movedim(-1, 2)
)
mixing("linear over the stream axis", static=True)(
    lambda model, m, y: F.linear(y.transpose(2, 3), model.static).transpose(2, 3)
)
mixing("convolution of size 1 over the stream axis", static=True)(
    lambda model, m, y: bsnc(F.conv1d(y.flatten(0, 1), model.static[..., None]))
)
mixing("matrix and vector, row by row", static=True)(
    lambda model, m, y: (
        torch.stack([torch.mv(y.movedim(2, -1).reshape(-1, 4), row) for row in model.static])
        .view(4, B, S, C)
        .movedim(0, 2)
    )
)


@mixing("stream by stream")
def stream_by_stream(model: Model, m: Tensor, y: Tensor) -> Tensor:
    streams = y.unbind(2)
    return torch.stack([sum(m[..., i, j, None] * streams[j] for j in range(4)) for i in range(4)], 2)


@mixing("into an empty buffer")
def into_a_buffer(model: Model, m: Tensor, y: Tensor) -> Tensor:
    out = torch.empty_like(y)
    for i in range(4):
        torch.sum(m[:, :, i, :, None] * y, dim=2, out=out[:, :, i])
    return out


@mixing("out= variants")
def out_variants(model: Model, m: Tensor, y: Tensor) -> Tensor:
    products, out = torch.empty(B, S, 4, 4, C), torch.empty_like(y)
    torch.mul(m[..., None], y[:, :, None], out=products)
    rows = [products[:, :, i].sum(2) for i in range(4)]
    return torch.stack(rows, 2, out=out)


@mixing("addcmul")
def addcmul(model: Model, m: Tensor, y: Tensor) -> Tensor:
    mixed = torch.zeros_like(y)
    for j in range(4):
        mixed = torch.addcmul(mixed, m[..., j : j + 1], y[:, :, j : j + 1], value=2)
    return mixed / 2


@mixing("addcdiv")
def addcdiv(model: Model, m: Tensor, y: Tensor) -> Tensor:
    mixed = torch.zeros_like(y)
    for j in range(4):
        mixed = torch.addcdiv(mixed, y[:, :, j : j + 1], 1 / m[..., j : j + 1], value=0.5)
    return mixed * 2


@mixing("baddbmm, of another mixing")
def baddbmm(model: Model, m: Tensor, y: Tensor) -> Tensor:
    flat = y.flatten(0, 1)
    return bsnc(torch.baddbmm(flat, m.flatten(0, 1) - model.eye, flat))


@mixing("addmm and addmv, of another mixing", static=True)
def addmm(model: Model, m: Tensor, y: Tensor) -> Tensor:
    last = y.movedim(2, -1).reshape(-1, 4)
    mixed = torch.addmm(last, last, model.static.T, beta=0.5)
    rows = [torch.addmv(mixed[:, i], last, model.eye[i], alpha=-0.5) for i in range(4)]
    return torch.stack(rows, -1).view(B, S, C, 4).movedim(-1, 2)


@mixing("addbmm, the sum of a batch of products", static=True)
def addbmm(model: Model, m: Tensor, y: Tensor) -> Tensor:
    streams = y.movedim(2, 0).reshape(4, 1, -1)  # each stream a row
    columns = model.static.T.reshape(4, 4, 1)
    mixed = torch.addbmm(torch.zeros(4, streams.shape[-1]), columns, streams)
    return mixed.view(4, B, S, C).movedim(0, 2)


@mixing("lerp between the streams and another mixing")
def lerp(model: Model, m: Tensor, y: Tensor) -> Tensor:
    other = (m @ y - 0.75 * y) * 4
    return torch.lerp(y, other, 0.25)


@mixing("diagonal and rest", static=True)
def diagonal_and_rest(model: Model, m: Tensor, y: Tensor) -> Tensor:
    diagonal = model.static.diagonal()
    rest = model.static - torch.diag_embed(diagonal)
    return torch.diag_embed(diagonal) @ y + torch.einsum("ij,bsjc->bsic", rest, y)


@mixing("two factors, and a subtraction with a factor")
def low_rank(model: Model, m: Tensor, y: Tensor) -> Tensor:
    u, s, v = torch.linalg.svd(m)
    return -torch.sub(torch.zeros_like(y), (u * s[..., None, :]) @ (v @ y), alpha=1)


@mixing("in place")
def in_place(model: Model, m: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(y)
    for i in range(4):
        for j in range(4):
            out[:, :, i] += m[:, :, i, j, None] * y[:, :, j]
    return out


@mixing("accumulated by index_add")
def by_index_add(model: Model, m: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(y)
    for j in range(4):
        out.index_add_(2, torch.arange(4), m[..., j : j + 1] * y[:, :, j : j + 1])
    return out


@mixing("accumulated by scatter_add, several sources for each stream")
def by_scatter_add(model: Model, m: Tensor, y: Tensor) -> Tensor:
    products = (m.mT[..., None] * y[:, :, :, None]).flatten(2, 3)  # from j to i, at j * n + i
    target = torch.arange(4).repeat(4)[None, None, :, None].expand(B, S, 16, C)
    return torch.zeros_like(y).scatter_add(2, target, products)


@mixing("foreach")
def foreach(model: Model, m: Tensor, y: Tensor) -> Tensor:
    rows = [torch.zeros(B, S, C) for _ in range(4)]
    for j in range(4):
        products = torch._foreach_mul([y[:, :, j]] * 4, [m[..., i, j, None] for i in range(4)])
        torch._foreach_add_(rows, products)
    return torch.stack(rows, 2)


@mixing("a wide matrix, branch input and streams at once")
def wide(model: Model, m: Tensor, y: Tensor) -> Tensor:
    both = torch.cat([m[..., :1, :].sigmoid(), m], dim=2) @ y
    _, streams = both.split([1, 4], dim=2)
    return streams


@mixing("in float64 and back")
def promoted(model: Model, m: Tensor, y: Tensor) -> Tensor:
    return (m.double() @ y.double()).float()


@mixing("a vmap over tokens")
def vmapped(model: Model, m: Tensor, y: Tensor) -> Tensor:
    return bsnc(torch.func.vmap(lambda a, b: a @ b)(m.flatten(0, 1), y.flatten(0, 1)))


@mixing("a vmap over the stream axis")
def vmapped_streams(model: Model, m: Tensor, y: Tensor) -> Tensor:
    def row(weights: Tensor, streams: Tensor) -> Tensor:
        return (weights[..., None] * streams).sum(2)

    return torch.func.vmap(row, in_dims=(2, None), out_dims=2)(m, y)


@mixing("masked: where, masked_fill and nan_to_num leave the numbers that are streams")
def masked(model: Model, m: Tensor, y: Tensor) -> Tensor:
    mixed = torch.nan_to_num(torch.where(torch.isfinite(y), m @ y, 0.0))
    return mixed.masked_fill(torch.zeros(B, S, 1, 1, dtype=torch.bool), 0.0)


def _rearranged(name: str, matrix: Callable[[Model], Tensor], mix: Callable[[Tensor], Tensor]) -> None:
    def run(model: Model, x: Tensor) -> Tensor:
        y = model.widen(x)
        for _ in range(2):
            model.applies(matrix(model))
            y = mix(y) + model.branch(y)
        return y

    case(name)(run)


_rearranged("streams rolled", lambda m: m.eye.roll(1, 0), lambda y: y.roll(1, dims=2))
_rearranged("streams flipped", lambda m: m.eye.flip(0), lambda y: y.flip(2))
_rearranged("streams permuted by an index", lambda m: m.eye[[2, 0, 3, 1]], lambda y: y[:, :, [2, 0, 3, 1]])
_rearranged(
    "streams gathered and taken",
    lambda m: m.eye[[1, 1, 0, 2]],
    lambda y: y.gather(2, torch.tensor([1, 1, 0, 2]).view(1, 1, 4, 1).expand_as(y)),
)
_rearranged(
    "streams taken along a flat index",
    lambda m: m.eye.flip(0),
    lambda y: y.take(torch.arange(y.numel()).view(y.shape).flip(2)),
)
_rearranged("running sum over the streams", lambda m: torch.ones(4, 4).tril(), lambda y: y.cumsum(2))
_rearranged(
    "one stream cleared",
    lambda m: torch.diag(torch.tensor([1.0, 1, 0, 1])),
    lambda y: y.masked_fill(torch.tensor([0, 0, 1, 0]).bool()[:, None], 0.0),
)
_rearranged(
    "one stream cleared by a fill in place",
    lambda m: torch.diag(torch.tensor([1.0, 1, 0, 1])),
    lambda y: y.index_fill(2, torch.tensor([2]), 0.0),
)
_rearranged(
    "padded and cut",
    lambda m: torch.diag(torch.ones(3), -1),
    lambda y: F.pad(y, (0, 0, 1, 0))[:, :, :4],
)
KEPT = (torch.arange(S) != 1).view(1, S, 1, 1)
_rearranged("the streams of some tokens cleared", lambda m: m.eye * KEPT, lambda y: torch.where(KEPT, y, 0.0))
_rearranged(
    "streams exchanged by index_copy",
    lambda m: m.eye[[1, 0, 2, 3]],
    lambda y: y.index_copy(2, torch.tensor([0, 1]), y[:, :, [1, 0]]),
)
_rearranged(
    "a stream replaced by a multiple of another",
    lambda m: m.eye[[0, 1, 2, 1]] * torch.tensor([1.0, 1, 1, 2])[:, None],
    lambda y: torch.select_scatter(y, 2 * y[:, :, 1], 2, 3),
)
