"""Tiny models of transformers with several streams, their mixing moved from where it starts."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor, nn

VOCABULARY = 128
TOKENS = torch.randint(1, VOCABULARY, (2, 16), generator=torch.Generator().manual_seed(0))
SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "moe_intermediate_size": 16,
    "num_attention_heads": 4,
    "num_experts_per_tok": 2,
    "pad_token_id": 0,
}
MULTI_HEAD_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "intermediate_size": 32,
    "n_routed_experts": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "v_head_dim": 8,
    "qk_nope_head_dim": 8,
    "index_topk": 16,
    "index_head_dim": 8,
    "index_n_heads": 2,
}
VISION: dict[str, Any] = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16}


def deepseek_v4() -> nn.Module:
    config = transformers.DeepseekV4Config(
        **SHARED,
        num_hidden_layers=3,
        num_key_value_heads=1,
        head_dim=16,
        q_lora_rank=16,
        n_routed_experts=4,
        n_shared_experts=1,
        max_position_embeddings=512,
        layer_types=["sliding_attention"] * 2 + ["compressed_sparse_attention"],
        mlp_layer_types=["hash_moe", "moe", "moe"],
        sliding_window=16,
        o_groups=2,
        o_lora_rank=8,
        index_n_heads=2,
        index_head_dim=8,
        index_topk=4,
        qk_rope_head_dim=8,
        hc_mult=4,
    )
    return transformers.DeepseekV4ForCausalLM(config)


def glm5_next() -> nn.Module:
    text = dict(
        **SHARED,
        **MULTI_HEAD_LATENT,
        num_hidden_layers=4,
        qk_rope_head_dim=0,
        index_kpool=4,
        linear_head_dim=8,
        linear_num_heads=4,
        mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
    )
    vision = dict(**VISION, out_hidden_size=32, projection_intermediate_size=16)
    config = transformers.Glm5NextConfig(text_config=text, vision_config=vision)
    return transformers.Glm5NextForConditionalGeneration(config)


def hy_v4() -> nn.Module:
    config = transformers.HYV4Config(
        **SHARED,
        **MULTI_HEAD_LATENT,
        num_hidden_layers=2,
        head_dim=16,
        n_shared_experts=1,
        qk_rope_head_dim=8,
        bos_token_id=1,
        eos_token_id=2,
    )
    return transformers.HYV4ForCausalLM(config)


def qwen4_exp() -> nn.Module:
    config = transformers.Qwen4ExpTextConfig(
        **SHARED,
        num_hidden_layers=4,
        num_key_value_heads=2,
        head_dim=16,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        shared_expert_intermediate_size=16,
        num_experts=4,
        hc_lowrank=8,
        indexer_n_heads=2,
        indexer_kv_heads=1,
        indexer_head_dim=16,
        indexer_budget=8,
        indexer_compress_ratio=2,
        ple_layer_ids=[2],  # a layer that adds what it looks up for the last few tokens to every stream
        ngram_vocab_size_base=50,
        heads_per_ngram=2,
        split_ngram_parts=1,
        eos_token_id=2,
    )
    return transformers.Qwen4ExpForCausalLM(config)


MAKE = {"deepseek_v4": deepseek_v4, "glm5_next": glm5_next, "hy_v4": hy_v4, "qwen4_exp": qwen4_exp}
HYPER_CONNECTION = ("attn_hc", "ffn_hc", "attn_hyper_connection", "mlp_hyper_connection")


def perturbed(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model in evaluation mode whose coefficients differ between sites and between tokens."""
    torch.manual_seed(0)
    model = MAKE[name]().eval()
    for path, parameter in model.named_parameters():
        if any(part in HYPER_CONNECTION for part in path.split(".")):
            parameter.data.add_(torch.randn_like(parameter), alpha=1.0 if parameter.ndim == 1 else 0.1)
    return model.to(dtype)


def own_matrices(model: nn.Module) -> Tensor:
    """What the hyper-connection modules give out as their matrix, as (L, T, n, n) out x in."""
    combs: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, out: combs.append(out[1]))
        for path, module in model.named_modules()
        if path.endswith("_hc")
    ]
    with torch.no_grad():
        model(TOKENS)
    for handle in handles:
        handle.remove()
    return torch.stack(combs).flatten(1, 2).mT  # both multiply by the transpose
