"""Random samples are measured in parts by whoever is there; other tokens stay together."""

from __future__ import annotations

from dataclasses import replace

import joblib
import numpy as np
import pytest

from mhc_diag import measuring
from mhc_diag.analyse import analyse
from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import MixingStack, Provenance, Site
from mhc_diag.sweeps import analyse_samples, engine

DEPTH, TOKENS, STREAMS = 4, 900, 3


@pytest.fixture
def stack(monkeypatch):
    """Samples of which a part holds at most 200."""
    monkeypatch.setattr(measuring, "PART_BYTES", 8 * DEPTH * STREAMS**2 * 200)
    monkeypatch.setattr(engine, "WORTH_WORKERS", 0.0)
    logits = np.random.default_rng(3).standard_normal((DEPTH, TOKENS, STREAMS, STREAMS))
    logits[2, 77, 0, 1] = np.nan
    weights = np.random.default_rng(4).standard_normal((2, DEPTH, TOKENS, STREAMS))
    where = Provenance("file", "static", "read", "direct", "sample", token_shape=(TOKENS,))
    sites = tuple(Site("layers", "attn", depth) for depth in range(DEPTH))
    matrices = sinkhorn.project(logits)
    return MixingStack("m", matrices, sites, where, pre=weights[0], post=weights[1], logits=logits)


@pytest.mark.parametrize("metrics", [("all",), ("paper",)])
def test_the_same_bytes_on_any_number_of_cores(stack, saved, metrics):
    wanted = saved([analyse_samples(stack, metrics=metrics, triangle=True, jobs=1)])
    assert saved([analyse(stack, metrics=metrics, triangle=True)]) == wanted
    with joblib.parallel_config(backend="threading"):
        for jobs in (2, 7):
            assert saved([analyse_samples(stack, metrics=metrics, triangle=True, jobs=jobs)]) == wanted


def test_the_numbers_are_those_of_the_whole(stack, monkeypatch):
    parted = analyse(stack, triangle=True)
    assert len(measuring.cut(stack)) == 5
    monkeypatch.setattr(measuring, "PART_BYTES", 2**24)
    whole = analyse(stack, triangle=True)
    assert len(measuring.cut(stack)) == 1
    assert (parted.tokens, parted.nonfinite) == (whole.tokens, whole.nonfinite) == (TOKENS, (0, 0, 1, 0))
    for curve in whole.curves:
        found = parted.curve(curve.metric, curve.scope, curve.statistic)
        np.testing.assert_allclose(found.value, curve.value, rtol=1e-8, atol=1e-14)
    for mine, other in zip(parted.triangles, whole.triangles, strict=True):  # the depth kernel among them
        np.testing.assert_array_equal(mine.log10, other.log10)
    np.testing.assert_array_equal(parted.sample, whole.sample)


def test_tokens_that_are_not_random_stay_together(stack):
    tokens = replace(stack, provenance=replace(stack.provenance, token_axis="token"))
    assert len(measuring.cut(tokens)) == 1


def test_progress_is_told_of_everything(stack):
    for jobs in (1, 3):
        done = []
        with joblib.parallel_config(backend="threading"):
            analyse_samples(stack, metrics=("paper",), jobs=jobs, progress=done.append)
        assert sum(done) == 3 * DEPTH * TOKENS


def test_no_workers_are_refused(stack):
    with pytest.raises(MhcDiagError, match="--jobs is 0"):
        analyse_samples(stack, jobs=0)
