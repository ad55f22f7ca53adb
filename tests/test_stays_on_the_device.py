"""On an accelerator matrices stay there: numbers of sites and tokens come to the host, and a sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mhc_diag.analyse import analyse
from mhc_diag.records import MixingStack, Provenance, Site

DEPTH, TOKENS, N = 6, 64, 4
SAMPLE = DEPTH * 16 * N * N


def stack(device: str) -> MixingStack:
    draw = torch.Generator().manual_seed(0)
    matrices = torch.eye(N) + 0.1 * torch.randn(DEPTH, TOKENS, N, N, generator=draw, dtype=torch.float64)
    sites = tuple(Site("", "", depth) for depth in range(DEPTH))
    where = Provenance("example", "observed", "by hand", "observed", "token", token_shape=(1, TOKENS))
    rows = torch.ones(DEPTH, TOKENS, N, dtype=torch.float64, device=device)
    return MixingStack("drawn", matrices.to(device), sites, where, pre=rows / N, post=rows)


def test_no_array_of_all_matrices_comes_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    for name in ("cpu", "numpy", "tolist", "__array__"):
        own = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda t, *a, _own=own, **k: moved.append(t.numel()) or _own(t, *a, **k)
        )
    report = analyse(stack("cpu"))
    assert report.composite("forward").value.shape == (DEPTH,)
    assert sorted(set(moved))[-1] == SAMPLE < DEPTH * TOKENS * N * N
    assert moved.count(SAMPLE) <= 2, "one sample, on its way through two calls"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_report_is_that_of_the_cpu() -> None:
    here, there = analyse(stack("cpu")), analyse(stack("cuda"))
    for one, other in zip(here.curves, there.curves, strict=True):
        np.testing.assert_allclose(other.value, one.value, rtol=1e-9, atol=1e-12, err_msg=one.metric)
