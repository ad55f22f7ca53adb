"""Exported programs on the command line: run only where that is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x + self.branch(x)


@pytest.fixture
def saved(folder: Path) -> Path:
    torch.export.save(torch.export.export(Net(), (torch.ones(1, 3, 8),)), folder / "net.pt2")
    return folder / "net.pt2"


def test_is_not_run_and_holds_nothing_to_read(run: Callable[..., Any], saved: Path) -> None:
    error = run("scan", "net.pt2", "--report", "json=out.json").refused(3)
    assert error.startswith("error: net.pt2 holds no mixing parameters")
    assert "--allow-code, which runs it, is not given" in error


def test_is_measured_where_that_is_allowed(run: Callable[..., Any], saved: Path) -> None:
    done = run("scan", "net.pt2", "--allow-code", "--format", "json", "--max-gain", "2")
    assert done.code == 0 and done.err.startswith("passed: net.pt2")
    report = json.loads(done.out)["reports"][0]
    assert report["streams"] == 1
    assert report["provenance"]["settings"]["input"] == "the program's own example"
    done = run("scan", "net.pt2", "--allow-code", "--max-gain", "0.4")
    assert done.code == 1


def test_an_input_of_another_shape(run: Callable[..., Any], saved: Path) -> None:
    np.save("x.npy", np.zeros((2, 3, 8), dtype=np.float32))
    done = run("scan", "net.pt2", "--allow-code", "--input", "x.npy", "--report", "json=out.json")
    assert "net.pt2 raised" in done.refused() and "equal to 1, but got 2" in done.err
