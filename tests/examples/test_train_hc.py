"""The training script prints the gains of the matrices that its own module makes, step by step."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

SMALL = ["--layers=2", "--channels=16", "--context=20", "--batch=3", "--log-every=1"]
"""60 tokens, so that all of them are watched."""


def matrices_of_each_step(example: ModuleType, options: list[str]) -> list[np.ndarray]:
    """Train as the script does, without a watch: what the mixing modules return, (sites, tokens, n, n)."""
    how = example.options().parse_args(options)
    model, optimizer, data = example.prepared(how)
    shown: list[torch.Tensor] = []
    for site in model.sites:
        site.mixing.register_forward_hook(
            lambda module, args, out: shown.append(out[0].detach().flatten(0, 1))
        )
    steps = []
    for _ in range(how.steps):
        shown.clear()
        example.loss_of(model, *next(data)).backward()
        optimizer.step()
        optimizer.zero_grad()
        steps.append(torch.stack(shown).double().numpy())
    return steps


def composite_gains(matrices: np.ndarray) -> tuple[float, float]:
    forward, backward = [], []
    product = np.eye(matrices.shape[-1])
    for site in matrices:
        product = site @ product
        forward.append(np.abs(product.sum(-1)).max())
    product = np.eye(matrices.shape[-1])
    for site in matrices[::-1]:
        product = product @ site
        backward.append(np.abs(product.sum(-2)).max())
    return max(forward), max(backward)


def printed(out: str) -> dict[int, tuple[float, float]]:
    """Step to forward and backward gain."""
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit() and "alert" not in line]
    return {int(step): (float(forward), float(backward)) for step, _, forward, backward in rows}


def test_what_it_prints_are_the_gains_of_its_own_matrices(run, load, tmp_path: Path) -> None:
    options = [*SMALL, "--steps=8", "--lr=0.03", "--mhc"]
    done = run("train_hc.py", *options)
    assert done.returncode == 0, done.stderr
    gains = printed(done.stdout)
    expected = [composite_gains(m) for m in matrices_of_each_step(load("train_hc"), options)]
    assert list(gains) == list(range(1, 9))
    assert list(gains.values()) == [pytest.approx(pair, abs=2e-4) for pair in expected]
    assert len(set(gains.values())) > 1 and "stay near 1" in done.stdout
    records = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    told = {r["step"]: r["metrics"]["mhc/forward_max"] for r in records if "metrics" in r}
    assert told == {step: pytest.approx(forward, abs=1e-4) for step, (forward, _) in gains.items()}


def test_without_a_projection_it_stops_where_the_limit_is_crossed(run, load) -> None:
    options = [*SMALL, "--steps=8", "--lr=0.03", "--max-gain=1.3", "--on-alert=stop"]
    done = run("train_hc.py", *options)
    expected = [composite_gains(m) for m in matrices_of_each_step(load("train_hc"), options)]
    crossed = 1 + next(step for step, pair in enumerate(expected) if max(pair) > 1.3)
    assert done.returncode == 1 and crossed > 1, done.stderr
    assert f"step {crossed}: " in done.stdout and "allowed is at most 1.3" in done.stdout
    assert list(printed(done.stdout).values()) == [
        pytest.approx(p, abs=2e-4) for p in expected[: crossed - 1]
    ]
