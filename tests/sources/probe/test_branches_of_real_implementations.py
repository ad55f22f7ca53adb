"""How branches read and write the streams in implementations that were not written here.

The truth is what their own code computed: the weights it made, or the values that went in and came out.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hyper_connections import HyperConnections, mHC
from hyper_connections.mHCv2 import ManifoldConstrainedHyperConnections as mHCv2
from test_real_implementations import Stacked, _axis, _minor, deepseek  # noqa: F401  the fixture
from torch import Tensor, nn

from mhc_diag.sources.probe import probe


def _pre(module: Any, streams: Tensor) -> Tensor:
    """The weights with which a DeepSeek-V4 site reads, which it does not return, by its formula."""
    flat = module.input_norm(streams.flatten(2).float())
    weights = (flat @ module.fn.T)[..., :4]
    return torch.sigmoid(weights * module.scale[0] + module.base[:4]) + module.hc_eps


def test_deepseek_v4(deepseek: nn.Module) -> None:  # noqa: F811
    tokens = torch.randint(0, 128, (2, 16), generator=torch.Generator().manual_seed(0))
    reads: list[Tensor] = []
    writes: list[Tensor] = []

    def see(module: nn.Module, given: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
        reads.append(_pre(module, given[0]).flatten(0, 1))
        writes.append(out[0].flatten(0, 1))

    handles = [m.register_forward_hook(see) for name, m in deepseek.named_modules() if name.endswith("_hc")]
    with torch.no_grad():
        deepseek(tokens)
    for handle in handles:
        handle.remove()
    stack = probe(deepseek, tokens)
    assert stack.pre is not None
    assert stack.post is not None
    assert torch.allclose(stack.pre, torch.stack(reads), atol=1e-5)
    assert torch.allclose(stack.post, torch.stack(writes), atol=1e-5)
    assert torch.stack(reads).std(dim=1).amax() > 0.01  # they differ between tokens
    assert not stack.provenance.notes


@pytest.mark.parametrize(("kind", "rows"), [(HyperConnections, _minor), (mHC, _minor), (mHCv2, _axis)])
def test_hyper_connections(kind: Any, rows: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = Stacked(kind).eval()
    for name, parameter in model.named_parameters():
        if ".branch." not in name:
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 8, 32)
    reads: list[tuple[Tensor, Tensor]] = []
    betas: list[Tensor] = []
    for layer in model.layers:
        width = layer.width_connection

        def spy(residuals: Tensor, *a: Any, _width: Any = width, **k: Any) -> Any:
            out = _width(residuals, *a, **k)
            reads.append((residuals, out[0]))
            betas.append(out[2]["beta"].reshape(16, 4))
            return out

        layer.width_connection = spy
    with torch.no_grad():
        model(x)
    for layer in model.layers:
        del layer.width_connection

    stack = probe(model, x)

    assert stack.pre is not None
    assert stack.post is not None
    assert torch.allclose(stack.post, torch.stack(betas), atol=1e-5)
    for row, (streams, branch_input) in zip(stack.pre, reads, strict=True):
        # the first site's streams are copies, which leaves only the sum of the row to compare
        read = (row[:, None] @ rows(streams))[:, 0]
        assert torch.allclose(read, branch_input.flatten(0, 1), atol=1e-5)


def test_hy_v4() -> None:
    from transformers import HYV4Config, HYV4ForCausalLM

    torch.manual_seed(0)
    config = HYV4Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
        index_topk=16,
        index_head_dim=8,
        index_n_heads=2,
        pad_token_id=0,
    )
    model = HYV4ForCausalLM(config).eval()
    reads: list[tuple[Tensor, Tensor]] = []
    writes: list[Tensor] = []

    def see(_module: nn.Module, given: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
        reads.append((given[0].flatten(0, 1), out[1].flatten(0, 1)))
        writes.append(out[0].flatten(0, 1))

    handles = [m.register_forward_hook(see) for name, m in model.named_modules() if name.endswith("_hc")]
    tokens = torch.randint(1, 64, (2, 9))
    with torch.no_grad():
        model(tokens)
    for handle in handles:
        handle.remove()
    stack = probe(model, tokens)
    assert stack.pre is not None
    assert stack.post is not None
    assert torch.allclose(stack.post, torch.stack(writes), atol=1e-5)
    for row, (streams, branch_input) in zip(stack.pre, reads, strict=True):
        assert torch.allclose((row[:, None] @ streams)[:, 0], branch_input, atol=1e-5)
