"""What is told of the way to a site: operations, ends and the layout, as the model below has them."""

import pytest
import torch
from torch import Tensor, nn

from mhc_diag.records import Step
from mhc_diag.sources.probe import probe

N, C = 4, 16


class Block(nn.Module):
    def __init__(self, *, normalised: bool = False) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.arange(16.0).view(N, N) / 10)
        self.branch = nn.Sequential(nn.Linear(C, C), nn.Tanh())
        self.normalised = normalised

    def forward(self, x: Tensor) -> Tensor:
        read = 2 * x[:, :, 0]
        x = torch.einsum("ij,bsjc->bsic", self.mix, x) + self.branch(read)[:, :, None]
        return nn.functional.layer_norm(x, (C,)) if self.normalised else x


class Model(nn.Module):
    def __init__(self, *blocks: Block) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.blocks = nn.Embedding(7, C), nn.ModuleList(blocks)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)[:, :, None].repeat(1, 1, N, 1)
        for block in self.blocks:
            x = block(x)
        return x.sum(2)


TOKENS = torch.arange(6).view(2, 3)


def test_the_way_to_each_site() -> None:
    stack = probe(Model(Block(), Block()), TOKENS, explain=True)
    first, second = stack.explanations
    assert [e.site for e in stack.explanations] == list(stack.sites)
    assert first.passed[0] == Step("", "repeat")
    assert second.passed[-1] == Step("blocks.1", "add")
    assert {step.operation for step in second.passed} <= {"bmm", "mm", "mul", "clone", "add"}
    assert {"bmm", "mm"} & {step.operation for step in second.passed}
    assert "mul" not in {step.operation for step in second.passed}  # it leads to the branch alone
    assert second.ended == ("blocks.1.branch.0: layer over channels or tokens (addmm)",)
    assert second.layout == "[2 tokens, 3 tokens, 4 streams, 16 channels]"


def test_nothing_is_kept_unless_asked_for() -> None:
    assert probe(Model(Block()), TOKENS).explanations == ()


def test_a_site_that_was_not_measured_says_why() -> None:
    stack = probe(Model(Block(), Block(normalised=True), Block()), TOKENS, explain=True)
    assert [e.site.depth for e in stack.explanations] == [0, 1, -1]
    assert "a normalisation" in stack.explanations[2].skipped
    assert stack.explanations[2].skipped == stack.provenance.skipped[0].reason


@pytest.mark.parametrize(
    ("there", "back", "layout"),
    [
        (
            lambda y: y.transpose(0, 1).flatten(2),
            lambda x: x.unflatten(2, (N, C)).transpose(0, 1),
            "[3 tokens, 2 tokens, 64 = streams x channels]",
        ),
        (
            lambda y: y.transpose(2, 3).flatten(2),
            lambda x: x.unflatten(2, (C, N)).transpose(2, 3),
            "[2 tokens, 3 tokens, 64 = channels x streams]",
        ),
        (
            lambda y: y.transpose(1, 2).flatten(0, 1)[:, None],
            lambda x: x.unflatten(0, (2, N)).squeeze(2).transpose(1, 2),
            "[8 = tokens x streams, 1, 3 tokens, 16 channels]",
        ),
    ],
)
def test_layouts(there, back, layout) -> None:  # type: ignore[no-untyped-def]
    class Laid(Model):
        def forward(self, tokens: Tensor) -> Tensor:
            x = there(self.embed(tokens)[:, :, None].repeat(1, 1, N, 1))
            y = back(x)
            branch = self.blocks[0].branch(y.sum(2))[:, :, None].expand(-1, -1, N, -1)
            return there(torch.einsum("ij,bsjc->bsic", self.blocks[0].mix, y)) + there(branch)

    stack = probe(Laid(Block()), TOKENS, explain=True)
    assert stack.explanations[0].layout == layout
