"""The contract of what is measured of logits, on every file of mhc_diag/maths/convergence."""

import math

import numpy as np
import pytest
import torch

from mhc_diag import plugins

MEASURES = plugins.load_all("mhc_diag.maths.convergence")
EYE = np.eye(4)

every_measure = pytest.mark.parametrize("name", MEASURES)
every_kind = pytest.mark.parametrize("kind", ["numpy64", "numpy32", "torch64", "torch32"])


def swept(logits, iterations):
    """Sinkhorn in logarithms: columns, then rows."""
    for _ in range(iterations):
        for axis in (0, 1):
            top = logits.max(axis=axis, keepdims=True)
            logits = logits - top - np.log(np.exp(logits - top).sum(axis=axis, keepdims=True))
    return np.exp(logits)


def slow_rate(logits):
    return np.linalg.svd(swept(logits, 500), compute_uv=False)[1] ** 2 if len(logits) > 1 else 0.0


def slow_iterations(logits, cap=20_000):
    state = np.asarray(logits, dtype=np.float64)
    for count in range(1, cap):
        for axis in (0, 1):
            top = state.max(axis=axis, keepdims=True)
            state = state - top - np.log(np.exp(state - top).sum(axis=axis, keepdims=True))
        if abs(np.exp(state).sum(axis=0) - 1).max() <= 1e-6:
            return count
    raise AssertionError("the example needs too many")


TWINS = {
    "log_nu": lambda logits: max(map(max, logits)) - min(map(min, logits)),
    "sinkhorn_rate": slow_rate,
    "sinkhorn_iterations": slow_iterations,
}
PUBLISHED = [
    ([[2, 0], [0.5, 1]], 0.3075808520),
    ([[3, 1, 0, -1], [0, 2, 1, 0], [1, 0, 2, -1], [-1, 1, 0, 3]], 0.6662107837),
    ([[0, -6, -8, -2], [-3, 0, -8, -8], [-8, -1, 0, -8], [-8, -8, -4, 0]], 0.8574375869),
]


def as_kind(array, kind):
    array = np.asarray(array, dtype=np.float32 if kind.endswith("32") else np.float64)
    return torch.from_numpy(array) if kind.startswith("torch") else array


def measured(name, array, kind="numpy64"):
    given = as_kind(array, kind)
    found = MEASURES[name].measure(given)
    assert found.dtype == given.dtype and type(found) in (type(given), np.float64, np.float32)
    return np.asarray(found, dtype=np.float64)


def logits_of(scale, *shape, seed=0):
    return scale * np.random.default_rng(seed).standard_normal(shape)


def test_the_folder_was_found():
    assert set(MEASURES) == set(TWINS)


@every_measure
def test_describes_itself(name):
    measure = MEASURES[name]
    first, _, rest = measure.__doc__.partition("\n")
    assert first == f"{measure.TITLE}." and "Formula: " in rest
    assert measure.FORMULA.split(" = ")[0] in rest and measure.REFERENCE
    assert isinstance(measure.IDEAL, float)


@every_measure
@every_kind
def test_equal_logits_are_ideal(name, kind):
    assert measured(name, np.full((3, 4, 4), 7.0), kind) == pytest.approx(MEASURES[name].IDEAL, abs=1e-30)


@every_measure
@every_kind
@pytest.mark.parametrize("streams", [1, 2, 3, 4, 9])
def test_agrees_with_its_slow_twin(name, kind, streams):
    logits = logits_of(1.0, 10, streams, streams, seed=streams)
    given = np.asarray(as_kind(logits, kind), dtype=np.float64)
    tolerance = 2e-6 if kind.endswith("32") else 1e-12
    twin = [TWINS[name](each) for each in given]
    np.testing.assert_allclose(measured(name, logits, kind), twin, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("logits, rate", PUBLISHED)
def test_rates_of_the_literature(logits, rate):
    assert measured("sinkhorn_rate", logits) == pytest.approx(rate, rel=2e-10)
    assert measured("sinkhorn_iterations", logits) == slow_iterations(logits)


@pytest.mark.parametrize("scale", [0.5, 2.0, 10.0, 100.0])
def test_the_rate_of_two_streams_has_a_closed_form(scale):
    logits = logits_of(scale, 1000, 2, 2)
    contrast = logits[:, 0, 0] + logits[:, 1, 1] - logits[:, 0, 1] - logits[:, 1, 0]
    expected = np.tanh(contrast / 4) ** 2
    np.testing.assert_allclose(measured("sinkhorn_rate", logits), expected, atol=1e-14 * (10 + scale))


def test_a_bias_on_the_diagonal():
    bias = np.array([4.0, 6.0, 8.0, 10.0])
    second = np.array([0.930553325103, 0.990158177609, 0.998659498553, 0.999818425011])
    found = measured("sinkhorn_rate", bias[:, None, None] * EYE)
    np.testing.assert_allclose(found, second**2, atol=1e-11)
    assert (measured("sinkhorn_iterations", bias[:, None, None] * EYE) == 1).all()  # by symmetry


def test_more_iterations_than_are_counted_are_predicted():
    logits = logits_of(4.0, 60, 4, 4)
    expected = np.array([slow_iterations(each) for each in logits])
    found = measured("sinkhorn_iterations", logits)
    few = expected <= 100
    assert 10 < few.sum() < 50
    assert (found[few] == expected[few]).all()
    ratios = found[~few] / expected[~few]
    assert np.quantile(abs(ratios - 1), 0.8) < 0.1 and ratios.min() > 0.5 and ratios.max() < 2


def test_without_a_positive_limit_it_converges_as_one_over_the_iterations():
    """[[1, 1], [0, 1]]: the error is 1 / (2 k) after k iterations, so half a million are needed."""
    assert measured("sinkhorn_iterations", [[0, 0], [-1e4, 0]]) == pytest.approx(5e5, rel=1e-4)
    assert measured("sinkhorn_rate", [[0, 0], [-1e4, 0]]) == pytest.approx(1.0, abs=1e-12)


@every_measure
@every_kind
def test_dead_logits_give_a_number(name, kind):
    rng = np.random.default_rng(0)
    signs = 1e4 * np.sign(rng.standard_normal((300, 4, 4)))
    masked = np.where(rng.random((300, 4, 4)) < 0.6, -1e4, 0.0) + rng.standard_normal((300, 4, 4))
    found = measured(name, np.concatenate([signs, masked, [1e4 * EYE, -1e4 * EYE, 1e4 * EYE[::-1]]]), kind)
    assert not np.isnan(found).any() and (found >= 0).all()
    if name == "log_nu":
        assert (found[:300] == 2e4).mean() > 0.9 and (found[-3:] == 1e4).all()
    if name == "sinkhorn_rate":
        assert found.max() == 1 and found[-3] == found[-1] == 1
        assert found[-2] == pytest.approx(1 / 9, rel=1e-6)  # each stream is averaged over the three others
    if name == "sinkhorn_iterations":
        assert (found >= 1).all() and (found[-3:] == 1).all()


@every_measure
@every_kind
def test_a_batch_gives_what_its_members_give_alone(name, kind):
    scales = np.array([0.1, 1.0, 5.0, 30.0, 400.0, 1e4])[:, None, None, None]
    logits = logits_of(1.0, 6, 5, 4, 4) * scales
    together = measured(name, logits, kind)
    assert together.shape == (6, 5)
    alone = [[measured(name, each, kind) for each in row] for row in logits]
    np.testing.assert_allclose(together[:4], alone[:4], rtol=1e-6 if kind.endswith("32") else 1e-10)
    assert not np.isnan(together).any()
    assert measured(name, np.zeros((0, 3, 4, 4)), kind).shape == (0, 3)


@every_measure
@every_kind
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_and_leaves_its_neighbours_alone(name, kind, bad):
    logits = logits_of(1.0, 20, 4, 4)
    clean = measured(name, logits, kind)
    for entry in range(16):
        logits[entry].flat[entry] = bad
    found = measured(name, logits, kind)
    np.testing.assert_allclose(found[16:], clean[16:], rtol=1e-12)
    assert not np.isfinite(found[:16]).any()


def test_the_rate_is_what_further_iterations_multiply_the_error_by():
    logits = logits_of(2.0, 3, 3)
    errors = [abs(swept(logits, k).sum(axis=0) - 1).max() for k in (12, 13)]
    assert errors[1] / errors[0] == pytest.approx(float(measured("sinkhorn_rate", logits)), rel=1e-3)
    assert math.isfinite(measured("log_nu", logits))
