"""A mixing that is computed and then not applied, which a matrix read out of the model would not show."""

import pytest
import torch
from torch import Tensor, nn

from mhc_diag.sources.probe import probe

N, C = 4, 16
NOTE = (
    "sites.* computes a mixing of the streams that the model does not apply: M is the identity (3 sites)",
)


class Site(nn.Module):
    """Reads the branch input and mixes the streams in one product. `applies`: which streams go on."""

    def __init__(self, applies: str) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.randn(N + 1, N))
        if applies == "identity":
            self.alpha.data[1:] = torch.eye(N)
        self.branch = nn.Sequential(nn.Linear(C, C), nn.Tanh())
        self.applies = applies

    def forward(self, x: Tensor) -> Tensor:
        both = torch.einsum("ij,bsjc->bsic", self.alpha, x)
        if self.applies == "apart":
            read, mixed = torch.einsum("j,bsjc->bsc", self.alpha[0], x), self.alpha[1:] @ x
        else:
            read, mixed = both[:, :, 0], both[:, :, 1:]
        streams = mixed if self.applies in {"mixed", "identity"} else x
        return streams + self.branch(read)[:, :, None]


class Model(nn.Module):
    def __init__(self, applies: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.sites = nn.Embedding(7, C), nn.ModuleList(Site(applies) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)[:, :, None].repeat(1, 1, N, 1)
        for site in self.sites:
            x = site(x)
        return x.sum(2)


@pytest.mark.parametrize(
    ("applies", "notes"), [("unmixed", NOTE), ("apart", NOTE), ("mixed", ()), ("identity", ())]
)
def test_a_mixing_that_is_not_applied(applies: str, notes: tuple[str, ...]) -> None:
    model = Model(applies)
    stack = probe(model, torch.arange(6).view(2, 3))
    for site, matrix in zip(model.sites, stack.matrices, strict=True):
        applied = site.alpha[1:].detach() if applies == "mixed" else torch.eye(N)
        assert torch.allclose(matrix, applied.expand(6, N, N))
    assert stack.provenance.notes == notes


def test_streams_that_only_a_branch_reads_are_no_mixing() -> None:
    class Reads(Model):
        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embed(tokens)[:, :, None].repeat(1, 1, N, 1)
            for site in self.sites:
                x = x + site.branch(x.mean(2))[:, :, None]
            return x

    assert probe(Reads("mixed"), torch.arange(6).view(2, 3)).provenance.notes == ()
