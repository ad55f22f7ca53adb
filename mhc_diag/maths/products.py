"""Running products over depth, for every token, as mantissas and exponents that no depth can overflow.

L sites, T tokens, n streams. Later sites stand on the left: prefix l = M_l...M_0, suffix l = M_{L-1}...M_l.
"""

from __future__ import annotations

from collections.abc import Iterator

from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array, Scaled, Scope

BLOCK = 32_768  # matrices in a block: small enough to stay in cache, large enough to hide Python
SITES_BETWEEN_RESCALINGS = 8  # signed entries cancel by up to 53 bits a site
BITS_BETWEEN_RESCALINGS = 400.0  # lost to small entries, of the 1,022 that float64 has below 1


def rescale(mantissa: Array, exponent: Array | None = None) -> Scaled:
    """Take the power of two out of each matrix, so that its largest absolute entry is within [1, 2).

    A power of two changes the exponents of the entries and none of their digits. Zero and non-finite matrices
    stay as they are.

    Args:
        mantissa: (*B, n, n), float64.
        exponent: (*B), what was taken out before; none means 0.

    Example:
        >>> import numpy as np
        >>> s = rescale(np.array([[12.0, 3.0], [0.0, 1.0]]))
        >>> s.mantissa.tolist(), float(s.exponent)
        ([[1.5, 0.375], [0.0, 0.125]], 3.0)
    """
    xp = namespace(mantissa)
    largest = xp.max(xp.abs(mantissa), axis=(-2, -1))
    usable = xp.isfinite(largest) & (largest > 0)
    bits = xp.floor(xp.log2(xp.where(usable, largest, xp.ones_like(largest))))
    half = xp.floor(bits / 2)  # 2**1074 would overflow where 2**537 twice does not
    base = xp.full_like(bits, 2.0)
    scaled = mantissa * xp.pow(base, -half)[..., None, None] * xp.pow(base, half - bits)[..., None, None]
    return Scaled(scaled, bits if exponent is None else exponent + bits)


def composites(matrices: Array, scope: Scope) -> Iterator[tuple[slice, Scaled]]:
    """Single sites, prefixes or suffixes of a stack, in blocks of sites.

    Formula: prefix l = M_l M_{l-1} ... M_0; suffix l = M_{L-1} ... M_l; site l = M_l. Accumulated in float64.

    Args:
        matrices: (L, T, n, n), float32 or float64, out x in.
        scope: which of the three.

    Yields:
        The sites of the block as a slice, and their matrices as Scaled (sites in block, T, n, n), rescaled.

    Example:
        >>> import numpy as np
        >>> doubling = np.full((2000, 1, 1, 1), 2.0)
        >>> *_, (sites, last) = composites(doubling, "prefix")
        >>> float(last.mantissa[-1, 0, 0, 0]), float(last.exponent[-1, 0])  # 2**2000 does not fit a float64
        (1.0, 2000.0)
    """
    xp = namespace(matrices)
    depth, tokens = int(matrices.shape[0]), int(matrices.shape[1])
    sites_in_block = max(1, BLOCK // max(tokens, 1))
    starts = range(0, depth, sites_in_block)
    running: Scaled | None = None
    for start in reversed(starts) if scope == "suffix" else starts:
        block = slice(start, min(start + sites_in_block, depth))
        own = rescale(xp.astype(matrices[block, ...], xp.float64))
        if scope == "site":
            yield block, own
            continue
        running, made = _run(own, running, backwards=scope == "suffix")
        yield block, rescale(made.mantissa, made.exponent)


def _run(own: Scaled, running: Scaled | None, *, backwards: bool) -> tuple[Scaled, Scaled]:
    """Multiply the sites of a block onto the running product; returns that and all products of the block."""
    xp = namespace(own.mantissa)
    losses = _bits_lost(own.mantissa)
    order = range(own.mantissa.shape[0])
    made: list[Scaled] = []
    since, bits = 0, BITS_BETWEEN_RESCALINGS  # what the block before left is unknown, so rescale at once
    for i in reversed(order) if backwards else order:
        matrix, exponent = own.mantissa[i, ...], own.exponent[i, ...]
        if running is None:
            running = Scaled(matrix, exponent)
        else:
            since, bits = since + 1, bits + losses[i]
            if since >= SITES_BETWEEN_RESCALINGS or bits >= BITS_BETWEEN_RESCALINGS:
                running, since, bits = rescale(running.mantissa, running.exponent), 0, losses[i]
            pair = (running.mantissa, matrix) if backwards else (matrix, running.mantissa)
            running = Scaled(xp.matmul(*pair), running.exponent + exponent)
        made.append(running)
    assert running is not None  # a block has at least one site
    if backwards:
        made.reverse()
    return running, Scaled(xp.stack([s.mantissa for s in made]), xp.stack([s.exponent for s in made]))


def _bits_lost(own: Array) -> list[float]:
    """For each site, by how many bits its smallest entry can shrink a product that only it lets through."""
    xp = namespace(own)
    sizes = xp.abs(own)
    below_one = xp.where((sizes > 0) & (sizes < 1), sizes, xp.ones_like(sizes))
    return (-xp.log2(xp.min(below_one, axis=(-3, -2, -1)))).tolist()
