"""Random signals through a deep stack with branches, and random gradients back.

A composite gain leaves the branches out. Here a site does all that it does in a model with pre-norm:

    x_{l+1} = M_l x_l + p_l f_l(h_l x_l),  f_l(u) = g W_l u / rms(u),  W_l of independent N(0, 1/C) entries

with x (n, C). The gradient is delta_l = M_l^T delta_{l+1} + h_l^T J_l^T p_l^T delta_{l+1} with the Jacobian
J_l = (g / rms(u)) W_l (I - v v^T / C), v = u / rms(u). The norm has no eps: f(0) = 0, and J = 0 there.

W is never formed. All that enters is W v and (I - v v^T / C) W^T y, y = p^T delta. What W does to v says
nothing of what it does to the complement of v, so these two are independent given v and y: N(0, I) and
|y| / sqrt(C) (I - v v^T / C) N(0, I). Thus 2 C numbers are drawn in place of C^2, and every gradient is the
exact one of some W that is drawn with the right probability.

Any depth, growth or decay is fine: numbers carry a whole exponent. Beside 1e300 a branch of 1 adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.products import rescale
from mhc_diag.records import Array, MetricCard, Scaled

if TYPE_CHECKING:
    import numpy as np

CHANNELS, GAIN = 16, 1.0
DOMAIN = 1 << 255  # where on its generator a stack draws signals: half-way round, far from its matrices
BLOCK = 1 << 22  # numbers drawn at once: 32 MiB

REFERENCE = "pre-norm branches: arXiv 2002.04745; streams: arXiv 2409.19606 and arXiv 2512.24880, section 3.1"
ACTIVATION_RMS = MetricCard(
    name="activation_rms",
    title="Activation RMS",
    formula="rms over streams and channels of x_{l+1} = M_l x_l + p_l f_l(h_l x_l), for random x_0 of rms 1",
    ideal=1.0,
    degree=None,
    reference=REFERENCE,
)
"""Of scope `prefix`: after every site."""
GRADIENT_RMS = MetricCard(
    name="gradient_rms",
    title="Gradient RMS",
    formula="rms over streams and channels of dloss/dx_l, for a random dloss/dx_L of rms 1",
    ideal=1.0,
    degree=None,
    reference=REFERENCE,
)
"""Of scope `suffix`: at the input of every site."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What becomes of random signals: pairs (value, exponent) of shape (L, T), for value * 2**exponent."""

    activation: tuple[Array, Array]
    """RMS after every site, of an input of RMS 1."""
    gradient: tuple[Array, Array]
    """RMS at the input of every site, of an output gradient of RMS 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """What is random: L sites, T stacks, n streams, C channels."""

    start: Array
    """(T, n, C): the input, of RMS 1 in every stack."""
    end: Array
    """(T, n, C): the gradient of the output, of RMS 1 in every stack."""
    branches: Array
    """(2, L, T, C) of N(0, 1): outputs forward, and what becomes of gradients backward."""


@dataclass(frozen=True, slots=True, eq=False)
class _Norms:
    """What the norms of the forward pass leave for the backward pass, all sites."""

    unit: np.ndarray[Any, Any]
    """(L, T, C): v = u / rms(u)."""
    inverse: np.ndarray[Any, Any]
    """(L, T): 1 / rms(u), to be multiplied by 2**-exponent; 0 for u = 0."""
    exponent: np.ndarray[Any, Any]


def propagate(
    matrices: Array,
    *,
    pre: Array | None = None,
    post: Array | None = None,
    gain: float = GAIN,
    channels: int = CHANNELS,
    seed: int = 0,
    first: int = 0,
) -> Signals:
    """Activation and gradient RMS at every site of every stack.

    With gain 0 only the mixing is left: the mean square over the draws is ||Phi||_F^2 / n of the composite.
    A matrix that is not finite spoils the numbers of its own stack and of no other.

    Args:
        matrices: (L, T, n, n), numpy, out x in.
        pre: (L, T, n) or (n,), how branches read the streams: the mean if none is given. The norm makes its
            scale irrelevant. Hyper-Connections start by reading one stream, another at each site.
        post: (L, T, n) or (n,), how they write: 1 to every stream if none is given, as Hyper-Connections
            start.
        gain: g, the typical RMS of a branch's output.
        channels: C.
        seed: stack k of a seed is the same in whatever group of stacks it comes.
        first: number k of the first stack given.

    Raises:
        MhcDiagError: the gain or the number of channels makes no sense.

    Example:
        >>> import numpy as np
        >>> doubling = np.broadcast_to(2 * np.eye(4), (2000, 1, 4, 4))
        >>> value, exponent = propagate(doubling, gain=0).activation
        >>> (np.log2(value) + exponent)[[0, -1], 0].tolist()
        [1.0, 2000.0]
    """
    import numpy as np

    if not 0 <= gain <= 1e100:
        raise MhcDiagError(f"the gain of the branches is {gain}", hint="choose a finite gain of 0 or more")
    if channels < 1:
        raise MhcDiagError(f"the number of channels is {channels}", hint="choose 1 or more")
    depth, stacks, n = matrices.shape[:3]
    reads = np.broadcast_to(np.full(n, 1 / n) if pre is None else pre, (depth, stacks, n))
    writes = np.broadcast_to(np.ones(n) if post is None else post, (depth, stacks, n))
    found = np.empty((4, depth, stacks))
    size = max(1, BLOCK // (2 * depth * channels))
    for low in range(0, stacks, size):
        block = slice(low, min(low + size, stacks))
        mixing = _contiguous(matrices[:, block])
        read = _contiguous(reads[:, block, None, :]).mantissa
        write = _contiguous(writes[:, block, :, None])
        write = Scaled(gain * write.mantissa, write.exponent)
        noise = draw(seed, range(first + low, first + block.stop), depth, n, channels)
        with np.errstate(invalid="ignore"):
            found[:2, :, block], norms = _forward(mixing, read, write, noise)
            found[2:, :, block] = _backward(mixing, read, write, noise, norms)
    return Signals((found[0], found[1]), (found[2], found[3]))


def draw(seed: int, stacks: range, depth: int, streams: int, channels: int) -> Noise:
    """What is random of these stacks, each from the Philox generator keyed by (seed, stack).

    The generator starts half-way round its period, where no matrices are drawn. A deeper stack starts with
    the numbers of a shallower one.

    Example:
        >>> draw(0, range(3, 5), depth=2, streams=4, channels=8).branches.shape
        (2, 2, 2, 8)
    """
    import numpy as np

    ends = np.empty((2, len(stacks), streams, channels))
    branches = np.empty((2, depth, len(stacks), channels))
    for place, stack in enumerate(stacks):
        key = np.array([seed, stack], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key, counter=DOMAIN))
        ends[:, place] = generator.standard_normal((2, streams, channels))
        branches[:, :, place] = generator.standard_normal((depth, 2, channels)).swapaxes(0, 1)
    ends /= np.stack([_rms(half) for half in ends])[..., None, None]
    return Noise(ends[0], ends[1], branches)


def _forward(mixing: Scaled, read: Array, write: Scaled, noise: Noise) -> tuple[Array, _Norms]:
    """(2, L, T) value and exponent of the RMS after every site, and what the norms did."""
    import numpy as np

    kicks = noise.branches[0]
    found = np.empty((2, *kicks.shape[:2]))
    norms = _Norms(np.empty_like(kicks), np.empty_like(found[0]), np.empty_like(found[0]))
    x = Scaled(noise.start, np.zeros(kicks.shape[1]))
    for site, kick in enumerate(kicks):
        u = _sum(Scaled(read[site] @ x.mantissa, x.exponent))
        rms = _rms(u.mantissa)
        zero = rms == 0
        inverse = np.where(zero, 0.0, 1 / np.where(zero, 1.0, rms))
        norms.unit[site] = u.mantissa[:, 0] * inverse[:, None]
        norms.inverse[site], norms.exponent[site] = inverse, u.exponent
        output = np.where(zero[:, None], 0.0, kick)[:, None, :]
        x = _sum(
            Scaled(mixing.mantissa[site] @ x.mantissa, mixing.exponent[site] + x.exponent),
            Scaled(write.mantissa[site] * output, write.exponent[site]),
        )
        found[:, site] = _rms(x.mantissa), x.exponent
    return found, norms


def _backward(mixing: Scaled, read: Array, write: Scaled, noise: Noise, norms: _Norms) -> Array:
    """(2, L, T) value and exponent of the RMS of the gradient at the input of every site."""
    import numpy as np

    found = np.empty((2, *norms.inverse.shape))
    delta = Scaled(noise.end, np.zeros(found.shape[2]))
    for site in reversed(range(found.shape[1])):
        v, kick = norms.unit[site], noise.branches[1, site]
        across = kick - v * np.mean(v * kick, axis=-1, keepdims=True)  # (I - v v^T / C) N(0, I)
        y = _sum(Scaled(write.mantissa[site].mT @ delta.mantissa, delta.exponent))
        size = _rms(y.mantissa) * norms.inverse[site]  # |y| / sqrt(C) / rms(u)
        delta = _sum(
            Scaled(mixing.mantissa[site].mT @ delta.mantissa, mixing.exponent[site] + delta.exponent),
            Scaled(
                read[site].mT * (size[:, None] * across)[:, None, :],
                write.exponent[site] + y.exponent - norms.exponent[site],
            ),
        )
        found[:, site] = _rms(delta.mantissa), delta.exponent
    return found


def _contiguous(matrices: Array) -> Scaled:
    """Rescaled, in one layout: a product's rounding may depend on the layout."""
    import numpy as np

    return rescale(np.ascontiguousarray(matrices, dtype=np.float64))


def _sum(*terms: Scaled) -> Scaled:
    """The sum of matrices (T, n, C) that may be too far apart to stand beside each other in float64.

    It is rescaled: the largest entry of the larger term is within [1/2, 1).
    """
    import numpy as np

    tops = []
    for term in terms:
        size = np.max(np.abs(term.mantissa), axis=(-2, -1))
        tops.append(np.where(size == 0, -np.inf, term.exponent + np.frexp(size)[1]))
    top = np.max(tops, axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    total: Any = 0.0
    for term in terms:
        shift = np.clip(term.exponent - top, -2200, 2000).astype(np.int32)
        half = shift // 2  # 2**1074 would overflow where 2**537 twice does not
        ups = np.ldexp(1.0, half), np.ldexp(1.0, shift - half)
        total = total + term.mantissa * ups[0][:, None, None] * ups[1][:, None, None]
    return Scaled(total, top)


def _rms(x: Array) -> Array:
    """Root mean square of each matrix: (T, n, C) to (T)."""
    import numpy as np

    return np.sqrt(np.mean(x.reshape(len(x), -1) ** 2, axis=-1))
