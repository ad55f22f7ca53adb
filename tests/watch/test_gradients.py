"""Gains of the gradient, against autograd on the streams themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mhc_diag
from mhc_diag.sources.runs import read

N, C, DEPTH = 4, 16, 3


class Site(nn.Module):
    """Mixing of every token, made of streams through which no gradient passes."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.logits = nn.Linear(C, N * N)
        self.branch = nn.Sequential(nn.Linear(C, C), nn.Tanh())
        self.taken: list[Tensor] = []

    def make(self, x: Tensor) -> Tensor:
        return torch.eye(N) + 0.4 * torch.tanh(self.logits(x.detach().mean(-2))).unflatten(-1, (N, N))

    def forward(self, x: Tensor) -> Tensor:
        m = self.mixing(x)
        read = x.detach() if self.frozen else x
        return m @ x + self.branch(read.mean(-2))[..., None, :]


class Maker(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = [site]

    def forward(self, x: Tensor) -> Tensor:
        return self.site[0].make(x)


class Model(nn.Module):
    """Keeps the streams before the first site and after the last, and every M."""

    def __init__(self, *, frozen: bool = True, flat: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, C)
        self.sites = nn.ModuleList(Site(frozen) for _ in range(DEPTH))
        for site in self.sites:
            site.mixing = Maker(site)
        self.head = nn.Linear(C, 5)
        self.flat = flat
        self.x, self.y = torch.empty(0), torch.empty(0)

    def forward(self, tokens: Tensor) -> Tensor:
        self.x = x = self.embed(tokens)[:, :, None].expand(-1, -1, N, -1).clone()
        for site in self.sites:
            x = site(x)
        self.y = x
        return self.head(torch.tanh(x * torch.linspace(0.5, 2, N)[:, None]).sum(-2))


def expected(model: Model, loss: Tensor, tokens: list[int]) -> tuple[float, float]:
    """Observed by torch.autograd.grad; predicted by the transposes, one after the other."""
    g_x, g_y = torch.autograd.grad(loss, (model.x, model.y), retain_graph=True)
    x, mixed = model.x, g_y
    made = []
    with torch.no_grad():
        for site in model.sites:
            made.append(site.make(x))
            x = site(x)
    for m in reversed(made):
        mixed = m.mT @ mixed
    observed = (g_x.square().mean((-2, -1)) / g_y.square().mean((-2, -1))).sqrt().flatten()[tokens]
    predicted = (mixed.square().mean((-2, -1)) / g_y.square().mean((-2, -1))).sqrt().flatten()[tokens]
    return observed.max().item(), predicted.max().item()


def steps(model: Model, count: int = 4, kept: list[int] | None = None, **options: Any) -> Any:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)
    tokens = torch.arange(6).reshape(2, 3)
    found = []
    with mhc_diag.watch(model, gradients=True, **options) as w:
        for _ in range(count):
            loss = model(tokens).square().sum()
            told = expected(model, loss, list(range(6)) if kept is None else kept)
            loss.backward()
            found.append((w.metrics(), told))
            optimizer.step()
            optimizer.zero_grad()
    return w, found


@pytest.mark.parametrize("frozen", [True, False])
def test_every_step_against_autograd(frozen: bool) -> None:
    w, found = steps(Model(frozen=frozen))
    assert not w.notes
    for step, (metrics, told) in enumerate(found, 1):
        assert metrics["mhc/gradient_gain"] == pytest.approx(told[0], rel=1e-5)
        assert metrics["mhc/gradient_gain_predicted"] == pytest.approx(told[1], rel=1e-5)
        assert metrics["mhc/gradient_step"] == step
        ratio = metrics["mhc/gradient_gain"] / metrics["mhc/gradient_gain_predicted"]
        assert abs(ratio - 1) < 1e-5 if frozen else abs(ratio - 1) > 1e-3


def test_of_the_tokens_that_are_kept() -> None:
    _, found = steps(Model(), tokens=2, kept=[0, 3])
    metrics, told = found[-1]
    assert metrics["mhc/gradient_gain"] == pytest.approx(told[0], rel=1e-5)


def test_they_are_written_down_and_weights_are_the_same(tmp_path: Any) -> None:
    watched, alone = Model(frozen=False), Model(frozen=False)
    w, found = steps(watched, jsonl=tmp_path / "run.jsonl")
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.003)
    for _ in range(4):
        alone(torch.arange(6).reshape(2, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for a, b in zip(watched.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a, b)
    run = read(tmp_path / "run.jsonl")
    told = run.curve("gradient_gain")
    assert told[:3] == pytest.approx([metrics["mhc/gradient_gain"] for metrics, _ in found[:3]])
    assert math.isnan(told[3])  # it came after its record was written
    assert [row.get("mhc/gradient_step") for row in w.history] == [1, 2, 3, 4]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in watched.modules())


def test_stages_of_a_pipeline_are_told_that_there_are_none() -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        shared = mhc_diag.Distribution.of_groups(stages=dist.group.WORLD)
        with (
            pytest.warns(RuntimeWarning, match="not taken across the stages of a pipeline"),
            mhc_diag.watch(Model(), gradients=True, distribution=shared) as w,
        ):
            assert len(w.notes) == 1
    finally:
        dist.destroy_process_group()


def test_streams_that_no_module_shows_are_said() -> None:
    class Inline(Model):
        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embed(tokens)[:, :, None].expand(-1, -1, N, -1)
            for site in self.sites:
                x = site.mixing(x) @ x + site.branch(x.mean(-2))[..., None, :]
            return self.head(torch.tanh(x).sum(-2))

    model = Inline()
    told = pytest.warns(RuntimeWarning, match="no boundary of a module shows the streams at the first site")
    with told, mhc_diag.watch(model, gradients=True) as w:
        for _ in range(2):
            model(torch.arange(6).reshape(2, 3)).sum().backward()
    assert "mhc/gradient_gain" not in w.metrics() and len(w.notes) == 1
