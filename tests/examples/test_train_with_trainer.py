"""The Trainer logs the gains of the model's own matrices, and the run ends where the limit is crossed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="the Trainer of transformers needs accelerate")
pytestmark = pytest.mark.filterwarnings("ignore:::torch", "ignore:::accelerate", "ignore:::transformers")

SMALL = ["--layers=2", "--channels=16", "--context=20", "--batch=3", "--log-every=1", "--lr=0.03"]
LIMIT = 1.3


def forward_gain(matrices: np.ndarray) -> float:
    product, worst = np.eye(matrices.shape[-1]), 0.0
    for site in matrices:
        product = site @ product
        worst = max(worst, np.abs(product.sum(-1)).max())
    return worst


def test_what_is_logged_are_the_gains_of_its_own_matrices(
    run, load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("train_with_trainer.py", *SMALL, "--steps=4", f"--max-gain={LIMIT}")
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()[:1].isdigit()]
    printed = [float(forward) for _, _, forward, _ in rows]

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    example = load("train_with_trainer")
    options = [*SMALL, "--steps=4", f"--output={tmp_path / 'again'}"]
    trainer = example.prepared(example.options().parse_args(options))
    trainer.remove_callback(example.MhcCallback)
    shown: list[torch.Tensor] = []
    for site in trainer.model.model.sites:
        site.mixing.register_forward_hook(
            lambda module, args, out: shown.append(out[0].detach().flatten(0, 1))
        )
    trainer.train()
    expected = [forward_gain(m) for m in torch.stack(shown).double().numpy().reshape(4, 4, 60, 4, 4)]

    crossed = 1 + next(step for step, gain in enumerate(expected) if gain > LIMIT)
    assert done.returncode == 1 and 1 < crossed < 4, done.stderr
    assert printed == [pytest.approx(gain, abs=2e-4) for gain in expected[:crossed]]
    lines = [json.loads(line) for line in (tmp_path / "trainer-run/run.jsonl").read_text().splitlines()]
    assert [bool(line["alerts"]) for line in lines if "metrics" in line] == [False] * (crossed - 1) + [True]
