"""Steps that need not be measured. If a number is given for a site with one of them, it must be right.

Those that move tokens or channels with all their streams say so: then a token is followed to its new place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from composed_parts import Step
from torch import Tensor


def _gate(values: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """A factor for each channel: 1.5 where the values say so."""
    return lambda part, y: y * (1 + 0.5 * values(part, torch.arange(part.channels)).to(y.dtype))


def _one_stream(change: Callable[[Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def run(part: Any, y: Tensor) -> Tensor:
        if part.n == 1:
            part.moved(change)
        y = y.clone()
        y[:, :, 0] = change(y[:, :, 0])
        return y

    return run


def _moved(move: Callable[[Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """The same change of place for all streams; `move` works on [B,S,C] and on [B,S,n,C] alike."""

    def run(part: Any, y: Tensor) -> Tensor:
        part.moved(lambda origin: move(origin[:, :, None])[:, :, 0])
        return move(y)

    return run


def _by_channel(part: Any, y: Tensor) -> Tensor:
    """Stream i of channel c is read from stream i + c."""
    index = (torch.arange(part.n)[:, None] + torch.arange(part.channels)) % part.n
    return y.gather(2, index.expand(y.shape))


def _kronecker(part: Any, y: Tensor) -> Tensor:
    channels = torch.eye(part.channels, dtype=y.dtype)
    return (y.flatten(2) @ torch.kron(part.static, channels).T).view(y.shape)


def _rms(y: Tensor) -> Tensor:
    return y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)


def _by_sign(part: Any, y: Tensor) -> Tensor:
    return torch.where(part.freeze(y > 0), y, 0.5 * y)


def _ordered(part: Any, y: Tensor) -> Tensor:
    order = part.freeze(y.mean(3, keepdim=True).argsort(2))
    return y.gather(2, order.expand_as(y))


def _causal(part: Any, y: Tensor) -> Tensor:
    average = torch.ones(y.shape[1], y.shape[1], dtype=y.dtype).tril()
    return torch.einsum("ts,bsnc->btnc", average / average.sum(1, keepdim=True), y)


def _indexed(part: Any, y: Tensor) -> Tensor:
    f = part.freeze(part.inner(y.mean(2)))[:, :, None]
    return y.index_add(2, torch.tensor([part.n - 1]), f)


def _scattered(part: Any, y: Tensor) -> Tensor:
    y = y.clone()
    y.index_put_(
        (torch.arange(y.shape[0])[:, None], torch.arange(y.shape[1]), torch.tensor(0)), 2 * y[:, :, 0]
    )
    return y


def _one_row_in_place(part: Any, y: Tensor) -> Tensor:
    y = y.clone()
    y[0, 0] = part.static @ y[0, 0]
    return y


def _rotated_pairs(part: Any, y: Tensor) -> Tensor:
    if part.channels % 2:
        return y
    pairs = torch.view_as_complex(y.unflatten(3, (-1, 2)).contiguous())
    turned = pairs * torch.polar(torch.ones(1, dtype=y.dtype), torch.ones(1, dtype=y.dtype))
    return torch.view_as_real(turned).flatten(3)


def _crossed(part: Any, y: Tensor) -> Tensor:
    """The first stream of one token changes places with that of the next."""
    order = torch.arange(y.shape[1])
    order[0], order[-1] = order[-1].item(), order[0].item()
    return _one_stream(lambda x: x[:, order])(part, y)


def _doubled(part: Any, y: Tensor) -> Tensor:
    return y.repeat(1, 1, 2, 1).unflatten(2, (2, part.n)).sum(2)


_UNPROVEN: dict[str, Callable[[Any, Tensor], Tensor]] = {
    # channels are not alike
    "gate of channels": lambda p, y: y * p.channel,
    "gate of one channel": _gate(lambda p, c: c == 1),
    "gate of the last channel": _gate(lambda p, c: c == p.channels - 1),
    "small gate of one channel": lambda p, y: y * (1 + 1e-3 * (torch.arange(p.channels) == 0)),
    "gate of one class": _gate(lambda p, c: c % p.n == 0),
    "gate of even channels": _gate(lambda p, c: c % 2 == 0),
    "gate of half the channels": _gate(lambda p, c: 2 * c < p.channels),
    "stream by channel": _by_channel,
    "channels where": lambda p, y: torch.where(torch.arange(p.channels) > 0, y, -y),
    "channels masked": lambda p, y: y.masked_fill(torch.arange(p.channels) % p.n == 0, 0.0),
    "channels of one stream flipped": _one_stream(lambda x: x.flip(-1)),
    "channels of one stream rolled": _one_stream(lambda x: x.roll(1, -1)),
    "channels flipped": _moved(lambda t: t.flip(-1)),
    "rotated pairs": _rotated_pairs,
    # tokens are not apart
    "tokens rolled": _moved(lambda t: t.roll(1, 1)),
    "tokens flipped": _moved(lambda t: t.flip(1)),
    "samples flipped": _moved(lambda t: t[torch.arange(t.shape[0] - 1, -1, -1)]),
    "tokens of one stream rolled": _one_stream(lambda x: x.roll(1, 1)),
    "tokens of one stream flipped": _one_stream(lambda x: x.flip(1)),
    "crossed": _crossed,
    "causal average": _causal,
    "cumsum": lambda p, y: y.cumsum(1),
    "sum of tokens": lambda p, y: y.sum(1, keepdim=True).expand_as(y).clone(),
    "convolved": lambda p, y: (
        p.convolution(y.flatten(2).mT.unflatten(1, (p.n, -1)).flatten(0, 1))
        .unflatten(0, (-1, p.n))
        .permute(0, 3, 1, 2)
    ),
    # not linear
    "layer norm": lambda p, y: p.norm(y),
    "rms norm": lambda p, y: _rms(y),
    "unit length": lambda p, y: F.normalize(y, dim=-1),
    "norm of all": lambda p, y: F.layer_norm(y.flatten(2), (p.n * p.channels,)).view(y.shape),
    "relu": lambda p, y: y.relu(),
    "relu in place": lambda p, y: y.clone().relu_(),
    "tanh": lambda p, y: y.tanh(),
    "clamped": lambda p, y: y.clamp(-0.5, 0.5),
    "sorted": lambda p, y: y.sort(2).values,
    "by sign": _by_sign,
    "squared": lambda p, y: y * y,
    "inverse": lambda p, y: p.shift / (y + 5),
    "to whole numbers": lambda p, y: (8 * y).int().to(y.dtype) / 8,
    "rounded": lambda p, y: y.round(decimals=1),
    "softmax": lambda p, y: y.softmax(2),
    # layers on the path
    "linear": lambda p, y: p.linear(y),
    "linear of all": lambda p, y: p.flat(y.flatten(2)).view(y.shape),
    "kronecker": _kronecker,
    # linear, but unusual
    "cumsum over streams": lambda p, y: y.cumsum(2),
    "ordered": _ordered,
    "long skip": lambda p, y: y + 0.5 * p.first,
    "index_add": _indexed,
    "scattered": _scattered,
    "one token in place": _one_row_in_place,
    "doubled": _doubled,
    "power of one": lambda p, y: y.pow(1),
    "vmap": lambda p, y: torch.vmap(torch.vmap(lambda x: p.static @ x))(y),
    "trace of a product": lambda p, y: torch.tensordot(y, p.static, dims=([2], [1])).mT,
}


def _one_element(part: Any, y: Tensor) -> tuple[Tensor, None]:
    y = y.clone()
    y[:, :, 0, 1] *= 1.5
    return y, None


TRAPS: dict[str, Step] = {
    name: (lambda part, y, run=run: (run(part, y), None)) for name, run in _UNPROVEN.items()
}

UNSEEN: dict[str, Step] = {"gate of one element": _one_element}
"""Steps that are known to be measured wrongly."""
