"""What random mixing does in theory: growth rates in nats per site, and how fast averaging forgets.

psi and psi_1 are the digamma and trigamma functions. Gaussian products: Newman 1986. For I + eps G the law of
a step does not depend on its direction; the exponent is E ln|e_1 + eps g|, half the mean log of a noncentral
chi-square. Two streams: the Sinkhorn limit is [[p, 1 - p], [1 - p, p]], so that eigenvalues multiply.
"""

from __future__ import annotations

import functools
import math

EULER = 0.57721566490153286061
SMALL_SCALE = 0.02  # below it a few terms of the expansion reach 16 digits, and the sum would have thousands


def digamma_half(k: int) -> float:
    """psi(k / 2) for a whole number k >= 1.

    Formula: psi(1) = -gamma, psi(1/2) = -gamma - 2 ln 2, psi(x + 1) = psi(x) + 1/x.

    Example:
        >>> round(digamma_half(4), 12)  # 1 - gamma
        0.422784335098
    """
    x, value = (1.0, -EULER) if k % 2 == 0 else (0.5, -EULER - 2 * math.log(2))
    while 2 * x < k:
        value, x = value + 1 / x, x + 1
    return value


def trigamma_half(k: int) -> float:
    """psi_1(k / 2) for a whole number k >= 1.

    Formula: psi_1(1) = pi^2 / 6, psi_1(1/2) = pi^2 / 2, psi_1(x + 1) = psi_1(x) - 1 / x^2.

    Example:
        >>> round(trigamma_half(4), 12)  # pi^2 / 6 - 1
        0.644934066848
    """
    x, value = (1.0, math.pi**2 / 6) if k % 2 == 0 else (0.5, math.pi**2 / 2)
    while 2 * x < k:
        value, x = value - 1 / x**2, x + 1
    return value


def gaussian_exponent(streams: int, scale: float) -> float:
    """Top exponent of products of scale * G with independent N(0, 1) entries.

    Formula: ln scale + (ln 2 + psi(n / 2)) / 2

    Example:
        >>> round(gaussian_exponent(4, 1.0), 12)
        0.557965757829
    """
    return gaussian_spectrum(streams, scale)[0]


def gaussian_spectrum(streams: int, scale: float) -> tuple[float, ...]:
    """All exponents of products of scale * G, largest first.

    Formula: lambda_k = ln scale + (ln 2 + psi((n - k + 1) / 2)) / 2

    Example:
        >>> [round(x, 9) for x in gaussian_spectrum(2, 1.0)]
        [0.057965758, -0.635181423]
    """
    return tuple(math.log(scale) + (math.log(2) + digamma_half(m)) / 2 for m in range(streams, 0, -1))


def gaussian_variance(streams: int) -> float:
    """Variance of ln|P x| that each site of scale * G adds, for a fixed vector x; it is exact at any depth.

    Formula: psi_1(n / 2) / 4, whatever the scale.

    Example:
        >>> round(gaussian_variance(4), 12)
        0.161233516712
    """
    return trigamma_half(streams) / 4


def gaussian_critical_scale(streams: int) -> float:
    """The scale at which products of scale * G neither grow nor shrink.

    Formula: exp(-(ln 2 + psi(n / 2)) / 2)

    Example:
        >>> round(gaussian_critical_scale(4), 12)
        0.572372224089
    """
    return math.exp(-gaussian_exponent(streams, 1.0))


def near_identity_exponent(streams: int, scale: float) -> float:
    """Top exponent of products of I + scale * G with independent N(0, 1) entries.

    Formula: ln scale + (ln 2 + sum_j Poisson(j; 1 / (2 scale^2)) psi(n / 2 + j)) / 2. For small scales its
    expansion sum_k (scale^2 / 2)^k / k! (n - 2) prod_{p = 2, 4, .., 2k - 2} p (p + 2 - n), which is the heat
    kernel applied to ln |x|.

    Example:
        >>> round(near_identity_exponent(4, 0.5), 12)
        0.240616434545
    """
    if scale < SMALL_SCALE:
        return _near_identity_expansion(streams, scale**2 / 2)
    mean = 1 / (2 * scale**2)
    spread = 12 * math.sqrt(mean) + 40  # the weights beyond are below 1e-30
    low, high = max(0, math.floor(mean - spread)), math.ceil(mean + spread)
    psi = digamma_half(streams + 2 * low)
    terms = []
    for j in range(low, high + 1):
        weight = math.exp(j * math.log(mean) - mean - math.lgamma(j + 1))
        terms.append(weight * (psi - math.log(mean)))
        psi += 1 / (streams / 2 + j)
    return math.fsum(terms) / 2  # ln scale + ln(2 mean)/2 = 0, so only psi - ln mean is left


def _near_identity_expansion(streams: int, half: float) -> float:
    term = half * (streams - 2)
    total, k = 0.0, 1
    while abs(term) > 1e-18 * abs(total):
        total += term
        term *= half * 2 * k * (2 * k + 2 - streams) / (k + 1)
        k += 1
    return total


@functools.cache
def near_identity_scale(streams: int, gain: float, depth: int) -> float:
    """The scale at which I + scale * G grows to a typical gain after so many sites.

    Formula: near_identity_exponent(n, scale) = ln gain / depth, solved by bisection.

    Example:
        >>> round(near_identity_scale(4, 3000, 60), 12)
        0.366100593157
    """
    target = math.log(gain) / depth
    low, high = 0.02, 4.0
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if near_identity_exponent(streams, middle) < target else (low, middle)
    return (low + high) / 2


def two_streams_share(a: float, b: float, c: float, d: float) -> float:
    """The entry p of the Sinkhorn limit [[p, 1 - p], [1 - p, p]] of the logits [[a, b], [c, d]].

    Formula: 1 / (1 + exp(-(a + d - b - c) / 2)); the other eigenvalue 2 p - 1 is tanh((a + d - b - c) / 4),
    its size is the second singular value.

    Example:
        >>> round(two_streams_share(2, 0, 0.5, 1), 10)
        0.7772998612
    """
    half = (a + d - b - c) / 2
    small = math.exp(-abs(half))
    return (1.0 if half >= 0 else small) / (1 + small)


def two_streams_exponent(scale: float) -> float:
    """Second exponent of two streams mixed by the Sinkhorn limits of independent logits scale * N(0, 1).

    Formula: E ln|tanh(scale Z / 2)| with Z of N(0, 1). With Z = e^u the integrand is smooth and dies off at
    both ends, where the trapezoidal rule gains digits exponentially.

    Example:
        >>> round(two_streams_exponent(1.0), 12)
        -1.400542171886
    """
    if scale == 0:
        return -math.inf
    terms = []
    for i in range(-900, 60):
        z = math.exp(i / 20)
        small = math.exp(-abs(scale) * z)
        log_tanh = math.log(-math.expm1(-abs(scale) * z)) - math.log1p(small)
        terms.append(log_tanh * z * math.exp(-z * z / 2))
    return math.fsum(terms) * math.sqrt(2 / math.pi) / 20


def diagonal_bias_eigenvalue(streams: int, bias: float) -> float:
    """Every eigenvalue but the first of the projection of bias * I, which one sweep of Sinkhorn reaches.

    Formula: (e^b - 1) / (e^b + n - 1); on the diagonal stands e^b / (e^b + n - 1).

    Example:
        >>> round(diagonal_bias_eigenvalue(4, 8.0), 12)
        0.998659498553
    """
    less = math.expm1(-abs(bias))
    return -less / (streams + (streams - 1) * less) if bias >= 0 else less / (streams + less)


def diagonal_bias_half_life(streams: int, bias: float) -> float:
    """Sites after which bias * I, projected, has halved the differences between streams; bias above 0.

    Formula: ln 2 / -ln lambda_2, with 1 - lambda_2 = n / (e^b + n - 1).

    Example:
        >>> round(diagonal_bias_half_life(4, 8.0), 1)
        516.7
    """
    small = math.exp(-bias)
    lost = streams * small / (1 + (streams - 1) * small)
    rate = math.log1p(-lost) if lost < 0.5 else math.log(diagonal_bias_eigenvalue(streams, bias))
    return math.log(2) / -rate if rate else math.inf


def eps_attenuation(eps: float, sites: int = 1) -> float:
    """What an eps in every denominator of Sinkhorn leaves of a signal, once the iterations have settled.

    Formula: (1 - eps)^sites. Rows that sum to s become s / (s + eps), and so do columns; alternating, both
    settle where (1 - eps) / (1 - eps + eps) = 1 - eps. A single such division of rows that sum to 1 would
    leave 1 / (1 + eps).

    Example:
        >>> round(eps_attenuation(0.02, 60), 4), round(eps_attenuation(1e-6, 122), 5)
        (0.2976, 0.99988)
    """
    return math.exp(sites * math.log1p(-eps))
