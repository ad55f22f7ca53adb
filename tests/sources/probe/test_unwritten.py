"""Kernels that are no operations of torch: what they write is a branch, and a path to them ends aloud."""

import pytest
import torch
from torch import Tensor, nn

from mhc_diag.errors import NothingToCheck
from mhc_diag.sources.probe import probe

C = 16


def hidden(x: Tensor) -> Tensor:
    """A kernel of which only the allocation can be seen; numpy writes to memory as such kernels do."""
    out = torch.empty_like(x)
    out.numpy()[:] = x.detach().numpy() ** 3
    return out


class Model(nn.Module):
    def __init__(self, on_the_path: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.on_the_path = on_the_path
        self.layers = nn.ModuleList(nn.Linear(C, C) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = 0.5 * x + hidden(x if i == 1 else layer(x))
            if self.on_the_path and i == 1:
                x = hidden(x)
        return x


def test_what_a_hidden_kernel_makes_is_a_branch() -> None:
    with torch.no_grad():
        stack = probe(Model(on_the_path=False), torch.randn(2, 3, C))
    assert stack.matrices.flatten().tolist() == [0.5] * 18
    assert not stack.provenance.skipped


def test_a_path_through_a_hidden_kernel_does_not_end_in_silence() -> None:
    with torch.no_grad():
        stack = probe(Model(on_the_path=True), torch.randn(2, 3, C))
    assert len(stack.sites) == 2
    assert stack.provenance.skipped


def test_allocated_memory_that_operations_fill_is_no_branch() -> None:
    class Shifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.empty(C).fill_(2.0) + torch.empty_like(x).copy_(torch.ones(C))

    with pytest.raises(NothingToCheck):
        probe(Shifted(), torch.randn(2, 3, C))
