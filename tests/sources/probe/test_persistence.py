"""Streams that live within a block only: reported as what they are."""

import pytest
import torch
from torch import Tensor, nn

from mhc_diag.sources.probe import probe
from mhc_diag.sources.probe.persistence import has_rank_one

N, C, L = 4, 16, 3


class Model(nn.Module):
    """Mixes streams in each block. `late`: the branch is added after they are collapsed, otherwise before."""

    def __init__(self, *, late: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.late = nn.Embedding(7, C), late
        self.mixings = nn.Parameter(torch.randn(L, N, N))
        self.reads = nn.Parameter(torch.randn(L, N))
        self.branch = nn.Sequential(nn.Linear(C, C), nn.Tanh())

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for mixing, read in zip(self.mixings, self.reads, strict=True):
            y = torch.einsum("ij,bsjc->bsic", mixing, x[:, :, None].repeat(1, 1, N, 1))
            f = self.branch(x)
            x = (read[:, None] * (y if self.late else y + f[:, :, None])).sum(2)
            x = x + f if self.late else x
        return x


TOKENS = torch.arange(6).view(2, 3)


def test_a_branch_added_to_the_collapsed_stream() -> None:
    model = Model(late=True)
    gains = torch.einsum("li,lij->l", model.reads, model.mixings).detach()
    stack = probe(model, TOKENS)
    assert stack.matrices.shape == (L, 6, 1, 1)
    assert torch.allclose(stack.matrices.flatten(1), gains[:, None].expand(L, 6), rtol=1e-5)
    assert not stack.provenance.skipped
    assert stack.provenance.notes == (
        "3 of 3 sites expand one stream to 4 and collapse them again before the branch is added: no streams "
        "persist from site to site",
    )


def test_a_branch_added_before_the_collapse() -> None:
    model = Model(late=False)
    stack = probe(model, TOKENS)
    assert stack.matrices.shape == (L, 6, N, N)
    assert torch.allclose(stack.matrices[0], model.mixings[0].detach().expand(6, N, N))
    for before, mixing, matrix in zip(model.reads, model.mixings[1:], stack.matrices[1:], strict=False):
        expected = mixing @ before.expand(N, N)
        assert torch.allclose(matrix, expected.detach().expand(6, N, N), atol=1e-5)
    note = (
        "2 of the 2 sites after the first have an M of rank one: the streams are one mixture before them, "
        "collapsed and expanded again, and do not persist"
    )
    assert note in stack.provenance.notes


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (torch.outer(torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.0, 3.0, 1e-3])), True),
        (torch.outer(torch.arange(3.0), torch.arange(3.0)) + 1e-4 * torch.eye(3), False),
        (torch.zeros(3, 3), False),
        (torch.full((3, 3), float("nan")), False),
    ],
)
def test_rank_one(matrix: Tensor, expected: bool) -> None:
    assert has_rank_one(torch.stack([torch.ones(3, 3), matrix])) is expected
