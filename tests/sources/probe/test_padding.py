"""Padding is left out of what is measured, whichever way round the mask is written."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mhc_diag.analyse import analyse
from mhc_diag.sources.probe import probe

B, S, C = 2, 3, 16
REAL = torch.tensor([[1, 1, 0], [1, 0, 0]])


class Gated(nn.Module):
    """M of token (b, s) is 10 b + s + 1."""

    def __init__(self, *, sequence_first: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.branch = nn.Embedding(7, C), nn.Sequential(nn.Linear(C, C), nn.Tanh())
        self.sequence_first = sequence_first

    def forward(self, tokens: Tensor, attention_mask: Any = None, key_padding_mask: Any = None) -> Tensor:
        gates = 10.0 * torch.arange(B)[:, None, None] + torch.arange(S)[:, None] + 1
        if self.sequence_first:
            tokens, gates = tokens.T, gates.transpose(0, 1)
        x = self.embed(tokens)
        return gates * x + self.branch(x)


TOKENS = torch.arange(B * S).view(B, S)


@pytest.mark.parametrize(
    "call",
    [
        {"tokens": TOKENS, "attention_mask": REAL},
        {"tokens": TOKENS, "attention_mask": REAL.bool()},
        {"tokens": TOKENS, "key_padding_mask": ~REAL.bool()},
        (TOKENS, REAL),
    ],
)
def test_padding_is_left_out(call: Any) -> None:
    stack = probe(Gated(), call)
    assert stack.matrices.flatten().tolist() == [1, 2, 11]
    assert stack.provenance.token_numbers == (0, 1, 3)
    assert stack.provenance.token_shape == (B, S)
    assert "3 of 6 tokens are padding by" in stack.provenance.notes[0]
    assert analyse(stack).worst("forward").value == 11  # and not 13, of a padded token


def test_tokens_along_the_other_axis() -> None:
    stack = probe(Gated(sequence_first=True), {"tokens": TOKENS, "attention_mask": REAL})
    assert stack.matrices.flatten().tolist() == [1, 11, 2]
    assert stack.provenance.token_numbers == (0, 1, 2)


@pytest.mark.parametrize(
    "mask",
    [None, torch.ones(B, S, dtype=torch.long), torch.zeros(B, S), torch.ones(B, 1, S, S).bool(), "full"],
)
def test_what_is_no_mask_of_tokens_leaves_all_of_them(mask: Any) -> None:
    stack = probe(Gated(), {"tokens": TOKENS, "attention_mask": mask})
    assert stack.matrices.flatten().tolist() == [1, 2, 3, 11, 12, 13]
    assert stack.provenance.token_numbers == ()
    assert stack.provenance.notes == ()
