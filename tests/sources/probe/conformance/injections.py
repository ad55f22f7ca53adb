"""Ways in which a branch is added, all after the same mixing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from case import B, C, Model, S, case
from torch import Tensor

Inject = Callable[[Model, Tensor, Tensor], Tensor]


def injection(name: str) -> Callable[[Inject], Inject]:
    """A case from a function of the model, the mixed streams (B, S, 4, C) and the branch (B, S, C)."""

    def register(inject: Inject) -> Inject:
        def run(model: Model, x: Tensor) -> Tensor:
            y = model.widen(x)
            for _ in range(3):
                m = model.applies(model.dynamic(y.mean(2)))
                y = inject(model, m @ y, model.f(y.mean(2)))
            return y.sum(2)

        case("injected by " + name)(run)
        return inject

    return register


ONE = torch.tensor([1])


def at(f: Tensor) -> Tensor:
    return f[:, :, None]


injection("an outer product")(lambda model, y, f: y + torch.einsum("n,bsc->bsnc", model.post, f))
injection("a subtraction")(lambda model, y, f: torch.sub(y, at(f), alpha=2))
injection("addition from the left")(lambda model, y, f: torch.add(at(f).expand_as(y), y, alpha=1))
injection("addcmul")(lambda model, y, f: torch.addcmul(y, model.post[:, None], at(f), value=0.5))
injection("addcdiv")(lambda model, y, f: torch.addcdiv(y, at(f), model.post[:, None]))
injection("index_add")(lambda model, y, f: y.index_add(2, ONE, at(f), alpha=2))
injection("index_add in place")(lambda model, y, f: y.index_add_(2, ONE, at(f)))
injection("index_copy")(lambda model, y, f: y.index_copy(2, ONE, y[:, :, 1:2] + at(f)))
injection("scatter_add")(lambda model, y, f: y.scatter_add(2, ONE.view(1, 1, 1, 1).expand(B, S, 1, C), at(f)))
injection("scatter")(
    lambda model, y, f: y.scatter(2, ONE.view(1, 1, 1, 1).expand(B, S, 1, C), y[:, :, 1:2] + at(f))
)
injection("index_put with accumulation")(
    lambda model, y, f: y.index_put((slice_all(B, 1), slice_all(S, 0), ONE), f, accumulate=True)
)
injection("select_scatter")(lambda model, y, f: torch.select_scatter(y, y[:, :, 1] + f, 2, 1))
injection("slice_scatter")(lambda model, y, f: torch.slice_scatter(y, y[:, :, 1:3] + at(f), 2, 1, 3))
injection("as_strided_scatter")(
    lambda model, y, f: torch.as_strided_scatter(y, y[:, :, 0] + f, (B, S, C), (S * 4 * C, 4 * C, 1), 0)
)
injection("cat")(lambda model, y, f: torch.cat([y[:, :, :1] + at(f), y[:, :, 1:]], dim=2))
injection("stack")(lambda model, y, f: torch.stack([y[:, :, i] + (i + 1) * f for i in range(4)], 2))
injection("stack of some")(lambda model, y, f: torch.stack([y[:, :, 0] + f, *y.unbind(2)[1:]], 2))
injection("baddbmm")(
    lambda model, y, f: torch.baddbmm(
        y.flatten(0, 1), model.post.view(1, 4, 1).expand(B * S, 4, 1), f.flatten(0, 1)[:, None]
    ).unflatten(0, (B, S))
)
injection("addr, token by token")(
    lambda model, y, f: torch.stack(
        [torch.addr(a, model.post, b) for a, b in zip(y.flatten(0, 1), f.flatten(0, 1), strict=True)]
    ).view(B, S, 4, C)
)
injection("foreach")(
    lambda model, y, f: torch.stack(torch._foreach_add(list(y.unbind(2)), [f] * 4, alpha=2), 2)
)
injection("where, for some tokens only")(
    lambda model, y, f: torch.where(torch.arange(S).view(1, S, 1, 1) != 1, y + at(f), y)
)
injection("vmap")(lambda model, y, f: torch.func.vmap(lambda a: a + f, in_dims=2, out_dims=2)(y))
injection("a functional call")(
    lambda model, y, f: (
        y + at(torch.func.functional_call(model.g, dict(model.g.named_parameters()), (y.mean(2),)))
    )
)
injection("two branches in parallel")(lambda model, y, f: y + (at(f) + at(model.g(y.mean(2)))))
injection("a branch with a residual of its own")(
    lambda model, y, f: y + at((z := y[:, :, 0] + f) + model.g(z))
)


def slice_all(size: int, axis: int) -> Tensor:
    return torch.arange(size).view(-1, *[1] * axis)


@injection("in-place addition to one stream")
def to_one(model: Model, y: Tensor, f: Tensor) -> Tensor:
    y[:, :, 2] += f
    return y


@injection("assignment to one stream")
def assigned(model: Model, y: Tensor, f: Tensor) -> Tensor:
    y[:, :, 0] = y[:, :, 0] + 2 * f
    return y


@injection("an index of streams, in place")
def indexed(model: Model, y: Tensor, f: Tensor) -> Tensor:
    y[:, :, [0, 3]] += at(f)
    return y


@injection("a buffer that is filled and added to")
def buffered(model: Model, y: Tensor, f: Tensor) -> Tensor:
    out = torch.zeros(B, S, 4, C)
    out += y
    torch.add(out, at(f), out=out)
    return out


@injection("a loop over the samples")
def by_sample(model: Model, y: Tensor, f: Tensor) -> Tensor:
    return torch.stack([y[i] + f[i][:, None] for i in range(B)])


@injection("a mixture of experts, which gather tokens and add them back")
def experts(model: Model, y: Tensor, f: Tensor) -> Tensor:
    flat, out = f.flatten(0, 1), torch.zeros(B * S, C)
    for tokens in (torch.tensor([0, 2, 5]), torch.tensor([1, 2, 3])):
        out.index_add_(0, tokens, model.g(flat[tokens]))
    return y + at(out.view(B, S, C))


@injection("tokens that are gathered, updated and put back")
def some_tokens(model: Model, y: Tensor, f: Tensor) -> Tensor:
    flat = y.flatten(0, 1).clone()
    chosen = torch.tensor([4, 1])
    flat[chosen] = flat[chosen] + f.flatten(0, 1)[chosen][:, None]
    return flat.view(B, S, 4, C)


@injection("MultiheadAttention")
def attention(model: Model, y: Tensor, f: Tensor) -> Tensor:
    read = model.norm(y.mean(2))
    return y + at(model.attention(read, read, read, need_weights=False)[0])


@injection("scaled_dot_product_attention of the raw streams")
def bare_attention(model: Model, y: Tensor, f: Tensor) -> Tensor:
    read = y.mean(2)
    return y + at(torch.nn.functional.scaled_dot_product_attention(read, read, read, is_causal=True))
