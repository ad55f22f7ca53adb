"""Small models that show the matrices they mix with, each in a way of its own.

Each keeps the operators that it applied, out x in, of the latest forward pass in `applied` (L, B, S, n, n):
the ground truth that neither a probe nor a tap has a part in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

B, S, N, C = 2, 3, 4, 16
TOKENS = torch.randint(0, 11, (B, S), generator=torch.Generator().manual_seed(1))


@dataclass
class Coefficients:
    post: Tensor
    comb: Tensor


def balanced(logits: Tensor) -> Tensor:
    """Nearly doubly stochastic."""
    h = logits.softmax(-1)
    for _ in range(8):
        h = h / h.sum(-2, keepdim=True)
        h = h / h.sum(-1, keepdim=True)
    return h


class Maker(nn.Module):
    """Makes a matrix H for every token, and shows it as the form says."""

    def __init__(self, form: str, at_init: bool) -> None:
        super().__init__()
        self.form = form
        self.weights = nn.Linear(C, N * N)
        if at_init:  # the same symmetric matrix everywhere
            nn.init.zeros_(self.weights.weight)
            self.weights.bias.data = 2 * torch.eye(N).flatten()
        self.constrain = balanced

    def forward(self, x: Tensor) -> Any:
        mean = x.mean(2)
        logits = self.weights(mean * torch.rsqrt(mean.pow(2).mean(-1, keepdim=True) + 1e-6))
        if self.form == "per sample":
            logits = logits.mean(1)
        h = logits.unflatten(-1, (N, N))
        h = self.constrain(h) if self.form == "result" else balanced(h)
        match self.form:
            case "tuple" | "transposed" | "argument" | "rounded" | "unapplied" | "scaled":
                return x.sum(), h
            case "dictionary":
                return {"post": x.sum(), "comb": h}
            case "dataclass":
                return Coefficients(x.sum(), h)
            case "flat":
                return h.flatten(-2)
            case "sequence first":
                return h.transpose(0, 1).contiguous()
            case "per sample":
                return h
        return lambda: h  # which nothing can look into


class Apply(nn.Module):
    def forward(self, x: Tensor, *, mixing: Tensor) -> Tensor:
        return mixing.mT @ x


class Site(nn.Module):
    def __init__(self, form: str, maker: Maker, gain: float) -> None:
        super().__init__()
        self.form, self.maker, self.gain = form, maker, gain
        self.apply_mixing = Apply()
        self.mixing = nn.Parameter(torch.eye(N) + 0.3 * torch.randn(N, N))
        self.register_buffer("table", torch.eye(N) + 0.3 * torch.randn(N, N))
        self.dynamic = nn.Parameter(torch.zeros(C, N * N))
        self.branch = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C), nn.GELU(), nn.Dropout(0.1))
        self.applied = torch.empty(0)
        self.turned = False

    def operator(self, x: Tensor) -> Tensor:
        """M for every token, from what the maker shows."""
        shown = self.maker(x) if self.form not in {"parameter", "buffer", "dynamic"} else None
        match self.form:
            case "tuple":
                return shown[1]
            case "transposed" | "argument":
                return shown[1].mT
            case "rounded":
                return shown[1].bfloat16().float()
            case "scaled":
                return shown[1] * 1.5
            case "unapplied":
                return torch.eye(N).expand(*x.shape[:2], N, N)
            case "dictionary":
                return shown["comb"]
            case "dataclass":
                return shown.comb.mT
            case "flat":
                return shown.unflatten(-1, (N, N))
            case "sequence first":
                return shown.transpose(0, 1)
            case "per sample":
                return shown[:, None].expand(*x.shape[:2], N, N)
            case "parameter":
                return self.mixing.mT
            case "buffer":
                return self.table
            case "dynamic":  # a matrix that stands still as long as `dynamic` is zero
                return self.mixing + (torch.tanh(x.mean(2)) @ self.dynamic).unflatten(-1, (N, N))
        return shown().mT

    def forward(self, x: Tensor) -> Tensor:
        m = self.operator(x)
        m = m.mT if self.turned else m
        self.applied = self.gain * m.detach().expand(*x.shape[:2], N, N)
        mixed = self.apply_mixing(x, mixing=m.mT) if self.form == "argument" else m @ x
        return (mixed if self.gain == 1 else self.gain * mixed) + self.branch(x.mean(2))[..., None, :]


class Shown(nn.Module):
    """Embedding, n streams, three sites, sum, head."""

    def __init__(
        self,
        form: str,
        *,
        shared: bool = False,
        at_init: bool = False,
        replay: bool | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, C)
        one = Maker(form, at_init)
        makers = [one] * 3 if shared else [one, Maker(form, at_init), Maker(form, at_init)]
        self.sites = nn.ModuleList(Site(form, maker, gain) for maker in makers)
        self.head = nn.Linear(C, 11)
        self.replay = replay
        self.fails: BaseException | None = None

    @property
    def applied(self) -> Tensor:
        return torch.stack([site.applied for site in self.sites])

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)[:, :, None].expand(-1, -1, N, -1)
        for site in self.sites:
            x = site(x) if self.replay is None else checkpoint(site, x, use_reentrant=self.replay)
        if self.fails is not None:
            raise self.fails
        return self.head(torch.tanh(x.sum(2)))


TOLD = {
    "tuple": ("output 1", "equal"),
    "transposed": ("output 1", "transposed"),
    "dictionary": ("output comb", "equal"),
    "dataclass": ("output comb", "transposed"),
    "flat": ("output", "equal"),
    "argument": ("argument mixing", "transposed"),
    "sequence first": ("output", "equal"),
    "per sample": ("output", "equal"),
    "parameter": ("parameter mixing", "transposed"),
    "buffer": ("buffer table", "equal"),
    "rounded": ("output 1", "equal"),
    "result": ("result of constrain", "transposed"),
}
"""Where each form shows its matrix, and how it compares with M."""
