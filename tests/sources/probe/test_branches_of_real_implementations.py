"""How branches read and write the streams in implementations that were not written here.

The truth is what their own code computed: the weights it made, or the values that went in and came out.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hyper_connections_models import Stacked
from hyper_connections_models import perturbed as moved
from torch import Tensor, nn
from transformers_models import TOKENS, perturbed

from mhc_diag.sources.probe import probe


def _pre(module: Any, streams: Tensor) -> Tensor:
    """The weights with which a DeepSeek-V4 site reads, by its code's formula: it does not return them."""
    flat = module.input_norm(streams.flatten(2).float())
    weights = (flat @ module.fn.T)[..., :4]
    return torch.sigmoid(weights * module.scale[0] + module.base[:4]) + module.hc_eps


def _minor(streams: Tensor) -> Tensor:
    """(B n) S C with the stream index minor, as tokens x n x C."""
    return streams.unflatten(0, (-1, 4)).transpose(1, 2).flatten(0, 1)


def _axis(streams: Tensor) -> Tensor:
    """B S n C as tokens x n x C."""
    return streams.flatten(0, 1)


def test_deepseek_v4() -> None:
    deepseek, tokens = perturbed("deepseek_v4"), TOKENS
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


@pytest.mark.parametrize(("kind", "rows"), [("HC", _minor), ("mHC", _minor), ("mHCv2", _axis)])
def test_hyper_connections(kind: str, rows: Callable[[Tensor], Tensor]) -> None:
    model: Any = moved(Stacked(kind))
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
    model = perturbed("hy_v4")
    reads: list[tuple[Tensor, Tensor]] = []
    writes: list[Tensor] = []

    def see(_module: nn.Module, given: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
        reads.append((given[0].flatten(0, 1), out[1].flatten(0, 1)))
        writes.append(out[0].flatten(0, 1))

    handles = [m.register_forward_hook(see) for name, m in model.named_modules() if name.endswith("_hc")]
    with torch.no_grad():
        model(TOKENS)
    for handle in handles:
        handle.remove()
    stack = probe(model, TOKENS)
    assert stack.pre is not None
    assert stack.post is not None
    assert torch.allclose(stack.post, torch.stack(writes), atol=1e-5)
    for row, (streams, branch_input) in zip(stack.pre, reads, strict=True):
        assert torch.allclose((row[:, None] @ streams)[:, 0], branch_input, atol=1e-5)
