"""Closed forms against constants from 30-digit arithmetic, and against their definitions by quadrature."""

import math

import mpmath
import numpy as np
import pytest

from mhc_diag.maths.theory import (
    SMALL_SCALE,
    diagonal_bias_eigenvalue,
    diagonal_bias_half_life,
    digamma_half,
    eps_attenuation,
    gaussian_critical_scale,
    gaussian_exponent,
    gaussian_spectrum,
    gaussian_variance,
    near_identity_exponent,
    near_identity_scale,
    trigamma_half,
    two_streams_exponent,
    two_streams_share,
)

GAUSSIAN = {2: 0.0579657578292062, 4: 0.557965757829206, 8: 0.974632424495873}
CRITICAL_SCALE = {2: 0.943682260612702, 4: 0.572372224088531, 8: 0.377331025717353}
NEAR_IDENTITY = {
    2: {0.2: 1.38697e-7, 0.3: 3.0048542790705e-4, 0.5: 0.0244502553540306, 1: 0.27988679738808},
    4: {0.2: 0.0399999896311003, 0.3: 0.0899525526153545, 0.5: 0.240616434544877, 1: 0.673356137675447},
    8: {0.2: 0.110911999648344, 0.3: 0.227224634475361, 0.5: 0.490616434544877, 1: 1.03417217939965},
}


def test_digamma_at_halves():
    gamma = 0.5772156649015329
    exact = {1: -gamma - 2 * math.log(2), 2: -gamma, 3: 2 - gamma - 2 * math.log(2), 6: 1.5 - gamma}
    for k, value in exact.items():
        assert digamma_half(k) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("streams", GAUSSIAN)
def test_gaussian_products(streams):
    assert gaussian_exponent(streams, 1.0) == pytest.approx(GAUSSIAN[streams], abs=1e-14)
    assert gaussian_exponent(streams, 3.0) == pytest.approx(GAUSSIAN[streams] + math.log(3), abs=1e-14)
    assert gaussian_exponent(streams, CRITICAL_SCALE[streams]) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(("streams", "scale"), [(n, s) for n, row in NEAR_IDENTITY.items() for s in row])
def test_near_identity_products(streams, scale):
    expected = NEAR_IDENTITY[streams][scale]
    assert near_identity_exponent(streams, scale) == pytest.approx(expected, abs=5e-13)


@pytest.mark.parametrize("streams", [3, 5])
def test_odd_numbers_of_streams_by_quadrature(streams):
    """E ln |e_1 + s g| over the plane of g_1 and the length of the rest."""
    x = np.linspace(-10, 10, 4001)
    weight = np.exp(-(x**2) / 2)
    radius = np.linspace(0, 10, 1001)
    density = radius ** (streams - 2) * np.exp(-(radius**2) / 2)
    for scale in (0.3, 1.0):
        lengths = (1 + scale * x[:, None]) ** 2 + (scale * radius) ** 2
        inner = np.log(np.maximum(lengths, 1e-300)) @ density / (2 * density.sum())
        expected = weight @ inner / weight.sum()
        assert near_identity_exponent(streams, scale) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("streams", [1, 2, 3, 4, 8, 64])
def test_small_scales_go_on_where_the_sum_ends(streams):
    below = near_identity_exponent(streams, SMALL_SCALE * (1 - 1e-12))
    assert below == pytest.approx(near_identity_exponent(streams, SMALL_SCALE), rel=1e-9, abs=1e-14)
    for scale in (0.0, 1e-200, 1e-8, 1e-5):  # at once: the sum would take hours or divide by zero
        expected = (streams - 2) * scale**2 / 2
        assert near_identity_exponent(streams, scale) == pytest.approx(expected, rel=1e-7)


def test_four_streams_at_small_scales_have_a_closed_form():
    for scale in (1e-3, 0.01, 0.019, 0.02, 0.05):
        assert near_identity_exponent(4, scale) == pytest.approx(scale**2, rel=1e-11)


def test_large_scales_forget_the_identity():
    assert near_identity_exponent(4, 1e100) == pytest.approx(gaussian_exponent(4, 1e100), rel=1e-14)


def test_scale_for_a_typical_gain():
    assert near_identity_scale(4, 3000, 60) == pytest.approx(0.366100593157, abs=1e-12)
    for streams in (2, 3, 8, 64):
        scale = near_identity_scale(streams, 3000, 60)
        assert near_identity_exponent(streams, scale) == pytest.approx(math.log(3000) / 60, rel=1e-12)


def test_trigamma_at_halves():
    for k in (1, 2, 3, 4, 9, 16, 41):
        assert trigamma_half(k) == pytest.approx(sum_of_squares(k / 2), rel=1e-12)


def sum_of_squares(x):
    """psi_1(x) = sum_j (x + j)^-2 with the tail as an Euler-Maclaurin integral."""
    end = x + 200_000
    return math.fsum((x + j) ** -2 for j in range(200_000)) + 1 / end + 0.5 / end**2 + 1 / (6 * end**3)


@pytest.mark.parametrize("streams", [2, 3, 7])
def test_the_gaussian_spectrum_adds_up_to_the_determinant(streams):
    """|det G| is a product of independent chi variables with 1 to n degrees of freedom."""
    chi = sum((math.log(2) + float(mpmath.digamma(m / mpmath.mpf(2)))) / 2 for m in range(1, streams + 1))
    found = gaussian_spectrum(streams, 2.0)
    assert sum(found) == pytest.approx(chi + streams * math.log(2), rel=1e-13)
    assert list(found) == sorted(found, reverse=True) and len(found) == streams
    assert found[0] == gaussian_exponent(streams, 2.0)


@pytest.mark.parametrize("streams", [1, 3, 8])
def test_the_gaussian_variance_by_quadrature(streams):
    def moment(k):
        def integrand(r):
            return mpmath.log(r) ** k * r ** (streams - 1) * mpmath.exp(-(r**2) / 2)

        return mpmath.quad(integrand, [0, 1, 4, 15]) / (2 ** (streams / 2 - 1) * mpmath.gamma(streams / 2))

    expected = float(moment(2) - moment(1) ** 2)
    assert gaussian_variance(streams) == pytest.approx(expected, rel=1e-10)


def test_the_critical_scale_has_no_growth():
    for streams in (2, 3, 16):
        assert gaussian_exponent(streams, gaussian_critical_scale(streams)) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("scale", [1e-8, 0.1, 0.5, 1.0, 2.0, 4.0, 50.0])
def test_the_second_exponent_of_two_streams_by_quadrature(scale):
    """In 30 digits, split where the logarithm is singular and where the tanh has come to rest."""
    with mpmath.workdps(30):
        rest = min(10 / scale, 12)
        points = sorted({mpmath.mpf(0), mpmath.mpf(rest) / 100, mpmath.mpf(rest), mpmath.mpf(14)})
        total = mpmath.quad(lambda z: mpmath.log(mpmath.tanh(scale * z / 2)) * mpmath.npdf(z), points)
    assert two_streams_exponent(scale) == pytest.approx(float(2 * total), rel=1e-12)
    assert two_streams_exponent(-scale) == two_streams_exponent(scale)


def test_two_streams_with_no_logits_are_averaged_at_once():
    assert two_streams_exponent(0.0) == -math.inf
    assert two_streams_share(1.0, 1.0, 1.0, 1.0) == 0.5


@pytest.mark.parametrize("difference", [-2000.0, -40.0, -1.0, 0.3, 40.0, 2000.0])
def test_the_share_of_two_streams_at_any_logits(difference):
    with mpmath.workdps(900):
        expected = float(1 / (1 + mpmath.exp(-mpmath.mpf(difference) / 2)))
    for logits in (
        (difference, 0, 0, 0),
        (0, -difference, 0, 0),
        (0, 0, -difference, 0),
        (0, 0, 0, difference),
    ):
        assert two_streams_share(*logits) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("bias", [-800.0, -3.0, -1e-9, 0.0, 1e-9, 0.5, 8.0, 30.0, 800.0])
@pytest.mark.parametrize("streams", [2, 4, 16])
def test_the_eigenvalue_of_a_diagonal_bias(streams, bias):
    with mpmath.workdps(400):
        power = mpmath.exp(bias)
        eigenvalue = (power - 1) / (power + streams - 1)
        half_life = mpmath.log(2) / -mpmath.log(eigenvalue) if bias > 0 else None
    assert diagonal_bias_eigenvalue(streams, bias) == pytest.approx(float(eigenvalue), rel=1e-13, abs=1e-24)
    if 0 < bias < 700:
        assert diagonal_bias_half_life(streams, bias) == pytest.approx(float(half_life), rel=1e-12)


def test_a_bias_beyond_float64_lasts_for_ever():
    assert diagonal_bias_half_life(4, 800.0) == math.inf


@pytest.mark.parametrize("eps", [1e-6, 0.02, 0.3])
def test_eps_attenuation_is_where_the_alternation_comes_to_rest(eps):
    total = 1.0
    for _ in range(200):
        total /= total + eps
    assert eps_attenuation(eps) == pytest.approx(total, rel=1e-13)
    assert eps_attenuation(eps, 60) == pytest.approx(total**60, rel=1e-11)
