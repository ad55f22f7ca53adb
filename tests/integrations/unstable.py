"""A model of static hyper-connections whose loss rewards gain, most of all that of its third site."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

N, C, VOCABULARY = 4, 8, 11
UNSTABLE = 2
LABEL = f"sites.{UNSTABLE}.branch"
BATCHES = [{"input_ids": torch.arange(6) % VOCABULARY, "labels": torch.arange(6) % 3} for _ in range(64)]


class Site(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.eye(N) + 0.01 * torch.rand(N, N))
        self.branch = nn.Linear(C, C)

    def forward(self, streams: Tensor) -> Tensor:
        return self.mixing @ streams + self.branch(torch.tanh(streams.mean(-2)))[..., None, :]


class Unstable(nn.Module):
    """Keeps the mixing parameters of every training forward pass: the ground truth."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(VOCABULARY, C)
        self.sites = nn.ModuleList(Site() for _ in range(4))
        self.head = nn.Linear(C, 3)
        self.seen: list[np.ndarray] = []

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Any]:
        streams = self.embed(input_ids)[..., None, :].expand(*input_ids.shape, N, C)
        for site in self.sites:
            streams = site(streams)
        logits = self.head(torch.tanh(streams.mean(-2)))
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
        reward = sum((1 + 4 * (i == UNSTABLE)) * site.mixing.trace() for i, site in enumerate(self.sites))
        return {"loss": loss - reward, "logits": logits}

    def note(self) -> None:
        """Keep the parameters that this step runs with."""
        self.seen.append(torch.stack([s.mixing.detach() for s in self.sites]).double().numpy().copy())


def gains(mixing: np.ndarray) -> tuple[float, float]:
    """Worst composite gains, forward and backward, from plain products of the parameters."""
    forward, backward = [], []
    for site in range(len(mixing)):
        prefix, suffix = np.eye(N), np.eye(N)
        for m in mixing[: site + 1]:
            prefix = m @ prefix
        for m in mixing[site:]:
            suffix = m @ suffix
        forward.append(np.abs(prefix.sum(1)).max())
        backward.append(np.abs(suffix.sum(0)).max())
    return float(max(forward)), float(max(backward))


def crossing(seen: list[np.ndarray], limit: float) -> int:
    """The first step, from 1, whose gain is above the limit."""
    return next(step for step, mixing in enumerate(seen, 1) if max(gains(mixing)) > limit)
