"""Models as a whole: what lies between two injections, what modules pass on, where streams begin."""

import torch
from case import B, C, Model, S, case
from torch import Tensor


@case("each sample its own matrix")
def per_sample(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    for _ in range(2):
        m = model.applies(model.dynamic(y.mean((1, 2)))[:, None])
        y = m @ y + model.branch(y)
    return y


@case("three mixings between two injections")
def several(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    for _ in range(2):
        one, two = model.dynamic(y.mean(2)), model.dynamic(y[:, :, 0])
        model.applies(model.static @ two @ one)
        y = torch.einsum("ij,bsjc->bsic", model.static, two @ (one @ y)) + model.branch(y)
    return y


@case("sites of their own for attention and feed-forward, and a layer that runs twice")
def twice(model: Model, x: Tensor) -> Tensor:
    def block(y: Tensor) -> Tensor:
        y = model.applies(model.dynamic(y.mean(2))) @ y + model.f(y.mean(2))[:, :, None]
        return model.applies(model.static) @ y + model.g(y.mean(2))[:, :, None]

    return block(block(model.widen(x)))


@case("tuples and dictionaries between modules")
def containers(model: Model, x: Tensor) -> dict[str, tuple[Tensor, ...]]:
    state = {"streams": model.widen(x).unbind(2), "rest": (x,)}
    for _ in range(2):
        streams = torch.stack(state["streams"], 2)
        mixed = model.applies(model.static) @ streams + model.branch(streams)
        state = {"streams": mixed.unbind(2), "rest": (x,)}
    return state


@case("n streams in n tensors", skipped=("takes 1 streams to 4",))  # they start as one tensor, n times
def separate_streams(model: Model, x: Tensor) -> Tensor:
    streams = [x.clone() for _ in range(4)]
    for depth in range(3):
        m = model.dynamic(streams[0])
        if depth:
            model.applies(m)
        f = model.f(sum(streams) / 4)
        streams = [sum(m[..., i, j, None] * streams[j] for j in range(4)) + f for i in range(4)]
    return sum(streams)


@case("dropout, in a model in train mode")
def train_mode(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    for _ in range(2):
        y = model.applies(model.static) @ model.dropout(y) + model.dropout(model.branch(y))
    return y


@case("residual scaling and gating", n=1)
def scaled_and_gated(model: Model, x: Tensor) -> Tensor:
    gate = torch.sigmoid(model.gate(x))
    model.applies(gate[..., None])
    x = gate * x + model.f(x)
    model.applies(model.eye)
    x = (x + 2 * model.g(x)) / 2  # what follows an injection belongs to the next site
    model.applies(0.5 * 0.7 * model.eye)
    return torch.lerp(model.f(x), x, 0.7)


@case("LayerScale on the branch", n=1)
def layer_scale(model: Model, x: Tensor) -> Tensor:
    for _ in range(2):
        model.applies(model.eye)
        x = x + model.per_channel * model.f(x)
    return x


@case("streams expanded after plain blocks", skipped=("takes 1 streams to 1, where most sites have 4",))
def expanded_late(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x + model.g(x))
    for _ in range(2):
        y = model.applies(model.static) @ y + model.branch(y)
    return y


@case("norms that are written out, in front of the branches and at the end")
def written_out_norms(model: Model, x: Tensor) -> Tensor:
    def norm(z: Tensor) -> Tensor:
        centred = z - z.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6)

    y = model.widen(x)
    for _ in range(2):
        y = model.applies(model.static) @ y + model.g(norm(y).mean(2))[:, :, None]
    return norm(y)


@case("streams made by a layer")
def expanded_by_a_layer(model: Model, x: Tensor) -> Tensor:
    y = model.expand(x).view(B, S, 4, C)
    for _ in range(2):
        y = model.applies(model.dynamic(y.mean(2))) @ y + model.branch(y)
    return y


@case("streams made by a layer, and one site")
def expanded_by_a_layer_for_one_site(model: Model, x: Tensor) -> Tensor:
    y = model.expand(x).view(B, S, 4, C)
    return model.applies(model.dynamic(y.mean(2))) @ y + model.branch(y)


AROUND = ("streams of an earlier point stand beside its own",)


@case("tokens that skip two sites", skipped=AROUND)
def skipping_tokens(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    one, two = model.dynamic(y.mean(2)), model.static.detach()
    kept = (torch.arange(S) != 1).view(1, S, 1, 1)
    model.applies(torch.where(kept, two @ one, model.eye))
    z = one @ y + model.branch(y)
    z = two @ z + model.branch(z)
    y = torch.where(kept, z, y)
    return model.applies(model.static) @ y + model.branch(y)


@case("streams that skip two sites, written in place", skipped=AROUND)
def skipping_streams(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    m = model.static.detach()
    model.applies(torch.cat([(m @ m)[:3], model.eye[3:]]))
    z = m @ y + model.branch(y)
    z = m @ z + model.branch(z)
    z[:, :, 3] = y[:, :, 3]
    return model.applies(m) @ z + model.branch(z)
