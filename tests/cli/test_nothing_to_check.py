"""A readable target without mixing: exit 3 and a list of what was looked at, or 0 where that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

OUTPUTS = ("--report", "json=out.json", "--plot", "out.png", "--max-gain", "4")

PLAIN = """
import torch
def mlp():
    sizes = torch.nn.Linear(6, 9), torch.nn.GELU(), torch.nn.Linear(9, 2)
    return torch.nn.Sequential(*sizes), torch.ones(2, 5, 6)
class Bag(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = torch.nn.Embedding(7, 4), torch.nn.Linear(4, 7)
    def forward(self, ids): return self.out(self.embed(ids))
def bag(): return Bag()
"""


@pytest.fixture
def plain_file(folder: Path) -> str:
    torch.save({f"h.{i}.fc.weight": torch.ones(6, 9) for i in range(3)} | {"wte": torch.ones(7, 6)}, "gpt.pt")
    return "gpt.pt"


def test_a_checkpoint_without_mixing(run: Callable[..., Any], plain_file: str) -> None:
    done = run("scan", plain_file, *OUTPUTS)
    assert plain_file in done.refused(3)
    assert "--model" in done.err.splitlines()[1]
    looked_at = [line for line in done.err.splitlines()[2:] if line.startswith("looked at: ")]
    assert len(looked_at) == len(done.err.splitlines()) - 2
    assert "looked at: h.#.fc.weight (6, 9), 3 of them" in looked_at
    assert any("layouts not found: deepseek, " in line for line in looked_at)


@pytest.mark.parametrize(
    ("factory", "told"), [("mlp", "entry"), ("bag", "entry embed (embedding), 4 channels")]
)
def test_a_model_without_residual_path(
    run: Callable[..., Any], code: Callable[[str], str], factory: str, told: str
) -> None:
    target = f"{code(PLAIN)}:{factory}"
    done = run("scan", target, *OUTPUTS)
    assert target in done.refused(3)
    assert f"looked at: {told}" in done.err
    assert "looked at: path ended in" in done.err


def test_what_is_allowed_is_no_error(
    run: Callable[..., Any], code: Callable[[str], str], plain_file: str
) -> None:
    for target in (plain_file, f"{code(PLAIN)}:mlp"):
        done = run("scan", target, "--allow-empty", *OUTPUTS)
        assert (done.code, done.out, done.changed) == (0, "", frozenset())
        assert done.err.startswith("nothing to check: ") and "looked at: " in done.err
        assert "error:" not in done.err


def test_what_is_broken_is_not_allowed_by_it(run: Callable[..., Any], folder: Path) -> None:
    (folder / "empty.pt").write_bytes(b"")
    assert "is empty" in run("scan", "empty.pt", "--allow-empty", *OUTPUTS).refused()
