"""The pipeline prints the gains of the whole model: of the matrices that all of its mixing modules return."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
SMALL = ["--layers=2", "--channels=16", "--context=12", "--batch=4", "--microbatches=2"]

pytestmark = [
    pytest.mark.slow,  # torchrun and two processes that import torch
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package"),
]


def forward_gain(matrices: np.ndarray) -> float:
    """The worst over all prefixes of the sites (sites, tokens, n, n)."""
    product, gains = np.eye(matrices.shape[-1]), []
    for site in matrices:
        product = site @ product
        gains.append(np.abs(product.sum(-1)).max())
    return float(max(gains))


def torchrun(folder: Path, *options: str) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(ROOT / "examples" / "pipeline.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_gains_it_prints_are_those_of_both_stages(load, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    out = torchrun(tmp_path, *SMALL, "--steps=2", "--lr=0.05")
    example = load("pipeline")
    how = example.options().parse_args([*SMALL, "--steps=2", "--lr=0.05"])
    stages = [example.made(how, 0, 2), example.made(how, 1, 2)]
    optimizer = torch.optim.AdamW([p for stage in stages for p in stage.parameters()], lr=how.lr)
    shown: list[torch.Tensor] = []
    for site in (*stages[0].sites, *stages[1].sites):
        site.mixing.register_forward_hook(lambda module, args, out: shown.append(out[0].detach()))
    data = example.batches(how.batch, how.context, how.seed)
    expected = []
    for _ in range(2):
        shown.clear()
        ids, after = next(data)
        for part, target in zip(ids.chunk(2), after.chunk(2), strict=True):
            loss = example.loss_of(stages[1](stages[0](part)), target) / 2
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        micro = [torch.stack(shown[k : k + 4]).flatten(1, 2).double().numpy() for k in (0, 4)]
        expected.append(max(forward_gain(matrices) for matrices in micro))
    found = [float(gain) for gain in re.findall(r"forward gain ([\d.]+)", out)]
    assert found == [pytest.approx(gain, abs=2e-4) for gain in expected]
    alone = [float(gain) for gain in re.findall(r"alone ([\d.]+)", out)]
    assert len(alone) == 2 and expected[1] > max(alone)
