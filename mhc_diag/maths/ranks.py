"""Statistics over tokens of plain numbers: by selection instead of sorting, a thread a core.

The numbers are those of `statistics.over_tokens`, to the last bit.
"""

from __future__ import annotations

from mhc_diag.maths import statistics
from mhc_diag.maths.blocks import each, slices
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

ENTRIES = 131_072  # numbers at a time
LEAST, MOST = 2.0**-400, 2.0**400  # between these, numbers stand beside each other in float64


def over_tokens(value: Array, exponent: Array) -> dict[str, tuple[Array, Array]]:
    """Mean, minimum, quantiles and maximum over the last axis, each as (plain value, log10).

    Args:
        value: (L, T), non-negative.
        exponent: (L, T), whole numbers. Where all are 0 and no value is extreme, this is fast.

    Returns:
        By name (mean, min, p01, p05, p50, p95, p99, max), two arrays (L).

    Example:
        >>> import numpy as np
        >>> found = over_tokens(np.array([[6.0, 1.0, 2.0]]), np.zeros((1, 3)))
        >>> {name: float(v[0]) for name, (v, _) in found.items() if name in {"mean", "p50", "max"}}
        {'mean': 3.0, 'p50': 2.0, 'max': 6.0}
    """
    xp = namespace(value)
    parts: dict[int, dict[str, tuple[Array, Array]]] = {}

    def run(rows: slice) -> None:
        some = value[rows, ...], exponent[rows, ...]
        plain = xp.__name__ == "numpy" and _is_plain(*some)
        parts[rows.start] = _plain(*some) if plain else statistics.over_tokens(*some)

    each(run, slices(value.shape[0], max(1, ENTRIES // value.shape[1])), threads=xp.__name__ == "numpy")
    rows = [parts[start] for start in sorted(parts)]
    return {
        name: (xp.concat([row[name][0] for row in rows]), xp.concat([row[name][1] for row in rows]))
        for name in rows[0]
    }


def _is_plain(value: Array, exponent: Array) -> bool:
    return not exponent.any() and bool(value.min() >= LEAST) and bool(value.max() <= MOST)


def _plain(value: Array, exponent: Array) -> dict[str, tuple[Array, Array]]:
    import numpy as np

    last = value.shape[-1] - 1
    below = {name: int(q * last) for name, q in statistics.QUANTILES.items()}
    places = {0, last, *below.values(), *(min(place + 1, last) for place in below.values())}
    ordered = np.partition(value, sorted(places), axis=-1)
    found = {"mean": np.mean(value, axis=-1), "min": ordered[:, 0]}
    for name, q in statistics.QUANTILES.items():
        low, high = ordered[:, below[name]], ordered[:, min(below[name] + 1, last)]
        found[name] = low + (high - low) * (q * last - below[name])
    found["max"] = ordered[:, last]
    bits = np.floor(np.log2(found["max"]))  # as over_tokens takes out, so that the logarithms are the same
    return {name: (v, statistics.log10(np.ldexp(v, -bits.astype(int)), bits)) for name, v in found.items()}
