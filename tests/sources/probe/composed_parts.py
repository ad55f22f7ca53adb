"""What composed models are made of: layouts, steps that can be measured, branches and injections.

A step takes the streams y [B,S,n,C] to [B,S,n,C] and says which matrix [B,S,n,n] it applied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Step = Callable[[Any, Tensor], tuple[Tensor, Tensor | None]]


def _eye(part: Any, y: Tensor) -> Tensor:
    return torch.eye(part.n, dtype=y.dtype).expand(*y.shape[:2], -1, -1)


def _dynamic(part: Any, y: Tensor) -> Tensor:
    read = F.rms_norm(y.mean(2), (part.channels,))
    return part.freeze(part.weights(read).unflatten(2, (part.n, part.n)))


def _gates(part: Any, y: Tensor) -> Tensor:
    return part.freeze(torch.sigmoid(part.gate(y.mean(2))))[..., None]


def _with(mix: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """A way to apply a matrix of each token."""

    def step(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        m = _dynamic(part, y)
        return mix(m, y), m

    return step


def _static(mix: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """A way to apply one matrix, a parameter."""

    def step(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        return mix(part.static, y), part.static.expand_as(_eye(part, y))

    return step


def _fixed(matrix: Callable[[Any, Tensor], Tensor], run: Callable[[Any, Tensor], Tensor]) -> Step:
    """A step with a matrix that is known beforehand."""
    return lambda part, y: (run(part, y), matrix(part, y))


def _filled(m: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(y)
    for i in range(y.shape[2]):
        for j in range(y.shape[2]):
            out[:, :, i] += m[:, :, i, j, None] * y[:, :, j]
    return out


def _addcmul(m: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(y)
    for j in range(y.shape[2]):
        out = torch.addcmul(out, m[..., j : j + 1], y[:, :, j : j + 1])
    return out


def _rows(m: Tensor, y: Tensor) -> Tensor:
    rows = [sum(m[..., i, j, None] * y[:, :, j] for j in range(y.shape[2])) for i in range(y.shape[2])]
    return torch.stack(rows, 2)  # type: ignore[arg-type]


def _assigned(m: Tensor, y: Tensor) -> Tensor:
    out = torch.empty_like(y)
    for i in range(y.shape[2]):
        out[:, :, i] = (m[:, :, i, :, None] * y).sum(2)
    return out


def _wide(m: Tensor, y: Tensor) -> Tensor:
    return (torch.cat([m.sum(2, keepdim=True), m], 2) @ y)[:, :, 1:]


def _bmm(m: Tensor, y: Tensor) -> Tensor:
    return torch.bmm(m.flatten(0, 1), y.flatten(0, 1)).view(y.shape)


def _baddbmm(m: Tensor, y: Tensor) -> Tensor:
    flat = y.flatten(0, 1)
    return torch.baddbmm(flat, m.flatten(0, 1), flat, beta=-1).view(y.shape) + y


def _per_sample(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    m = part.freeze(part.weights(y.mean((1, 2))).view(-1, 1, part.n, part.n))
    return m @ y, m.expand_as(_eye(part, y))


def _gated(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    gates = _gates(part, y)
    return gates * y, gates * _eye(part, y)


def _divided(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    gates = 1 + _gates(part, y)
    return y / gates, _eye(part, y) / gates


def _lerp(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    m = _dynamic(part, y)
    return torch.lerp(y, m @ y, 0.3), 0.7 * _eye(part, y) + 0.3 * m


def _householder(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    a, b = part.pre, part.post
    return y - a * (b * y).sum(2, keepdim=True), _eye(part, y) - a * b.mT


def _with_alpha(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    m = _dynamic(part, y)
    return torch.sub(2 * y, m @ y, alpha=0.5), 2 * _eye(part, y) - 0.5 * m


def _selected(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    m, order = _eye(part, y), torch.arange(part.n - 1, -1, -1).roll(1)
    return y[:, :, order], m[:, :, order]


def _chosen(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    m = _dynamic(part, y)
    where = part.freeze(part.gate(y.mean(2)) > 0)[..., None]
    return torch.where(where, m @ y, 2 * y), torch.where(where, m, 2 * _eye(part, y))


def _decided(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    if bool(part.freeze(part.gate(y.mean((0, 1, 2))) > 0)):
        return _static(torch.matmul)(part, y)
    return y.mul(-0.5), -0.5 * _eye(part, y)


def _masked(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    gone = torch.zeros(y.shape[:2], dtype=torch.bool)
    gone[:, -1] = True
    gone = gone[..., None, None]
    return y.masked_fill(gone, 0.0), _eye(part, y).masked_fill(gone, 0.0)


def _in_place(part: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    y = y.clone()
    y.mul_(0.5)
    y[:, :, -1].mul_(-3)
    m = 0.5 * _eye(part, y)
    m[:, :, -1] *= -3
    return y, m


def _ones(part: Any, y: Tensor) -> Tensor:
    return torch.ones_like(_eye(part, y)) / part.n


STEPS: dict[str, Step] = {
    "matmul": _with(torch.matmul),
    "einsum": _with(lambda m, y: torch.einsum("bsij,bsjc->bsic", m, y)),
    "bmm": _with(_bmm),
    "mul and sum": _with(lambda m, y: (m.mT[..., None] * y[:, :, :, None]).sum(2)),
    "static": _static(torch.matmul),
    "static einsum": _static(lambda m, y: torch.einsum("ij,bsjc->bsic", m, y)),
    "from the right": _static(lambda m, y: (y.mT @ m.T).mT),
    "per sample": _per_sample,
    "filled": _with(_filled),
    "addcmul": _with(_addcmul),
    "rows": _with(_rows),
    "assigned": _with(_assigned),
    "wide": _with(_wide),
    "baddbmm": _with(_baddbmm),
    "checkpointed": _with(lambda m, y: checkpoint(torch.matmul, m, y, use_reentrant=False)),
    "gated": _gated,
    "divided": _divided,
    "lerp": _lerp,
    "householder": _householder,
    "with alpha": _with_alpha,
    "chosen": _chosen,
    "decided": _decided,
    "masked": _masked,
    "in place": _in_place,
    "selected": _selected,
    "shifted": _fixed(_eye, lambda part, y: y + part.shift),
    "detached": _fixed(_eye, lambda part, y: y.detach().data),
    "negated": _fixed(lambda part, y: -_eye(part, y), lambda part, y: -y),
    "zero": _fixed(lambda part, y: 0 * _eye(part, y), lambda part, y: 0 * y),
    "rolled": _fixed(lambda part, y: _eye(part, y).roll(1, 2), lambda part, y: y.roll(1, 2)),
    "flipped": _fixed(lambda part, y: _eye(part, y).flip(2), lambda part, y: y.flip(2)),
    "collapsed": _fixed(_ones, lambda part, y: y.mean(2, keepdim=True).expand_as(y)),
    "and their mean": _fixed(
        lambda part, y: _eye(part, y) + _ones(part, y), lambda part, y: y + y.mean(2, keepdim=True)
    ),
    "unbound": _fixed(_eye, lambda part, y: torch.stack(y.unbind(2), 2)),
    "in chunks": _fixed(_eye, lambda part, y: torch.cat(y.chunk(part.n, 2), 2)),
    "cast": _fixed(_eye, lambda part, y: y.double().clone().to(y.dtype)),
}
"""Steps that a probe must be able to follow."""

# to a layout, and back to [B,S,n,C]
LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Any], Tensor]]] = {
    "bsnc": (lambda y: y, lambda y, p: y),
    "bnsc": (lambda y: y.transpose(1, 2).contiguous(), lambda y, p: y.transpose(1, 2)),
    "view of bnsc": (lambda y: y.transpose(1, 2), lambda y, p: y.transpose(1, 2)),
    "nbsc": (lambda y: y.permute(2, 0, 1, 3).contiguous(), lambda y, p: y.permute(1, 2, 0, 3)),
    "bs(nc)": (lambda y: y.flatten(2), lambda y, p: y.unflatten(2, (p.n, p.channels))),
    "sb(nc)": (
        lambda y: y.transpose(0, 1).flatten(2),
        lambda y, p: y.unflatten(2, (p.n, p.channels)).transpose(0, 1),
    ),
    "(bn)sc": (
        lambda y: y.transpose(1, 2).flatten(0, 1),
        lambda y, p: y.unflatten(0, (-1, p.n)).transpose(1, 2),
    ),
    "bscn": (lambda y: y.mT.contiguous(), lambda y, p: y.mT),
    "bs(cn)": (lambda y: y.mT.flatten(2), lambda y, p: y.unflatten(2, (p.channels, p.n)).mT),
    "bncs": (lambda y: y.permute(0, 2, 3, 1).contiguous(), lambda y, p: y.permute(0, 3, 1, 2)),
    "b(nc)s": (
        lambda y: y.permute(0, 2, 3, 1).flatten(1, 2),
        lambda y, p: y.unflatten(1, (p.n, p.channels)).permute(0, 3, 1, 2),
    ),
    "b1s1nc": (lambda y: y[:, None, :, None], lambda y, p: y[:, 0, :, 0]),
}


def _attention(part: Any, y: Tensor) -> Tensor:
    q, k, v = part.attention(part.norm(y.mean(2))).chunk(3, -1)
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


# a branch reads the streams and gives [B,S,1 or n,C]
BRANCHES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "norm and linear": lambda p, y: p.inner(y.mean(2))[:, :, None],
    "linear": lambda p, y: p.linear((p.pre * y).sum(2))[:, :, None],
    "norm": lambda p, y: p.norm(y[:, :, 0])[:, :, None],
    "function": lambda p, y: y.sum(2, keepdim=True).tanh(),
    "attention": lambda p, y: _attention(p, y)[:, :, None],
    "convolution": lambda p, y: p.convolution(p.norm(y.mean(2)).mT).mT[:, :, None],
    "residual": lambda p, y: p.net(p.norm(y.mean(2)))[:, :, None],
    "residual of the read": lambda p, y: p.linear(p.net((p.pre * y).sum(2)))[:, :, None],
    "two inputs": lambda p, y: (p.inner(y[:, :, 0]) * torch.sigmoid(p.linear(y.mean(2))))[:, :, None],
    "each stream": lambda p, y: p.inner(y),
    "all streams": lambda p, y: p.flat(y.flatten(2)).view(y.shape),
    "dropout": lambda p, y: F.dropout(p.inner(y.mean(2)), 0.5, training=p.training)[:, :, None],
    "tokens": lambda p, y: y.mean(1, keepdim=True).tanh().expand_as(y).contiguous(),
}


def _into_one(p: Any, y: Tensor, f: Tensor, _: Any) -> Tensor:
    y = y.clone()
    y[:, :, 0] += f[:, :, 0]
    return y


def _assigned_to_one(p: Any, y: Tensor, f: Tensor, _: Any) -> Tensor:
    y = y.clone()
    y[:, :, -1] = y[:, :, -1] + f[:, :, 0]
    return y


def _added_in_place(p: Any, y: Tensor, f: Tensor, _: Any) -> Tensor:
    y = y.clone()
    y += p.post * f
    return y


def _by_product(p: Any, y: Tensor, f: Tensor, _: Any) -> Tensor:
    post = p.post.expand(y.shape[0] * y.shape[1], -1, -1)
    return torch.baddbmm(y.flatten(0, 1), post, f[:, :, :1].flatten(0, 1)).view(y.shape)


def _as_laid_out(p: Any, y: Tensor, f: Tensor, there: Any) -> Tensor:
    back = next(back for to, back in LAYOUTS.values() if to is there)
    return back(there(y) + there((p.post * f).expand_as(y)), p)


def _out(p: Any, y: Tensor, f: Tensor, _: Any) -> Tensor:
    made = torch.empty_like(y.contiguous())
    torch.add(y, f.expand_as(y), alpha=2, out=made)
    return made


def _twice(p: Any, y: Tensor, f: Tensor, _: Any) -> Tensor:
    y = y + f
    if p.tape is not None:
        y = p.tape.pass_by(p.number, y, trap=True)
    return y + p.freeze(p.inner(f))


INJECTIONS: dict[str, Callable[[Any, Tensor, Tensor, Any], Tensor]] = {
    "add": lambda p, y, f, _: y + p.post * f,
    "as laid out": _as_laid_out,
    "sub": lambda p, y, f, _: y - p.post * f,
    "the branch first": lambda p, y, f, _: 2 * f + y,
    "cat": lambda p, y, f, _: torch.cat([y[:, :, :1] + f[:, :, :1], y[:, :, 1:]], 2),
    "addcmul": lambda p, y, f, _: torch.addcmul(y, p.post.expand(-1, y.shape[3]), f.expand_as(y)),
    "in place": _added_in_place,
    "into one": _into_one,
    "assigned to one": _assigned_to_one,
    "baddbmm": _by_product,
    "out": _out,
    "twice": _twice,
}
