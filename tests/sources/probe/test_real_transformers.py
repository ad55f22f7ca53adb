"""Models of transformers: M is what their own modules computed and applied."""

from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers_models import TOKENS, own_matrices, perturbed

from mhc_diag.analyse import analyse
from mhc_diag.sources.probe import probe


@pytest.mark.parametrize(
    ("name", "first", "sites"),
    [
        ("deepseek_v4", ["model.layers.0.self_attn", "model.layers.0.mlp"], 6),
        (
            "glm5_next",
            ["model.language_model.layers.0.self_attn", "model.language_model.layers.0.mlp"],
            8,
        ),
    ],
)
def test_sinkhorn_mixing(name: str, first: list[str], sites: int) -> None:
    model = perturbed(name)
    applied = own_matrices(model)
    with torch.no_grad():
        before = model(TOKENS).logits

    stack = probe(model, TOKENS)

    assert stack.matrices.shape == (sites, 32, 4, 4)
    assert (stack.matrices - applied).abs().max() < 1e-5
    assert (stack.matrices - applied.mT).abs().max() > 0.1  # so that a mix-up of the two would show
    assert applied.std(dim=1).amax(dim=(1, 2)).min() > 1e-3  # every site's differs between tokens
    assert max(stack.provenance.certificates or [1.0]) < 1e-5
    assert not stack.provenance.skipped
    assert [site.label for site in stack.sites[:2]] == first
    with torch.no_grad():
        assert torch.equal(model(TOKENS).logits, before)


@pytest.mark.parametrize("name", ["deepseek_v4", "glm5_next"])
def test_sinkhorn_mixing_in_bfloat16(name: str) -> None:
    model = perturbed(name, torch.bfloat16)
    applied = own_matrices(model).bfloat16().float()  # cast to the streams' dtype before it is applied
    stack = probe(model, TOKENS)
    assert stack.matrices.shape == applied.shape
    assert (stack.matrices - applied).abs().max() < 4e-3
    assert max(stack.provenance.certificates or [1.0]) < 4e-3
    assert not stack.provenance.skipped


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "sites"), [("hy_v4", 4), ("qwen4_exp", 9)])
def test_streams_that_are_never_mixed(name: str, sites: int, dtype: torch.dtype) -> None:
    stack = probe(perturbed(name, dtype), TOKENS)  # one of the nine is a layer of n-gram embeddings
    assert torch.equal(stack.matrices, torch.eye(4).expand(sites, 32, 4, 4))
    assert not stack.provenance.skipped


@pytest.mark.parametrize("name", ["GPT2", "Llama"])
def test_plain_residual_transformers_have_one_stream_and_gain_one(name: str) -> None:
    torch.manual_seed(0)
    if name == "GPT2":
        config: Any = transformers.GPT2Config(
            vocab_size=64, n_positions=32, n_embd=32, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0
        )
        model: nn.Module = transformers.GPT2LMHeadModel(config)
        path = "transformer.h.0.attn"
    else:
        config = transformers.LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4
        )
        model = transformers.LlamaForCausalLM(config)
        path = "model.layers.0.self_attn"
    stack = probe(model, torch.randint(0, 64, (2, 9)))
    assert stack.matrices.shape == (6, 18, 1, 1)
    assert bool((stack.matrices == 1).all())
    assert stack.sites[0].label == path
    report = analyse(stack)
    assert report.worst("forward").value == 1
    assert not stack.provenance.skipped
