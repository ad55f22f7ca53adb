"""Layouts of the streams: each mixes and injects in its own layout, without a detour by another one."""

import torch
from case import B, C, Model, S, case
from torch import Tensor


@case("[B,S,n,C]")
def batch_tokens_streams(model: Model, x: Tensor) -> Tensor:
    y = x.unsqueeze(2).expand(-1, -1, model.n, -1)
    for _ in range(2):
        y = model.applies(model.dynamic(y.mean(2))) @ y + model.branch(y)
    return y.sum(2)


@case("[B,n,S,C]")
def streams_before_tokens(model: Model, x: Tensor) -> Tensor:
    y = torch.stack([x] * model.n, 1)
    for _ in range(2):
        m = model.applies(model.dynamic(y.mean(1)))
        y = torch.einsum("bsij,bjsc->bisc", m, y) + model.post[:, None, None] * model.f(y.mean(1))[:, None]
    return y.sum(1)


@case("[n,B,S,C]")
def streams_first(model: Model, x: Tensor) -> Tensor:
    y = x.expand(model.n, *x.shape).contiguous()
    for _ in range(2):
        y = torch.tensordot(model.applies(model.static), y, dims=1) + model.f(y.mean(0))
    return y.sum(0)


@case("[S,B,n*C]", shape=(S, B, C))
def flat_streams_after_tokens_and_batch(model: Model, x: Tensor) -> Tensor:
    y = x.repeat(1, 1, model.n)
    for _ in range(2):
        streams = y.view(S, B, model.n, C)
        m = model.applies(model.dynamic(streams.mean(2)), S, B)
        y = torch.bmm(m.view(S * B, model.n, model.n), streams.view(S * B, model.n, C)).view(S, B, -1)
        y = y + (model.post[:, None] * model.f(streams.mean(2))[:, :, None]).flatten(2)
    return y.view(S, B, model.n, C).sum(2)


@case("[B,S,n*C]")
def flat_streams(model: Model, x: Tensor) -> Tensor:
    y = torch.cat([x] * model.n, -1)
    for _ in range(2):
        parts = y.split(C, dim=-1)
        m = model.applies(model.dynamic(parts[0]))
        mixed = [sum(m[..., i, j, None] * p for j, p in enumerate(parts)) for i in range(model.n)]
        y = torch.cat(mixed, -1) + model.f(parts[0]).repeat(1, 1, model.n)
    return y.view(B, S, model.n, C).sum(2)


@case("[(B n),S,C]")
def streams_in_the_batch(model: Model, x: Tensor) -> Tensor:
    y = x.repeat_interleave(model.n, dim=0)
    for _ in range(2):
        streams = y.unflatten(0, (B, model.n)).transpose(1, 2)
        m = model.applies(model.dynamic(streams.mean(2)))
        mixed = torch.einsum("bsij,bsjc->bsic", m, streams).transpose(1, 2).flatten(0, 1)
        y = mixed + model.f(streams.mean(2)).repeat_interleave(model.n, dim=0)
    return y.unflatten(0, (B, model.n)).sum(1)


@case("[T,n,C]", shape=(B * S, C))
def flat_tokens(model: Model, x: Tensor) -> Tensor:
    y = x[:, None].repeat(1, model.n, 1)
    for _ in range(2):
        m = model.applies(model.dynamic(y.mean(1)), B * S)
        y = torch.bmm(m, y) + model.post[:, None] * model.f(y.mean(1))[:, None]
    return y.sum(1)


@case("[T,n*C]", shape=(B * S, C))
def flat_tokens_flat_streams(model: Model, x: Tensor) -> Tensor:
    y = x.tile(1, model.n)
    for _ in range(2):
        streams = y.reshape(-1, model.n, C)
        m = model.applies(model.dynamic(streams[:, 0]), B * S)
        y = (m @ streams).reshape(-1, model.n * C)
        y += model.f(streams[:, 0]).tile(1, model.n)
    return y


@case("[S,B,C,n], the stream axis last", shape=(S, B, C))
def streams_last(model: Model, x: Tensor) -> Tensor:
    y = x.unsqueeze(-1).expand(-1, -1, -1, model.n)
    for _ in range(2):
        m = model.applies(model.dynamic(y.mean(-1)), S, B)
        y = y @ m.mT + model.f(y.mean(-1)).unsqueeze(-1) * model.post
    return y.sum(-1)


@case("[B,S,C*n], channel-major and flat")
def channel_major(model: Model, x: Tensor) -> Tensor:
    y = x.repeat_interleave(model.n, dim=-1)
    for _ in range(2):
        streams = y.view(B, S, C, model.n)
        mixed = torch.nn.functional.linear(streams, model.applies(model.static))
        y = (mixed + model.f(streams.mean(-1)).unsqueeze(-1) * model.post).view(B, S, -1)
    return y


@case("singleton axes, [1,B,1,S,n,1,C]")
def singletons(model: Model, x: Tensor) -> Tensor:
    y = x[None, :, None, :, None, None].repeat(1, 1, 1, 1, model.n, 1, 1)
    for _ in range(2):
        m = model.applies(model.dynamic(y.mean(4)[0, :, 0, :, 0]))
        y = torch.einsum("bsij,abdsjec->abdsiec", m, y) + model.f(y.mean(4, keepdim=True))
    return y.sum(4)


@case("no batch axis, [S,n,C]", shape=(S, C))
def no_batch(model: Model, x: Tensor) -> Tensor:
    y = torch.stack([x] * model.n, dim=1)
    for _ in range(2):
        m = model.applies(model.dynamic(y.mean(1)), S)
        y = torch.einsum("sij,sjc->sic", m, y) + model.f(y.mean(1))[:, None]
    return y.sum(1)


@case("one token alone, [1,n,C]", shape=(1, C))
def one_token(model: Model, x: Tensor) -> Tensor:
    y = x[:, None].repeat(1, model.n, 1)
    for _ in range(2):
        y = model.applies(model.dynamic(y.mean(1)), 1) @ y + model.f(y.mean(1))[:, None]
    return y.sum(1)


IMAGE = (B, 3, 4, 5)


@case("images, [B,n,C,H,W]", shape=IMAGE)
def images(model: Model, x: Tensor) -> Tensor:
    y = model.conv_in(x).unsqueeze(1).repeat(1, model.n, 1, 1, 1)
    for _ in range(2):
        m = model.applies(model.dynamic(y.mean(1).movedim(1, -1)), B, 4, 5)  # a matrix for each pixel
        y = torch.einsum("bhwij,bjchw->bichw", m, y) + model.conv(y.mean(1))[:, None]
    return y.sum(1)


@case("images, [(B n),C,H,W]", shape=IMAGE)
def images_in_the_batch(model: Model, x: Tensor) -> Tensor:
    y = model.conv_in(x).repeat_interleave(model.n, dim=0)
    for _ in range(2):
        streams = y.view(B, model.n, C, 4, 5)
        m = model.applies(model.dynamic(streams.mean((1, 3, 4)))[:, None, None], B, 4, 5)  # for each image
        mixed = torch.einsum("bij,bjchw->bichw", m[:, 0, 0], streams)
        y = mixed.flatten(0, 1) + model.conv(streams.mean(1)).repeat_interleave(model.n, dim=0)
    return y


@case("images, streams stacked on the channel axis, [B,n*C,H,W]", shape=IMAGE)
def images_stacked(model: Model, x: Tensor) -> Tensor:
    y = model.conv_in(x).repeat(1, model.n, 1, 1)
    for _ in range(2):
        streams = y.unflatten(1, (model.n, C))
        mixed = torch.einsum("ij,bjchw->bichw", model.applies(model.static, B, 4, 5), streams)
        y = mixed.flatten(1, 2) + model.conv(streams.mean(1)).repeat(1, model.n, 1, 1)
    return y


for count in (1, 2, 3, 8, 16):
    case(f"n = {count}", n=count)(batch_tokens_streams)
