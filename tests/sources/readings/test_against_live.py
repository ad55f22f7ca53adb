"""The sampled reading of a saved site against the probe on the live one, run on Gaussian streams."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import mhc_diag
from mhc_diag.sources.checkpoint import scan_variants
from mhc_diag.sources.checkpoint.options import Options

N, C, TOKENS = 4, 24, 4096


class TransformersSite(nn.Module):
    """One update of a model of transformers."""

    def __init__(self, name: str, config: str, module: str) -> None:
        super().__init__()
        modeling = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
        made = getattr(importlib.import_module("transformers"), config)(hidden_size=C, hc_mult=N)
        self.attn_hc = getattr(modeling, module)(made)
        self.branch = nn.Linear(C, C)

    def forward(self, streams: Tensor) -> Tensor:
        post, comb, collapsed = self.attn_hc(streams)
        return post[..., None] * self.branch(collapsed)[..., None, :] + comb.transpose(-1, -2) @ streams


class HyperConnectionsSite(nn.Module):
    """One update of the library hyper-connections, whose streams lie in the batch."""

    def __init__(self, module: str, name: str) -> None:
        super().__init__()
        of_class = getattr(importlib.import_module(module), name)
        self.hc = of_class(N, dim=C, branch=nn.Linear(C, C), layer_index=0)

    def forward(self, streams: Tensor) -> Tensor:
        batch, tokens, _, _ = streams.shape
        mixed = self.hc(streams.permute(0, 2, 1, 3).reshape(batch * N, tokens, C))
        return mixed.reshape(batch, N, tokens, C).permute(0, 2, 1, 3)


class SecondVersion(HyperConnectionsSite):
    """One update of its mHCv2, whose streams have an axis of their own."""

    def forward(self, streams: Tensor) -> Tensor:
        return self.hc(streams)


def deepseek_v4() -> nn.Module:
    return TransformersSite("deepseek_v4", "DeepseekV4Config", "DeepseekV4HyperConnection")


def glm5_next() -> nn.Module:
    return TransformersSite("glm5_next", "Glm5NextTextConfig", "Glm5NextTextHyperConnection")


def hc() -> nn.Module:
    return HyperConnectionsSite("hyper_connections.hyper_connections", "HyperConnections")


def mhc() -> nn.Module:
    return HyperConnectionsSite("hyper_connections", "mHC")


def mhc_v2() -> nn.Module:
    return SecondVersion("hyper_connections.mHCv2", "mHC")


def perturbed(module: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "branch" not in name:
                parameter.normal_(std=0.3 if parameter.ndim > 1 else 0.5)
    return module.eval()


def gains(matrices: Any, axis: int) -> np.ndarray[Any, Any]:
    """(T,) largest absolute row sum (axis -1) or column sum (-2) of one site."""
    return np.abs(np.asarray(matrices)[0].sum(axis=axis)).max(axis=-1)


SITES = (deepseek_v4, glm5_next, hc, mhc, mhc_v2)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize("make", SITES, ids=lambda make: make.__name__)
def test_mean_and_p99_agree(make: Any, correlation: float, tmp_path: Path) -> None:
    site = perturbed(make())
    torch.manual_seed(11)
    own, common = torch.randn(2, TOKENS // 2, N, C), torch.randn(2, TOKENS // 2, 1, C)
    streams = math.sqrt(1 - correlation) * own + math.sqrt(correlation) * common
    live = mhc_diag.probe(site, ((streams,), {}))
    assert live.matrices.shape == (1, TOKENS, N, N)
    state = {f"layers.0.{key}": value for key, value in site.state_dict().items()}
    tensors = {key: value for key, value in state.items() if ".branch." not in key}
    save_file(tensors, tmp_path / "site.safetensors")
    options = Options(samples=TOKENS, correlation=correlation, seed=5)
    stack = scan_variants(tmp_path / "site.safetensors", options)[0]
    assert (stack.provenance.method, stack.provenance.token_axis) == ("sampled", "sample")
    assert stack.matrices.shape == (1, TOKENS, N, N)
    for axis in (-1, -2):
        seen, drawn = gains(live.matrices, axis), gains(stack.matrices, axis)
        error = math.hypot(seen.std(), drawn.std()) / math.sqrt(TOKENS)
        assert abs(seen.mean() - drawn.mean()) <= 4.5 * error + 1e-5
        p99 = np.quantile(seen, 0.99)
        if np.ptp(seen) > 1e-4:
            share = (drawn <= p99).mean()
            assert abs(share - 0.99) <= 4.5 * math.sqrt(0.99 * 0.01 * 2 / TOKENS)
            assert seen.std() > 1e-2, "a gain that hardly varies shows nothing"
    entries = np.asarray(live.matrices)[0].reshape(TOKENS, -1), stack.matrices[0].reshape(TOKENS, -1)
    error = np.sqrt((entries[0].var(axis=0) + entries[1].var(axis=0)) / TOKENS)
    assert (np.abs(entries[0].mean(axis=0) - entries[1].mean(axis=0)) <= 4.5 * error).all()
