"""Bounds: no composite of matrices within their caps may exceed them, and they say for which inputs."""

from __future__ import annotations

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.bounds import curves
from mhc_diag.records import Caps, MixingStack, Provenance, Site


def stack_of(matrices: np.ndarray, caps: Caps | None = None, axis: str = "token") -> MixingStack:
    sites = tuple(Site("", "", depth) for depth in range(len(matrices)))
    where = Provenance("made", "observed", "by hand", "observed", axis)  # type: ignore[arg-type]
    return MixingStack("made", matrices, sites, where, caps=caps)


def composites(matrices: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """The product of every run of sites, later ones on the left."""
    made = {}
    for start in range(len(matrices)):
        product = np.eye(matrices.shape[-1])
        for stop in range(start, len(matrices)):
            product = matrices[stop] @ product
            made[start, stop] = product
    return made


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("stochastic", [False, True])
def test_no_composite_exceeds_the_bounds(seed: int, stochastic: bool) -> None:
    rng = np.random.default_rng(seed)
    matrices = rng.standard_normal((5, 3, 4, 4))
    if stochastic:
        matrices = np.abs(matrices) / np.abs(matrices).sum(axis=-1, keepdims=True)
    rows = np.abs(matrices).sum(axis=-1).max(axis=(1, 2))
    columns = np.abs(matrices).sum(axis=-2).max(axis=(1, 2))
    caps = Caps(rows, columns)
    report = analyse(stack_of(matrices, caps))
    forward, backward = report.scalar("bound_forward"), report.scalar("bound_backward")
    assert forward is not None and backward is not None
    bound = {(c.metric, c.scope): c.value for c in report.curves if c.statistic == "bound"}
    assert set(bound) == {
        (m, s)
        for m in ("amax_forward", "amax_backward", "inf_norm", "one_norm")
        for s in ("site", "prefix", "suffix")
    }
    slack = 1 + 1e-12
    for token in range(3):
        for (start, stop), a in composites(matrices[:, token]).items():
            row, column = np.abs(a).sum(axis=1).max(), np.abs(a).sum(axis=0).max()
            assert row <= forward.value * slack and column <= backward.value * slack
            if start == stop:
                assert row <= bound["inf_norm", "site"][start] * slack
            if start == 0:
                assert row <= bound["inf_norm", "prefix"][stop] * slack
                assert column <= bound["amax_backward", "prefix"][stop] * slack
            if stop == 4:
                assert row <= bound["amax_forward", "suffix"][start] * slack
                assert column <= bound["one_norm", "suffix"][start] * slack
    if stochastic:
        assert forward.value == pytest.approx(1) and backward.value <= 4 * slack


def test_rows_of_one_certify_n_at_any_depth() -> None:
    caps = Caps(np.ones(1000), np.full(1000, 3.0))
    found = {(c.metric, c.scope): c.value for c in curves(caps, 4)}
    np.testing.assert_allclose(found["amax_forward", "prefix"], 1)
    assert found["amax_backward", "suffix"].max() == pytest.approx(4)
    assert found["amax_backward", "suffix"][-1] == pytest.approx(3)
    mirrored = {(c.metric, c.scope): c.value for c in curves(caps.transposed(), 4)}
    np.testing.assert_allclose(mirrored["amax_backward", "suffix"], 1)
    assert mirrored["amax_forward", "prefix"].max() == pytest.approx(4)


def test_bounds_of_measured_matrices_say_that_they_hold_for_those_alone() -> None:
    matrices = np.abs(np.random.default_rng(0).standard_normal((3, 2, 4, 4)))
    matrices /= matrices.sum(axis=-1, keepdims=True)
    report = analyse(stack_of(matrices))
    bound = report.scalar("bound_backward")
    assert bound is not None and bound.title.endswith("for these tokens")
    assert bound.value == pytest.approx(min(4, np.prod(matrices.sum(axis=-2).max(axis=(1, 2)))))
    with_caps = analyse(stack_of(matrices, Caps(np.ones(3), np.full(3, 4.0)))).scalar("bound_backward")
    assert with_caps is not None and with_caps.title.endswith("for every input")


def test_a_bound_beyond_any_float_is_left_out() -> None:
    report = analyse(stack_of(np.full((2, 1, 2, 2), 1e200), axis="none"))
    assert report.scalar("bound_forward") is None


def test_a_site_of_zeros() -> None:
    matrices = np.stack([np.eye(2), np.zeros((2, 2)), 2 * np.eye(2)])[:, None]
    bound = analyse(stack_of(matrices, axis="none")).scalar("bound_forward")
    assert bound is not None and bound.value == pytest.approx(2)
