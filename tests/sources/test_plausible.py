"""Real configurations pass; those that nobody could build do not."""

from __future__ import annotations

import pytest

from mhc_diag.sources.plausible import implausible

REAL = {  # parameters in billions, and what their config.json says
    "llama-3-8b": (
        8.0,
        {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "vocab_size": 128256},
    ),
    "deepseek-v3": (
        671.0,
        {"hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "vocab_size": 129280}
        | {"n_routed_experts": 256, "num_hidden_layers": 61, "max_position_embeddings": 163840},
    ),
    "gpt2": (
        0.124,
        {"n_embd": 768, "n_layer": 12, "vocab_size": 50257, "n_inner": 3072, "n_positions": 1024},
    ),
}


@pytest.mark.parametrize(("billions", "config"), REAL.values(), ids=REAL)
def test_real_models(billions: float, config: dict[str, int]) -> None:
    """Built where twice their size is free, and not where a hundredth of it is."""
    assert implausible(config, 3 * billions * 1e9) == ""
    assert "describes a model of" in implausible(config, 0.02 * billions * 1e9)
    assert implausible({"text_config": config}, 0.02 * billions * 1e9)


def test_numbers_without_end() -> None:
    assert implausible({"num_hidden_layers": 10_001}, 1e20) == "its config.json says num_hidden_layers 10001"
    assert "more than twelve digits" in implausible({"a": [{"b": 1}, 10**4000]}, 1e20)
    assert (
        implausible({"rope_theta": 1e12, "x": [[1]], "y": None, "max_position_embeddings": 10_485_760}, 1e9)
        == ""
    )
    assert implausible({}, 1e9) == ""
