"""How branches read and write in implementations that were not written here: their own coefficients."""

from typing import Any

import pytest
import torch
import transformers_models
from hyper_connections import HyperConnections, mHC
from hyper_connections.mHCv2 import ManifoldConstrainedHyperConnections as mHCv2
from torch import Tensor, nn

from mhc_diag.sources.probe import probe


def perturbed(model: nn.Module, scale: float, *ends: str) -> nn.Module:
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith(ends):
            parameter.data.add_(scale * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("family", ["deepseek_v4", "glm5_next", "hy_v4"])
def test_transformers(family: str) -> None:
    """Their modules put out p and what the branch reads; the streams that they were given are known too."""
    model = transformers_models.perturbed(family)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _m, args, out: seen.append((args[0], out[-1], out[0])))
        for name, module in model.named_modules()
        if name.endswith("_hc")
    ]
    with torch.no_grad():
        model(transformers_models.TOKENS)
    for handle in handles:
        handle.remove()

    stack = probe(model, transformers_models.TOKENS)

    assert stack.pre is not None and stack.post is not None and len(stack.sites) == len(seen) > 3
    for row, column, (streams, collapsed, post) in zip(stack.pre, stack.post, seen, strict=True):
        rebuilt = torch.einsum("ti,tic->tc", row, streams.flatten(0, 1))
        assert (rebuilt - collapsed.flatten(0, 1)).abs().max() < 1e-5
        assert (column - post.reshape(column.shape)).abs().max() < 1e-5
    assert stack.pre.std(dim=1).max() > 1e-3 and stack.post.std(dim=1).max() > 1e-3  # they differ by token
    assert not stack.reads_from and not stack.provenance.notes


def test_deepseek_v4_by_its_own_formula() -> None:
    """Pre is not put out, so the check above leaves its first site, where all streams are alike, to this."""
    model = transformers_models.perturbed("deepseek_v4")
    pre: list[Tensor] = []

    def look(module: Any, args: tuple[Tensor, ...]) -> None:
        flat = module.input_norm(args[0].flatten(2).float())
        mixes = flat @ module.fn[: module.hc_mult].T * module.scale[0] + module.base[: module.hc_mult]
        pre.append((mixes.sigmoid() + module.hc_eps).flatten(0, 1))

    handles = [m.register_forward_pre_hook(look) for name, m in model.named_modules() if name.endswith("_hc")]
    with torch.no_grad():
        model(transformers_models.TOKENS)
    for handle in handles:
        handle.remove()
    stack = probe(model, transformers_models.TOKENS)
    assert stack.pre is not None
    assert (stack.pre - torch.stack(pre)).abs().max() < 1e-5


def test_qwen4_exp_reads_each_channel_with_a_weight_of_its_own() -> None:
    model = transformers_models.perturbed("qwen4_exp")
    stack = probe(model, transformers_models.TOKENS)
    assert stack.pre is None and stack.post is not None
    assert any("how the branch reads the streams is not known" in note for note in stack.provenance.notes)


class Stacked(nn.Module):
    """Four streams through three branches, as the library's own documentation puts them together."""

    def __init__(self, kind: Any, depth: int = 3, dim: int = 32) -> None:
        super().__init__()
        make, self.expand, self.reduce = kind.get_init_and_expand_reduce_stream_functions(4, dim=dim)
        self.layers = nn.ModuleList(
            make(branch=nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim)), layer_index=i)
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        for layer in self.layers:
            x = layer(x)
        return self.reduce(x)


@pytest.mark.parametrize("kind", [HyperConnections, mHC, mHCv2])
def test_hyper_connections(kind: Any) -> None:
    torch.manual_seed(0)
    model = perturbed(Stacked(kind), 0.3, "alpha", "beta", "alpha_fn", "beta_fn", "scale")
    x = torch.randn(2, 8, 32)
    post: list[Tensor] = []
    read: list[tuple[Tensor, Tensor]] = []
    for layer in model.layers:  # type: ignore[union-attr]
        width = layer.width_connection

        def spy(residuals: Tensor, *a: Any, _width: Any = width, **k: Any) -> Any:
            out = _width(residuals, *a, **k)
            read.append((residuals, out[0]))
            post.append(out[2]["beta"].reshape(-1, 4))
            return out

        layer.width_connection = spy
    with torch.no_grad():
        model(x)
    for layer in model.layers:  # type: ignore[union-attr]
        del layer.width_connection

    stack = probe(model, x)

    assert stack.pre is not None and stack.post is not None
    assert (stack.post - torch.stack(post)).abs().max() < 1e-5
    assert stack.post.std(dim=1).max() > 1e-3
    for row, (before, branch_input) in zip(stack.pre, read, strict=True):
        streams = before.unflatten(0, (-1, 4)).transpose(1, 2) if before.ndim == 3 else before
        rebuilt = (row[:, None] @ streams.flatten(0, 1))[:, 0]
        # the first site's streams are copies, which leaves only the sum to compare
        assert torch.allclose(rebuilt, branch_input.reshape(rebuilt.shape), atol=1e-5)


@pytest.mark.parametrize("name", ["GPT2", "Llama", "GPTNeoX"])
def test_plain_residual_transformers_read_and_write_with_weight_one(name: str) -> None:
    """GPT-NeoX adds attention and MLP in one sum, which is one site with one branch."""
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "GPT2": {"n_positions": 32, "n_embd": 32, "n_layer": 3, "n_head": 4},
        "Llama": {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        },
        "GPTNeoX": {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        },
    }  # fmt: skip
    config = getattr(transformers, f"{name}Config")(
        vocab_size=64, bos_token_id=0, eos_token_id=0, **sizes[name]
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    stack = probe(model, torch.randint(0, 64, (2, 9)))
    assert stack.pre is not None and stack.post is not None
    assert stack.pre.shape == stack.post.shape == (3 if name == "GPTNeoX" else 6, 18, 1)
    assert bool((stack.pre == 1).all()) and bool((stack.post == 1).all())
