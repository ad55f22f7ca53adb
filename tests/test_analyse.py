"""Every curve of a small stack against slow loops, and what happens at the ends of float64."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mhc_diag.analyse import analyse
from mhc_diag.maths import products
from mhc_diag.records import MixingStack, Provenance, Site

KINDS = {"numpy": np.asarray, "torch": torch.from_numpy}
TWINS = {
    "amax_forward": lambda a: max(abs(sum(row)) for row in a),
    "amax_backward": lambda a: max(abs(sum(column)) for column in a.T),
    "inf_norm": lambda a: max(sum(abs(x) for x in row) for row in a),
    "one_norm": lambda a: max(sum(abs(x) for x in column) for column in a.T),
    "spectral_norm": lambda a: np.linalg.svd(a, compute_uv=False)[0],
}
STATISTICS = {
    "mean": np.mean,
    "p05": lambda x: np.quantile(x, 0.05),
    "p50": np.median,
    "p95": lambda x: np.quantile(x, 0.95),
    "p99": lambda x: np.quantile(x, 0.99),
    "max": np.max,
}
CURVES = [
    (m, s, t) for m in TWINS for s in ("site", "prefix", "suffix") for t in (*STATISTICS, "of_mean_matrix")
]


def stack_of(matrices, *, token_axis="token", theory=None):
    sites = tuple(Site(f"layers.{depth}", "attn", depth) for depth in range(len(matrices)))
    provenance = Provenance("a test", "simulated", "made by hand", "direct", token_axis)
    return MixingStack("small", matrices, sites, provenance, theory=theory or {})


def signed(depth=7, tokens=5, streams=3, seed=1):
    return np.random.default_rng(seed).standard_normal((depth, tokens, streams, streams))


def slow(matrices, scope):
    """The composites (L, T, n, n), token by token: later sites on the left."""
    made = np.empty_like(matrices)
    for token in range(matrices.shape[1]):
        for site in range(len(matrices)):
            within = {"site": [site], "prefix": range(site + 1), "suffix": range(site, len(matrices))}[scope]
            product = np.eye(matrices.shape[-1])
            for i in within:
                product = matrices[i, token] @ product
            made[site, token] = product
    return made


@pytest.fixture(params=["numpy", "torch", "torch with gradient", "blocks"])
def report(request, monkeypatch):
    matrices = signed()
    if request.param == "blocks":
        monkeypatch.setattr(products, "BLOCK", 10)  # two sites
    if request.param.startswith("torch"):
        matrices = torch.from_numpy(matrices)
    if request.param.endswith("gradient"):
        matrices = matrices.requires_grad_()
    return analyse(stack_of(matrices))


def test_every_curve_against_slow_loops(report):
    made = {scope: slow(signed(), scope) for scope in ("site", "prefix", "suffix")}
    assert {(c.metric, c.scope, c.statistic) for c in report.curves} >= set(CURVES)
    for metric, scope, statistic in CURVES:
        curve = report.curve(metric, scope, statistic)
        if statistic == "of_mean_matrix":
            expected = [TWINS[metric](tokens.mean(axis=0)) for tokens in made[scope]]
        else:
            each = [[TWINS[metric](a) for a in tokens] for tokens in made[scope]]
            expected = [STATISTICS[statistic](tokens) for tokens in each]
        assert curve.value.dtype == curve.log10.dtype == np.float64 and type(curve.value) is np.ndarray
        np.testing.assert_allclose(curve.value, expected, rtol=1e-11)
        np.testing.assert_allclose(curve.log10, np.log10(expected), rtol=1e-11, atol=1e-12)
        if statistic == "max":
            assert curve.token.dtype == np.int64
            assert curve.token.tolist() == [int(np.argmax(tokens)) for tokens in each]
        else:
            assert curve.token is None


def test_the_report_carries_what_the_numbers_mean(report):
    assert (report.name, report.streams, report.tokens, len(report.sites)) == ("small", 3, 5, 7)
    assert {card.name for card in report.cards} >= set(TWINS)
    card = next(card for card in report.cards if card.name == "inf_norm")
    assert (card.formula, card.ideal, card.degree) == ("max_i sum_j abs(A_ij)", 1.0, 1)
    assert report.nonfinite == (0,) * 7
    assert report.provenance.how == "made by hand" and "worst composite gain" in report.summary


def test_a_product_of_means_is_not_what_is_reported():
    matrices = np.array([[[[1.0]], [[3.0]]], [[[3.0]], [[1.0]]]])
    curve = analyse(stack_of(matrices)).curve("amax_forward", "prefix", "of_mean_matrix")
    assert curve.value.tolist() == [2.0, 3.0], "4 would be the product of the means"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("factor", "end"), [(2.0, math.inf), (0.5, 0.0)])
def test_powers_of_two_stay_exact_beyond_float64(kind, factor, end):
    report = analyse(stack_of(KINDS[kind](np.full((2000, 2, 1, 1), factor))))
    assert {c.metric for c in report.curves} >= set(TWINS)
    for curve in (c for c in report.curves if c.metric in TWINS):
        power = {"site": np.ones(2000), "prefix": np.arange(1, 2001), "suffix": np.arange(2000, 0, -1)}
        expected = math.log10(factor) * power[curve.scope]
        np.testing.assert_allclose(curve.log10, expected, rtol=1e-15)
        fits = np.abs(power[curve.scope]) <= 1022
        np.testing.assert_array_equal(curve.value[fits], factor ** power[curve.scope][fits])
        assert curve.value[power[curve.scope] > 1080].tolist() in ([end] * 920, [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_damaged_token(kind, bad):
    matrices = signed()
    clean = analyse(stack_of(matrices))
    matrices[3, 2, 1, 0] = bad
    report = analyse(stack_of(KINDS[kind](matrices)))
    assert report.nonfinite == (0, 0, 0, 1, 0, 0, 0)
    for metric, scope, statistic in CURVES:
        ill = {"site": slice(3, 4), "prefix": slice(3, None), "suffix": slice(0, 4)}[scope]
        curve, before = report.curve(metric, scope, statistic), clean.curve(metric, scope, statistic)
        well = np.ones(7, dtype=bool)
        well[ill] = False
        np.testing.assert_allclose(curve.value[well], before.value[well], rtol=1e-12)
        np.testing.assert_allclose(curve.log10[well], before.log10[well], rtol=1e-11, atol=1e-12)
        if statistic in ("mean", "max", "of_mean_matrix"):
            assert not np.isfinite(curve.value[ill]).any() and not np.isfinite(curve.log10[ill]).any()
        if statistic == "max":
            assert (curve.token[ill] == 2).all()
    assert "1 of 7 sites have matrices that are not finite" in report.summary


def test_a_token_without_mixing_hides_no_other():
    """A zero matrix keeps the exponent it had, which may be far above that of the others."""
    matrices = np.full((3000, 2, 1, 1), 0.5)
    matrices[:1500, 0], matrices[1500, 0] = 2.0, 0.0
    report = analyse(stack_of(matrices))
    for statistic, expected in (("max", 0.5), ("of_mean_matrix", 0.25)):
        last = report.curve("amax_forward", "prefix", statistic).log10[-1]
        assert last == pytest.approx(2999 * math.log10(0.5) + math.log10(expected), rel=1e-13)


def test_zero_and_far_apart_tokens_raise_no_warning():
    """One site with all gains zero beside sites whose tokens are thousands of bits apart."""
    matrices = np.ones((1200, 2, 1, 1))
    matrices[:, 0], matrices[:, 1], matrices[1150] = 4.0, 0.25, 0.0
    report = analyse(stack_of(matrices))
    curve = report.composite("forward")
    assert curve.log10[1149] == pytest.approx(1150 * math.log10(4), rel=1e-13)
    assert (curve.log10[1150:] == -math.inf).all() and (curve.value[1150:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_one_site(kind):
    matrices = signed(depth=1)
    report = analyse(stack_of(KINDS[kind](matrices)))
    for scope in ("site", "prefix", "suffix"):
        expected = max(TWINS["amax_forward"](a) for a in matrices[0])
        np.testing.assert_allclose(report.curve("amax_forward", scope, "max").value, [expected], rtol=1e-14)
    assert [s.name for s in report.scalars] == ["half_life"]  # a growth needs more sites


def test_single_precision_is_composed_in_double():
    matrices = signed(depth=60).astype(np.float32)
    expected = [[TWINS["amax_forward"](a) for a in t] for t in slow(matrices.astype(float), "prefix")]
    found = analyse(stack_of(matrices)).composite("forward").value
    np.testing.assert_allclose(found, np.max(expected, axis=1), rtol=1e-9)


class TestGrowth:
    def test_of_a_constant_factor_is_its_logarithm(self):
        report = analyse(stack_of(np.full((10, 3, 1, 1), 3.0), token_axis="stack", theory={"growth": 1.5}))
        for direction in ("forward", "backward"):
            growth = report.scalar(f"growth_{direction}")
            assert growth.value == pytest.approx(math.log(3), rel=1e-13)
            assert growth.standard_error == pytest.approx(0, abs=1e-15) and growth.expected == 1.5

    @pytest.mark.parametrize("direction", ["forward", "backward"])
    def test_is_the_mean_slope_of_the_farther_half(self, direction):
        matrices = signed(depth=11)
        growth = analyse(stack_of(matrices, token_axis="stack")).scalar(f"growth_{direction}")
        metric, scope = {
            "forward": ("amax_forward", "prefix"),
            "backward": ("amax_backward", "suffix"),
        }[direction]
        gains = np.log([[TWINS[metric](a) for a in tokens] for tokens in slow(matrices, scope)])
        slopes = (gains[10 if direction == "forward" else 0] - gains[5]) / 5
        assert growth.value == pytest.approx(slopes.mean(), rel=1e-10)
        assert growth.standard_error == pytest.approx(slopes.std(ddof=1) / math.sqrt(5), rel=1e-10)
        assert growth.expected is None

    def test_has_no_error_bar_where_tokens_are_not_independent(self):
        assert analyse(stack_of(signed())).scalar("growth_forward").standard_error is None
        assert analyse(stack_of(signed(tokens=1), token_axis="stack")).scalars[0].standard_error is None


def test_progress_adds_up_to_three_times_the_matrices(monkeypatch):
    monkeypatch.setattr(products, "BLOCK", 10)
    told = SimpleNamespace(done=0)

    def advance(done):
        told.done += done

    analyse(stack_of(signed()), progress=advance)
    assert told.done == 3 * 7 * 5
