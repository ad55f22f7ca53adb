"""What has no n x n matrix, or is not linear in the streams: a reason, and no number."""

import torch
import torch.nn.functional as F
from case import B, C, Model, S, case
from torch import Tensor


@case(
    "post-norm", n=1, skipped=("a normalisation on the residual path", "a normalisation on the residual path")
)
def post_norm(model: Model, x: Tensor) -> Tensor:
    for branch in (model.f, model.g, model.f):
        x = model.norm(x + branch(x))
    model.applies(model.eye)
    return x


@case("post-norm, written out", skipped=("a normalisation",))
def post_norm_of_streams(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    for _ in range(2):
        y = model.static @ y + model.branch(y)
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
    model.applies(model.static)
    return y


@case("dropout that is always on", refused="differently on different channels")
def dropped_out(model: Model, x: Tensor) -> Tensor:
    return F.dropout(model.widen(x), 0.5, training=True) + model.f(x)[:, :, None]


@case("a gate for each channel", refused="differently on different channels")
def gated_channels(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    return torch.sigmoid(model.per_channel) * y + model.branch(y)


@case("division with rounding", refused="rounding")
def rounded(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    return torch.div(y, 0.1, rounding_mode="floor") + model.branch(y)


@case("whole numbers on the way", refused="whole numbers")
def integers(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    return y.to(torch.int32).float() + model.branch(y)


@case("an activation on the path", refused="relu")
def activated(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    return torch.relu(y) + model.branch(y)


@case("a layer over channels on the path", refused="layer over channels")
def no_path(model: Model, x: Tensor) -> Tensor:
    return model.g(model.f(x))


@case("a running sum over tokens", refused="cumsum")
def over_tokens(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    return y.cumsum(1) + model.branch(y)


@case("extremes over the streams", refused="amax")
def extremes(model: Model, x: Tensor) -> Tensor:
    y = model.widen(x)
    return y.amax(2, keepdim=True).expand_as(y) + model.branch(y)


@case("the first stream is the embedding, the others start at zero", refused="streams that the entry holds")
def zero_streams(model: Model, x: Tensor) -> Tensor:
    y = torch.cat([x[:, :, None], torch.zeros(B, S, 3, C)], 2)
    return model.static @ y + model.branch(y)


@case("a norm written out on the path", n=1, skipped=("a normalisation on the residual path",))
def written_out(model: Model, x: Tensor) -> Tensor:
    for branch in (model.f, model.g):
        x = x + branch(x)
        x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    model.applies(model.eye)
    return x
