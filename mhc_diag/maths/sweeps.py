"""The paper's gains of all prefixes and suffixes by vectors: n^2 operations a site where products take n^3.

Formula: forward gain of prefix l = max_i abs(v_i), v = M_l ... M_0 ones, which is M_l times the v before;
backward gain of suffix l = max_j abs(w_j), w = ones' M_{L-1} ... M_l, which is the w after it times M_l.
L sites, T tokens, n streams. A gain is value * 2**exponent, so that none can over- or underflow.
"""

from __future__ import annotations

from mhc_diag.maths.blocks import each, lines, slices, total
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import on_cpu
from mhc_diag.maths.products import rescale
from mhc_diag.records import COMPOSITE, DIRECTIONS, Array, Direction, Scope

Pair = tuple[Array, Array]
ENTRIES = 65_536  # of the matrices of a site in a block: with less, threads wait for each other
STEPS = 8  # between two looks at how large the vectors have become
SAFE = 2.0**400  # vectors up to here and down to its inverse go on as they are


def composite_gains(matrices: Array) -> dict[Direction, Pair]:
    """Amax gains of the composites: forward of every prefix, backward of every suffix, in float64.

    Args:
        matrices: (L, T, n, n), out x in, of any floating type. Gradients are not followed.

    Returns:
        By direction (value, exponent), each (L, T); NaN or infinite from the first site on that is.

    Example:
        >>> import numpy as np
        >>> doubling = np.full((2000, 1, 1, 1), 2.0)
        >>> value, exponent = composite_gains(doubling)["forward"]
        >>> float(np.log2(value[-1, 0]) + exponent[-1, 0])  # 2**2000 does not fit a float64
        2000.0
    """
    import numpy as np

    if hasattr(matrices, "detach"):
        matrices = matrices.detach()
    xp = namespace(matrices)
    depth, tokens, n, _ = matrices.shape
    shape, kind = (depth, tokens), {"dtype": xp.float64, "device": matrices.device}
    made = {d: (xp.zeros(shape, **kind), xp.zeros(shape, **kind)) for d in DIRECTIONS}

    def run(cut: slice) -> None:
        part, pairs = matrices[:, cut, ...], {d: (v[:, cut], e[:, cut]) for d, (v, e) in made.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked at again
            if part.shape[1] > 1:
                _Sweep(part, pairs).run()
                return
            # Of one token alone einsum would add up in another order.
            twice = {d: (xp.zeros((depth, 2), **kind), xp.zeros((depth, 2), **kind)) for d in pairs}
            _Sweep(xp.broadcast_to(part, (depth, 2, n, n)), twice).run()
            for d, pair in pairs.items():
                for one, two in zip(pair, twice[d], strict=True):
                    one[...] = two[:, :1]

    cuts = slices(tokens, max(1, ENTRIES // (n * n)) if on_cpu(matrices) else tokens)
    each(run, cuts, threads=xp is np)
    return made


def site_gains(matrices: Array) -> dict[Direction, Pair]:
    """Amax gains of the single sites, in both directions.

    Args:
        matrices: (L, T, n, n), out x in, of any floating type. Gradients are not followed.

    Returns:
        By direction (value, exponent), each (L, T).

    Example:
        >>> import numpy as np
        >>> found = site_gains(np.array([[[[5.0, -5.0], [0.0, 1.0]]]]))
        >>> {direction: value.item() for direction, (value, _) in found.items()}
        {'forward': 1.0, 'backward': 5.0}
    """
    depth, tokens, *square = matrices.shape
    found = composite_gains(namespace(matrices).reshape(matrices, (1, depth * tokens, *square)))
    shape = (depth, tokens)
    return {direction: (v.reshape(shape), e.reshape(shape)) for direction, (v, e) in found.items()}


def paper_gains(matrices: Array) -> dict[tuple[str, Scope], Pair]:
    """The curves of arXiv 2512.24880 by metric and scope: both gains of the sites and of the composites.

    Args:
        matrices: (L, T, n, n), out x in, of any floating type. Gradients are not followed.

    Returns:
        (value, exponent), each (L, T), as `amax_forward` and `amax_backward` measure.

    Example:
        >>> import numpy as np
        >>> for metric, scope in paper_gains(np.ones((1, 1, 2, 2))):
        ...     print(metric, scope)
        amax_forward site
        amax_backward site
        amax_forward prefix
        amax_backward suffix
    """
    sites: dict[tuple[str, Scope], Pair] = {
        (COMPOSITE[direction][0], "site"): pair for direction, pair in site_gains(matrices).items()
    }
    return sites | {COMPOSITE[direction]: pair for direction, pair in composite_gains(matrices).items()}


class _Sweep:
    """A block of tokens: two vectors of each go from site to site, one from either end, and leave gains."""

    def __init__(self, matrices: Array, gains: dict[Direction, Pair]) -> None:
        self.xp = xp = namespace(matrices)
        self.depth, tokens, n, _ = matrices.shape
        self.matrices, self.gains = matrices, gains
        kind = {"dtype": xp.float64, "device": matrices.device}
        self.planes = xp.empty((2, n, n, tokens), **kind)
        """Those of M_l, and of the transpose of M_{L-1-l}."""
        self.vectors, self.before = xp.ones((2, n, tokens), **kind), xp.ones((2, n, tokens), **kind)
        self.taken_out = xp.zeros((2, tokens), **kind)
        self.scaled = False

    def run(self) -> None:
        """Fill in the gains, a few steps at a time; again with a look at each step where they are unsafe."""
        careful = False
        for start in range(0, self.depth, STEPS):
            steps = range(start, min(start + STEPS, self.depth))
            if not careful:
                kept = self.xp.asarray(self.vectors, copy=True)
                largest = [self._step(step) for step in steps]
                if self._is_safe(self.xp.stack(largest)):
                    continue
                self.vectors = kept
            careful = sum(self._careful_step(step) for step in steps) > 0

    def _places(self, step: int) -> tuple[int, int]:
        """The sites of the two vectors."""
        return step, self.depth - 1 - step

    def _step(self, step: int) -> Array:
        """Multiply both vectors with the matrices of their sites; returns the gains (2, t)."""
        xp, made = self.xp, self.before  # whose memory is free
        for planes, site, axes in zip(self.planes, self._places(step), ((1, 2, 0), (2, 1, 0)), strict=True):
            planes[...] = xp.permute_dims(self.matrices[site, ...], axes)
        if xp.__name__ == "numpy":
            xp.einsum("dijt,djt->dit", self.planes, self.vectors, out=made)
        else:  # whose einsum would turn everything round again
            self.planes *= self.vectors[:, None, ...]
            made[...] = total([self.planes[:, :, k, :] for k in range(self.planes.shape[2])])
        self.before, self.vectors = self.vectors, made
        largest = xp.max(xp.abs(made), axis=1)
        self._keep(step, largest)
        return largest

    def _keep(self, step: int, largest: Array) -> None:
        for k, (site, direction) in enumerate(zip(self._places(step), DIRECTIONS, strict=True)):
            value, exponent = self.gains[direction]
            value[site, ...] = largest[k, ...]
            if self.scaled:
                exponent[site, ...] = self.taken_out[k, ...]

    def _is_safe(self, gains: Array) -> bool:
        return bool((self.xp.min(gains) >= 1 / SAFE) & (self.xp.max(gains) <= SAFE))

    def _careful_step(self, step: int) -> bool:
        """A step in which numbers that may have left float64 are computed again; whether there were any."""
        xp, largest = self.xp, self._step(step)
        if self._is_safe(largest):
            return False
        alive = xp.all(xp.isfinite(self.before), axis=1) & xp.any(self.before != 0, axis=1)
        again = alive & ~((largest >= 1 / SAFE) & (largest <= SAFE))
        if not bool(xp.any(again)):
            return False
        self.scaled = True
        for k, site in enumerate(self._places(step)):
            (where,) = xp.nonzero(again[k, ...])
            largest[k, where] = self._multiply_again(k, site, where)
        self._keep(step, largest)
        return True

    def _multiply_again(self, k: int, site: int, where: Array) -> Array:
        """A step of some tokens with the powers of two taken out of matrix, vector and result."""
        xp = self.xp
        matrices = xp.astype(self.matrices[site, ...][where, ...], self.vectors.dtype)
        own = rescale(xp.matrix_transpose(matrices) if k else matrices)
        vector = rescale(xp.permute_dims(self.before[k, ...][:, where], (1, 0))[:, None, :])
        made = total(lines(xp.permute_dims(own.mantissa * vector.mantissa, (1, 2, 0)), 1))
        after = rescale(xp.permute_dims(made, (1, 0))[:, None, :])
        self.vectors[k, ...][:, where] = xp.permute_dims(after.mantissa[:, 0, :], (1, 0))
        self.taken_out[k, where] += own.exponent + vector.exponent + after.exponent
        return xp.max(xp.abs(after.mantissa), axis=(-2, -1))
