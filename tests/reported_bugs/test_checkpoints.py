"""Bugs that practitioners reported, each in a checkpoint: found, and not where it is mended."""

import pytest
import torch
from judged import of_file

N, LAYERS, C = 4, 12, 8
ROWS = N * (N + 2)
TAU_1 = {"sinkhorn_tau": 1.0, "sinkhorn_iters": 20}


def tokenbender(spread, config):
    """Static logits of an identity-like start: 0 on the diagonal and -8, or what is left of it, beside it."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in range(LAYERS):
        for kind in ("attn", "mlp"):
            at = f"transformer.h.{layer}.hc_{kind}."
            drawn = 0.1 * torch.randn(N, N, generator=generator)
            tensors[at + "H_res_logits"] = spread * (torch.eye(N) - 1 + drawn)
            tensors[at + "H_pre_logits"] = torch.randn(N, generator=generator)
            tensors[at + "H_post_logits"] = torch.randn(N, generator=generator)
    return {"model": tensors, "config": config}


def deepseek(mend=lambda tensors: None):
    """DeepSeek's own names, with what a bug does to them."""
    generator = torch.Generator().manual_seed(0)
    tensors = {"hc_head_fn": torch.ones(N, N * C)}
    for layer in range(LAYERS):
        for kind in ("attn", "ffn"):
            at = f"layers.{layer}.hc_{kind}_"
            tensors[at + "fn"] = 0.02 * torch.randn(ROWS, N * C, generator=generator)
            tensors[at + "base"] = 0.3 * torch.randn(ROWS, generator=generator)
            tensors[at + "base"][2 * N :] += 5 * torch.eye(N).flatten()
            tensors[at + "scale"] = 1 + 0.1 * torch.randn(3, generator=generator)
    mend(tensors)
    return tensors


def nan_base(tensors):
    tensors["layers.3.hc_attn_base"].fill_(torch.nan)


def nan_fn(tensors):
    tensors["layers.3.hc_attn_fn"][0, 0] = torch.nan


def garbage(tensors):
    tensors["layers.3.hc_attn_base"].fill_(1.7e31)
    tensors["layers.3.hc_attn_scale"].fill_(-4e12)


def lost_scale(tensors):
    tensors["layers.5.hc_ffn_scale"].zero_()


def in_bfloat16(tensors):
    for name in tensors:
        if name.endswith(("base", "scale")):
            tensors[name] = tensors[name].bfloat16()


def unmoved_mixing(tensors):
    """As where the gradient never reaches the mixing."""
    for name in tensors:
        if name.endswith("base"):
            tensors[name][2 * N :] = 0


BUGS = {
    "a temperature of 0.05": ("MHC203", tokenbender(8.0, {}), tokenbender(8.0, TAU_1)),
    "weight decay to uniform": ("MHC201", tokenbender(0.02, TAU_1), tokenbender(8.0, TAU_1)),
    "a base of NaN": ("MHC502", deepseek(nan_base), deepseek()),
    "a NaN that zero input does not show": ("MHC502", deepseek(nan_fn), deepseek()),
    "memory that nobody wrote": ("MHC504", deepseek(garbage), deepseek()),
    "a scale that was not saved": ("MHC504", deepseek(lost_scale), deepseek()),
    "parameters in bfloat16": ("MHC501", deepseek(in_bfloat16), deepseek()),
    "mixing that no gradient reaches": ("MHC401", deepseek(unmoved_mixing), deepseek()),
}

WARNINGS = {"MHC201", "MHC401", "MHC501"}  # fresh models of published codes look the same


@pytest.mark.parametrize(("rule", "sick", "healthy"), BUGS.values(), ids=BUGS)
def test_the_bug_is_found_and_its_twin_is_clean(tmp_path, rule, sick, healthy):
    for name, tensors in (("sick", sick), ("healthy", healthy)):
        torch.save(tensors, tmp_path / f"{name}.pt")
    found, clean = of_file(tmp_path / "sick.pt"), of_file(tmp_path / "healthy.pt")
    assert rule in found, found
    assert found[rule].level == ("warn" if rule in WARNINGS else "error")
    assert not clean
