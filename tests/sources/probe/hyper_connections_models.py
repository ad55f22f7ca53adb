"""Models of the classes of the library hyper-connections, and a look at the matrices in its code.

Every class of it mixes with one `einsum` of its module, whose first factor holds the branch's views and the
streams side by side. Wrapped for one forward pass, that call shows what the library itself applies.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

DIM, STREAMS = 32, 4

MODULES = {
    "HC": "hyper_connections.hyper_connections",
    "mHC": "hyper_connections.manifold_constrained_hyper_connections",
    "mHCv2": "hyper_connections.mHCv2",
    "channel first": "hyper_connections.hyper_connections_channel_first",
    "branch inputs": "hyper_connections.hyper_connections_with_multi_branch_inputs",
    "input streams": "hyper_connections.hyper_connections_with_multi_input_streams",
}
MIXING = {
    "... f1 s f2 t, ... f1 s d -> ... f2 t d",
    "... s f tf, ... s f d -> ... tf d",
    "b s t ..., b s d ... -> b t d ...",
    "... s t, ... s d -> ... t d",
}


class Stacked(nn.Module):
    """`depth` branches on streams, connected by the class of one of MODULES."""

    def __init__(
        self,
        kind: str,
        *,
        streams: int = STREAMS,
        depth: int = 3,
        branch: Callable[[], nn.Module] | None = None,
        start: nn.Module | None = None,
        reduce: nn.Module | None = None,
        expand: nn.Module | None = None,
        indexed: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        random.seed(0)  # where layers are not numbered, the library draws the stream that each one reads
        torch.manual_seed(0)
        self.kind, self.streams, self.fractions = kind, streams, options.get("num_fracs", 1)
        module = importlib.import_module(MODULES[kind])
        connect = getattr(module, "mHC", None) or module.HyperConnections
        of_class = (connect,) if kind == "branch inputs" else ()  # its functions still take their class
        self.expand, self.reduce = module.get_expand_reduce_stream_functions(*of_class, streams)
        self.expand, self.reduce = expand or self.expand, reduce or self.reduce
        self.start = start or nn.Identity()
        make = branch or (lambda: nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, DIM)))
        places: list[dict[str, int]] = [{"layer_index": i} if indexed else {} for i in range(depth)]
        self.layers = nn.ModuleList(
            connect(streams, dim=DIM, branch=make(), **place, **options) for place in places
        )

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        streams = self.expand(self.start(x))
        for layer in self.layers:
            streams = layer(streams, *(self.expand(other) for other in more))
        return self.reduce(streams)


def perturbed(model: nn.Module) -> nn.Module:
    """In evaluation mode, with the parameters of the mixing moved well away from where they start."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if ".branch" not in name:
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def own_matrices(model: Any, *inputs: Tensor, patch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the library's own code applied at each site, as (T, n, n) out x in."""
    module = importlib.import_module(MODULES[model.kind])
    plain, seen = module.einsum, []

    def spy(*given: Any) -> Tensor:
        if given[-1] in MIXING:
            seen.append(_out_by_in(given[0], given[-1], model.streams, model.fractions))
        return plain(*given)

    with patch.context() as patched, torch.no_grad():
        patched.setattr(module, "einsum", spy)
        model(*inputs)
    return seen


def _out_by_in(alpha: Tensor, pattern: str, streams: int, fractions: int) -> Tensor:
    """(T, n, n), where the fractions of a stream follow one another, as they lie in memory."""
    if "b s t" in pattern:
        alpha = alpha.flatten(3).permute(0, 3, 1, 2)  # [b s t h w]: one matrix for each pixel
    if "f1 s f2 t" in pattern:  # the views lead each fraction's share
        applied = alpha[..., -streams:].transpose(-4, -3).transpose(-2, -1)
        return applied.flatten(-4, -3).flatten(-2).flatten(0, -3).mT
    if "s f tf" in pattern:  # in (s f), out ((v + s) f)
        return alpha[..., -streams * fractions :].flatten(-3, -2).flatten(0, -3).mT
    return alpha[..., -streams:].flatten(0, -3).mT
