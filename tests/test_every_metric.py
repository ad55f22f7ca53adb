"""The contract of a metric, on every file of mhc_diag/maths/metrics, in numpy and in torch."""

import itertools
import math

import numpy as np
import pytest
import torch

from mhc_diag import plugins
from mhc_diag.records import SCOPES

METRICS = plugins.load_all("mhc_diag.maths.metrics")
EYE, SHIFT, MIXED = np.eye(4), np.roll(np.eye(4), 1, axis=0), np.full((4, 4), 0.25)
CANCELLING = np.array([[5.0, -5.0], [0.0, 1.0]])
OPPOSED = np.array([[3.0, -3.0], [-3.0, 3.0]])  # no row and no column has a sum, yet the gain can be 6
HOLLOW = np.array([[0.0, 2.0], [0.0, 0.0]])

every_metric = pytest.mark.parametrize("name", METRICS)
every_kind = pytest.mark.parametrize("kind", ["numpy64", "numpy32", "torch64", "torch32"])
TOLERANCE = {"numpy64": 1e-13, "torch64": 1e-13, "numpy32": 2e-6, "torch32": 2e-6}
SQUARE = {
    "identity_distance",
    "permutation_distance",
    "second_eigenvalue",
    "sigma_min_meanfree",
    "uniformity",
}
# By how much more than rounding a metric may differ from its twin.
ILL_CONDITIONED = {
    "marginal_drift": 1e3,  # the logarithm of a sum that nearly cancels
    "second_eigenvalue": 1e3,  # of a matrix that is far from normal, and the twin solves a polynomial
}
# Where torch can have no gradient, and why.
NO_GRADIENT_AT = {"second_eigenvalue": "eigenvalues that coincide have none"}


def largest_row_sum(m):
    return max(abs(sum(row)) for row in m)


def smallest_row_sum(m):
    return min(abs(sum(row)) for row in m)


def largest_sum_of_sizes(m):
    return max(sum(abs(x) for x in row) for row in m)


def columns(m):
    return list(zip(*m, strict=True))


def largest_residual(m):
    return max(abs(sum(row) - 1) for row in m)


def drift(m):
    sums = [abs(sum(line)) for line in (*m, *columns(m))]
    return max(abs(math.log(s)) for s in sums) if all(sums) else math.inf


def to_target(m, target):
    return math.sqrt(sum((x - target(i, j)) ** 2 for i, row in enumerate(m) for j, x in enumerate(row)))


def to_full_mixing(m):
    n = len(m)
    return to_target(m, lambda i, j: 1 / n) / math.sqrt(n - 1) if n > 1 else 0.0


def to_nearest_permutation(m):
    """The best product of m with a permutation, one row after the other, over sets of columns."""
    n = len(m)
    best = {0: 0.0}
    for row in m:
        grown = {}
        for taken, total in best.items():
            for j in range(n):
                if not taken >> j & 1:
                    key = taken | 1 << j
                    grown[key] = max(grown.get(key, -math.inf), total + row[j])
        best = grown
    return math.sqrt(sum(x * x for row in m for x in row) + n - 2 * best[(1 << n) - 1])


def second_root(m):
    """From the characteristic polynomial by Faddeev and LeVerrier."""
    m = np.array(m)
    n = len(m)
    power, polynomial = np.eye(n), [1.0]
    for k in range(1, n + 1):
        product = m @ power
        polynomial.append(-np.trace(product) / k)
        power = product + polynomial[-1] * np.eye(n)
    return sorted(abs(np.roots(polynomial)))[-2] if n > 1 else 0.0


def smallest_gain_of_a_difference(m):
    n = len(m)
    centre = np.eye(n) - 1 / n  # whose own zero comes last, below what is looked for
    return np.linalg.svd(centre @ np.array(m) @ centre, compute_uv=False)[-2] if n > 1 else 0.0


def perplexity(weights):
    shares = [w / sum(weights) for w in weights if w > 0]
    return math.exp(-sum(p * math.log(p) for p in shares))


def row_entropy(m):
    return sum(math.log(perplexity([abs(x) for x in row])) for row in m if any(row)) / len(m)


# A slow twin, and the values at CANCELLING, OPPOSED and HOLLOW by hand. A new metric needs a line here.
TWINS = {
    "amax_forward": (largest_row_sum, (1.0, 0.0, 2.0)),
    "amax_backward": (lambda m: largest_row_sum(columns(m)), (5.0, 0.0, 2.0)),
    "amin_forward": (smallest_row_sum, (0.0, 0.0, 0.0)),
    "amin_backward": (lambda m: smallest_row_sum(columns(m)), (4.0, 0.0, 0.0)),
    "inf_norm": (largest_sum_of_sizes, (10.0, 6.0, 2.0)),
    "one_norm": (lambda m: largest_sum_of_sizes(columns(m)), (6.0, 6.0, 2.0)),
    "spectral_norm": (
        lambda m: np.linalg.svd(np.array(m), compute_uv=False)[0],
        ((25.5 + 625.25**0.5) ** 0.5, 6.0, 2.0),
    ),
    "marginal_drift": (drift, (math.inf, math.inf, math.inf)),
    "row_residual": (largest_residual, (1.0, 1.0, 1.0)),
    "column_residual": (lambda m: largest_residual(columns(m)), (5.0, 1.0, 1.0)),
    "uniformity": (to_full_mixing, (51**0.5, 37**0.5, 3**0.5)),
    "identity_distance": (
        lambda m: to_target(m, lambda i, j: float(i == j)),
        (41**0.5, 26**0.5, 6**0.5),
    ),
    "permutation_distance": (to_nearest_permutation, (41**0.5, 26**0.5, 2**0.5)),
    "sigma_min_meanfree": (smallest_gain_of_a_difference, (5.5, 6.0, 1.0)),
    "second_eigenvalue": (second_root, (1.0, 0.0, 0.0)),
    "effective_rank": (
        lambda m: perplexity(np.linalg.svd(np.array(m), compute_uv=False).tolist()),
        (perplexity([61**0.5 + 41**0.5, 61**0.5 - 41**0.5]), 1.0, 1.0),
    ),
    "row_entropy": (row_entropy, (math.log(2) / 2, math.log(2), 0.0)),
}
AT_IDENTITY_SHIFT_AND_FULL_MIXING = dict.fromkeys(TWINS, (1.0, 1.0, 1.0)) | {
    "marginal_drift": (0.0, 0.0, 0.0),
    "row_residual": (0.0, 0.0, 0.0),
    "column_residual": (0.0, 0.0, 0.0),
    "uniformity": (1.0, 1.0, 0.0),
    "identity_distance": (0.0, 8**0.5, 3**0.5),
    "permutation_distance": (0.0, 0.0, 3**0.5),
    "sigma_min_meanfree": (1.0, 1.0, 0.0),
    "second_eigenvalue": (1.0, 1.0, 0.0),
    "effective_rank": (4.0, 4.0, 1.0),
    "row_entropy": (0.0, 0.0, math.log(4)),
}
# log2 of the metric of the identity times 2**3000 and 2**-3000, and of zeros, for those that have no degree.
SIDE = 3000 * math.log(2)
BEYOND_FLOATS = {
    "marginal_drift": (math.log2(SIDE), math.log2(SIDE), math.inf),
    "row_residual": (3000.0, 0.0, 0.0),
    "column_residual": (3000.0, 0.0, 0.0),
    "uniformity": (3001 - math.log2(3) / 2, -math.log2(3) / 2, -math.log2(3) / 2),
    "identity_distance": (3001.0, 1.0, 1.0),
    "permutation_distance": (3001.0, 1.0, 1.0),
}


def as_kind(array, kind):
    array = np.asarray(array, dtype=np.float32 if kind.endswith("32") else np.float64)
    return torch.from_numpy(array) if kind.startswith("torch") else array


def measured(name, array, kind="numpy64"):
    given = as_kind(array, kind)
    found = METRICS[name].measure(given)
    assert found.dtype == given.dtype and type(found) in (type(given), np.float64, np.float32)
    return np.asarray(found, dtype=np.float64)


def signed(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def close(found, expected, name, kind="numpy64"):
    slack = TOLERANCE[kind] * ILL_CONDITIONED.get(name, 1.0)
    np.testing.assert_allclose(found, expected, rtol=slack, atol=slack)


def test_the_folder_was_found():
    assert set(METRICS) >= {"amax_forward", "amax_backward", "inf_norm", "one_norm", "spectral_norm"}
    assert set(METRICS) == set(TWINS)
    assert {name for name, metric in METRICS.items() if metric.DEGREE is None} == set(BEYOND_FLOATS)


@every_metric
def test_describes_itself(name):
    metric = METRICS[name]
    first, _, rest = metric.__doc__.partition("\n")
    assert first == f"{metric.TITLE}." and "Formula: " in rest
    assert metric.FORMULA.split(" = ")[0] in rest and metric.REFERENCE
    assert isinstance(metric.IDEAL, float) or metric.IDEAL == "n"
    assert metric.DEGREE in (0, 1, None) and hasattr(metric, "scaled") == (metric.DEGREE is None)
    assert set(getattr(metric, "SCOPES", SCOPES)) <= set(SCOPES)


def test_no_two_metrics_share_a_title():
    assert len({m.TITLE for m in METRICS.values()}) == len(METRICS)


@every_metric
@every_kind
def test_values_known_by_hand(name, kind):
    for matrices, expected in (
        ((CANCELLING, OPPOSED, HOLLOW), TWINS[name][1]),
        ((EYE, SHIFT, MIXED), AT_IDENTITY_SHIFT_AND_FULL_MIXING[name]),
    ):
        close([measured(name, m, kind) for m in matrices], expected, name, kind)
    ideal = METRICS[name].IDEAL
    close(measured(name, EYE, kind), 4.0 if ideal == "n" else ideal, name, kind)


@every_kind
def test_amplification_and_attenuation_drift_alike(kind):
    found = measured("marginal_drift", [np.diag([1.5, 1.0]), np.diag([1.0, 1 / 1.5]), -np.eye(2)], kind)
    np.testing.assert_allclose(found, [math.log(1.5), math.log(1.5), 0.0], rtol=TOLERANCE[kind])


@pytest.mark.parametrize(
    "name, shape",
    [
        (name, shape)
        for shape in [(1, 1), (2, 2), (3, 3), (4, 4), (9, 9), (3, 2), (2, 5)]
        for name in METRICS
        if shape[0] == shape[1] or name not in SQUARE
    ],
)
@every_kind
def test_agrees_with_its_slow_twin_on_signed_matrices(name, shape, kind):
    matrices = signed(50, *shape, seed=shape[0])
    given = np.asarray(as_kind(matrices, kind), dtype=np.float64)
    close(measured(name, matrices, kind), [TWINS[name][0](m.tolist()) for m in given], name, kind)


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].DEGREE is not None])
@pytest.mark.parametrize("factor", [2.0**-40, 0.3, 1.0, 7.7, 1e50])
def test_scales_with_its_degree(name, factor):
    matrices = signed(20, 4, 4)
    expected = factor ** METRICS[name].DEGREE * measured(name, matrices)
    np.testing.assert_allclose(measured(name, factor * matrices), expected, rtol=1e-12)


@pytest.mark.parametrize("name", BEYOND_FLOATS)
@pytest.mark.parametrize("kind", ["numpy64", "torch64"])
def test_without_a_degree_it_takes_the_exponent_along(name, kind):
    exponents = np.array([[-300.0, -40, -3, -1], [0, 1, 60, 500]])
    matrices = signed(2, 4, 4, 4)
    close(plain(name, matrices, exponents, kind), measured(name, matrices * scale(exponents)), name)
    close(plain(name, matrices * 2.0**-700, exponents + 700, kind), plain(name, matrices, exponents), name)
    close(plain(name, matrices * 2.0**500, exponents - 500, kind), plain(name, matrices, exponents), name)
    zeros = plain(name, np.zeros((2, 4, 4, 4)), exponents, kind)
    close(zeros, np.full((2, 4), measured(name, np.zeros((4, 4)))), name)


def plain(name, mantissa, exponent, kind="numpy64"):
    value, power = METRICS[name].scaled(as_kind(mantissa, kind), as_kind(exponent, kind))
    assert value.shape == power.shape == exponent.shape
    return np.asarray(value) * 2.0 ** np.asarray(power)


def scale(exponents):
    return 2.0 ** exponents[..., None, None]


@pytest.mark.parametrize("name", BEYOND_FLOATS)
@pytest.mark.parametrize("kind", ["numpy64", "torch64"])
def test_without_a_degree_it_is_right_beyond_the_range_of_floats(name, kind):
    matrices, exponents = [EYE, EYE, 0 * EYE, 0 * EYE], np.array([3000.0, -3000.0, 3000.0, -3000.0])
    value, power = METRICS[name].scaled(as_kind(matrices, kind), as_kind(exponents, kind))
    high, low, zero = BEYOND_FLOATS[name]
    np.testing.assert_allclose(
        np.log2(np.asarray(value)) + np.asarray(power), [high, low, zero, zero], rtol=1e-13
    )


@pytest.mark.parametrize("name", sorted(set(BEYOND_FLOATS) - {"marginal_drift"}))
def test_a_distance_is_right_where_its_square_is_no_float(name):
    factors = np.array([1e200, 1e-200, 5e-324])[:, None, None]
    far, *near = measured(name, factors * EYE)
    np.testing.assert_allclose(far, 1e200 * 2 ** (BEYOND_FLOATS[name][0] - 3000), rtol=1e-13)
    np.testing.assert_allclose(near, 2 ** BEYOND_FLOATS[name][1], rtol=1e-13)


@pytest.mark.parametrize("size", [1e-6, 1e-12])
def test_a_small_distance_from_a_permutation_keeps_its_digits(size):
    noise = size * np.round(signed(30, 4, 4) * 64) / 64
    near = SHIFT + noise
    expected = np.linalg.norm(near - SHIFT, axis=(1, 2))
    np.testing.assert_allclose(measured("permutation_distance", near), expected, rtol=1e-13)


@every_metric
@every_kind
@pytest.mark.parametrize("streams", [2, 4, 8, 17])
def test_a_batch_gives_what_its_members_give_alone(name, kind, streams):
    matrices = signed(6, 5, streams, streams)
    together = measured(name, matrices, kind)
    assert together.shape == (6, 5)
    alone = [[measured(name, m, kind) for m in row] for row in matrices]
    close(together, alone, name, kind)


@every_metric
@every_kind
def test_a_large_batch_gives_what_small_ones_give(name, kind):
    matrices = signed(3, 11_000, 4, 4)  # more than one block
    parts = [measured(name, part, kind) for part in np.split(matrices[:, ::50], 10, axis=1)]
    close(measured(name, matrices, kind)[:, ::50], np.concatenate(parts, axis=1), name, kind)


@every_metric
@every_kind
def test_a_batch_may_be_empty(name, kind):
    assert measured(name, np.zeros((0, 3, 4, 4)), kind).shape == (0, 3)


@every_metric
@every_kind
@pytest.mark.parametrize("copies", [1, 50])
def test_what_is_not_finite_stays_so_and_leaves_its_neighbours_alone(name, kind, copies):
    matrices = np.tile(signed(17, 4, 4), (copies, 1, 1))
    clean = measured(name, matrices, kind)
    for bad in (np.nan, np.inf, -np.inf):
        for entry in range(16):
            matrices[entry].flat[entry] = bad
        found = measured(name, matrices, kind)
        assert (found[16:] == clean[16:]).all()
        assert np.isnan(found[:16]).all() if np.isnan(bad) else not np.isfinite(found[:16]).any()


@every_metric
def test_gradient_is_right_and_finite(name):
    measure = METRICS[name].measure
    smooth = torch.from_numpy(signed(5, 4, 4)).requires_grad_()
    assert torch.autograd.gradcheck(measure, smooth)
    if name in NO_GRADIENT_AT:
        return
    for matrix in (EYE, SHIFT, MIXED, CANCELLING, OPPOSED, HOLLOW, np.zeros((3, 3))):
        for kind in ("torch64", "torch32"):
            given = as_kind(matrix, kind).clone().requires_grad_()
            measure(given).backward()
            assert torch.isfinite(given.grad).all(), matrix


# Constants of theory.


@pytest.mark.parametrize("rho, rank", [(1.0, 4.0), (0.5, 3.7893), (0.1, 2.2116), (0.01, 1.1778)])
def test_effective_rank_of_what_is_between_full_mixing_and_the_identity(rho, rank):
    assert measured("effective_rank", MIXED + rho * (EYE - MIXED)) == pytest.approx(rank, abs=5e-5)


def test_nothing_passes_where_all_is_zero():
    assert measured("effective_rank", np.zeros((4, 4))) == 0
    assert measured("row_entropy", np.zeros((4, 4))) == 0


@pytest.mark.parametrize("streams", [2, 3, 4, 8, 16])
def test_full_mixing_is_as_far_from_the_identity_as_from_any_permutation(streams):
    mixed = np.full((streams, streams), 1 / streams)
    for name in ("identity_distance", "permutation_distance"):
        assert measured(name, mixed) == pytest.approx(math.sqrt(streams - 1), rel=1e-13)


@pytest.mark.parametrize(
    "bias, second", [(4, 0.930553325103), (6, 0.990158177609), (8, 0.998659498553), (10, 0.999818425011)]
)
def test_a_bias_on_the_diagonal_keeps_this_share_of_the_differences(bias, second):
    logits = bias * EYE
    matrix = np.exp(logits) / np.exp(logits).sum(axis=1)
    for name in ("second_eigenvalue", "sigma_min_meanfree", "uniformity"):
        assert measured(name, matrix) == pytest.approx(second, abs=1e-10)


@pytest.mark.parametrize("name", sorted(SQUARE | {"effective_rank", "marginal_drift", "row_entropy"}))
def test_the_names_of_the_streams_do_not_matter(name):
    matrices = signed(10, 4, 4)
    for order in itertools.permutations(range(4)):
        renamed = matrices[:, order][:, :, order]
        close(measured(name, renamed), measured(name, matrices), name)


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if hasattr(m, "of_singular_values")])
def test_what_comes_from_singular_values_is_what_comes_from_the_matrix(name):
    matrices = signed(40, 4, 4)
    values = np.linalg.svd(matrices, compute_uv=False)
    found = METRICS[name].of_singular_values(values)
    np.testing.assert_allclose(found, measured(name, matrices), rtol=1e-12)
