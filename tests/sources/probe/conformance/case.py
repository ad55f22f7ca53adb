"""A case of the suite: a small model of a few lines that keeps, itself, the matrices that it applies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

B, S, C = 2, 3, 32
CASES: list[Case] = []


@dataclass(frozen=True)
class Case:
    """One model of the suite and what a probe has to say of it."""

    name: str
    run: Callable[..., Any]
    n: int = 4
    shape: tuple[int, ...] = (B, S, C)
    skipped: tuple[str, ...] = ()
    """How each reason that is listed under what was not measured begins."""
    refused: str = ""
    """The reason where nothing at all can be measured."""


def case(name: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a forward pass, a function of the model and its input, into the suite."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        CASES.append(Case(name, run, **options))
        return run

    return register


class Model(nn.Module):
    """The parts that the cases are made of. `truth` lists M of each site, (T, n, n), out x in."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.case, self.n = case, case.n
        n = case.n
        self.f = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C), nn.Tanh())
        self.g = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C), nn.GELU(), nn.Linear(C, C))
        self.conv_in, self.conv = nn.Conv2d(3, C, 1), nn.Conv2d(C, C, 3, padding=1)
        self.attention = nn.MultiheadAttention(C, 4, batch_first=True)
        self.weights, self.gate, self.norm = nn.Linear(C, n * n), nn.Linear(C, 1), nn.LayerNorm(C)
        self.static = nn.Parameter(torch.randn(n, n))
        self.post = nn.Parameter(torch.randn(n))
        self.per_channel = nn.Parameter(torch.randn(C))
        self.expand = nn.Linear(C, n * C)
        self.dropout = nn.Dropout(0.5)
        self.truth: list[Tensor] = []

    def forward(self, x: Any) -> Any:
        self.truth = []
        return self.case.run(self, x)

    def dynamic(self, read: Tensor) -> Tensor:
        """A matrix (..., n, n) for each token, computed from what is read of the streams (..., C)."""
        m = self.weights(rms_norm(read, (C,)))
        return m.view(*read.shape[:-1], self.n, self.n)

    def applies(self, m: Tensor, *tokens: int) -> Tensor:
        """Note that a site applies m, the same for all tokens along axes where it has size 1."""
        m = m.detach()
        self.truth.append(m.expand(*(tokens or (B, S)), self.n, self.n).reshape(-1, self.n, self.n).clone())
        return m

    @property
    def eye(self) -> Tensor:
        return torch.eye(self.n)

    def widen(self, x: Tensor) -> Tensor:
        """(B, S, C) to n equal streams (B, S, n, C)."""
        return x.unsqueeze(2).repeat(1, 1, self.n, 1)

    def branch(self, y: Tensor) -> Tensor:
        """p f of streams (B, S, n, C)."""
        return self.post[:, None] * self.f(y.mean(2))[:, :, None]
