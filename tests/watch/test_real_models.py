"""Training steps of implementations that were not written here, watched, against their own matrices."""

from typing import Any

import numpy as np
import pytest
import torch
from hyper_connections import mHC
from test_gains import by_hand
from torch import Tensor, nn

import mhc_diag

GAINS = ("forward_max", "forward_mean", "backward_max", "backward_mean")


def compared(w: mhc_diag.Watch, own: list[Tensor]) -> None:
    assert w.tapped and not w.notes and len(w.history) == len(own)
    for row, matrices in zip(w.history, own, strict=True):
        expected = by_hand(matrices.double().numpy())
        np.testing.assert_allclose([row[f"mhc/{g}"] for g in GAINS], [expected[g] for g in GAINS], rtol=1e-5)
    assert (own[-1] - own[-1].mT).abs().max() > 1e-4  # so that a mix-up of the two would show
    assert (own[-1] - own[0]).abs().max() > 1e-4


def test_hyper_connections_from_its_initialisation() -> None:
    torch.manual_seed(0)
    make, expand, reduce = mHC.get_init_and_expand_reduce_stream_functions(4, dim=32)
    branches = [nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32)) for _ in range(3)]
    layers = [make(branch=branch, layer_index=i) for i, branch in enumerate(branches)]
    model = nn.Sequential(expand, *layers, reduce).train()
    made: list[Tensor] = []
    for layer in layers:
        project = layer.residual_mix_constraint_fn

        def spy(logits: Tensor, *a: Any, _project: Any = project, **k: Any) -> Tensor:
            made.append(_project(logits, *a, **k).detach())
            return made[-1].clone()

        layer.residual_mix_constraint_fn = spy
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    own = []
    with mhc_diag.watch(model) as w:
        for _ in range(5):
            loss = model(torch.randn(2, 8, 32)).square().mean()
            own.append(torch.stack([m.reshape(-1, 4, 4).mT for m in made[-3:]]))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            for layer in layers:  # of this loss alone its mixing learns too slowly for a test
                layer.static_alpha.data.add_(0.3 * torch.randn_like(layer.static_alpha))
    compared(w, own)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_deepseek_v4(kind: torch.dtype) -> None:
    from transformers import DeepseekV4Config, DeepseekV4ForCausalLM

    torch.manual_seed(0)
    config = DeepseekV4Config(
        vocab_size=128,
        hidden_size=32,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        q_lora_rank=16,
        num_experts_per_tok=2,
        n_routed_experts=4,
        n_shared_experts=1,
        max_position_embeddings=512,
        layer_types=["sliding_attention"] * 2,
        mlp_layer_types=["moe", "moe"],
        sliding_window=16,
        o_groups=2,
        o_lora_rank=8,
        index_n_heads=2,
        index_head_dim=8,
        index_topk=4,
        qk_rope_head_dim=8,
        pad_token_id=0,
        hc_mult=4,
    )
    model = DeepseekV4ForCausalLM(config).to(kind).train()
    combs: list[Tensor] = []
    for name, module in model.named_modules():
        if name.endswith("_hc"):
            module.register_forward_hook(lambda _m, _i, out: combs.append(out[1].detach()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    tokens = torch.randint(1, 128, (2, 16), generator=torch.Generator().manual_seed(0))
    own = []
    with mhc_diag.watch(model) as w:
        for _ in range(5):
            loss = model(tokens, labels=tokens).loss
            own.append(torch.stack([m.to(kind).float().flatten(0, 1).mT for m in combs[-4:]]))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert {tap.place.spot for tap in w.taps.found} == {"output 1"} and {
        t.transposed for t in w.taps.found
    } == {True}
    compared(w, own)
