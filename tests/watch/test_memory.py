"""A watch of a long run keeps little of each record."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest
import torch
from test_alerts import Steered

import mhc_diag

STEPS = 10_000
A_RECORD = 400
"""Bytes: its numbers, and what an array keeps in reserve to grow."""


def resident() -> int:
    """Bytes of memory that the process occupies."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_ten_thousand_steps_in_flat_memory(tmp_path: Path) -> None:
    model, x = Steered(), torch.ones(1, 3, 4)
    with mhc_diag.watch(model, jsonl=tmp_path / "run.jsonl", verify_every=10**9) as w:
        for _ in range(1100):  # beyond the early comparisons with a probe
            model(x).sum().backward()
        gc.collect()
        before = resident()
        tracemalloc.start()
        held = tracemalloc.get_traced_memory()[0]
        for _ in range(STEPS // 10):
            model(x).sum().backward()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - held
        tracemalloc.stop()
        for _ in range(STEPS - 1100 - STEPS // 10):
            model(x).sum().backward()
        gc.collect()
        assert w.recorded == STEPS
    assert grown < A_RECORD * STEPS / 10, grown
    assert resident() - before < 16e6, resident() - before
