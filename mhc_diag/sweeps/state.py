"""What was measured of some parts, as arrays that any numpy reads: the file that a sweep goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mhc_diag.curves import CurveTable, MeanMatrices
from mhc_diag.maths.statistics import QUANTILES
from mhc_diag.maths.tally import Tally, Window
from mhc_diag.measuring import Measurement, Place
from mhc_diag.records import DIRECTIONS, SCOPES, Curve, Scaled, Scope
from mhc_diag.scalars import Moments

Arrays = dict[str, Any]


def to_arrays(found: Measurement) -> Arrays:
    """A measurement as arrays by name."""
    import numpy as np

    parts = sorted(found.tokens)
    made: Arrays = {
        "parts": np.array([(part, found.tokens[part]) for part in parts], dtype=np.int64),
        "nonfinite": found.nonfinite,
    }
    for direction, worst in found.worst.parts.items():
        made[f"worst/{direction}"] = np.concatenate(worst)
    for scope, means in found.means.items():
        kept = [means.parts[part][1] for part in parts]
        made[f"mean/{scope}/mantissa"] = np.stack([k.mantissa for k in kept])
        made[f"mean/{scope}/exponent"] = np.stack([k.exponent for k in kept])
    for name in found.moments[parts[0]]:
        each = [found.moments[part][name] for part in parts]
        made[f"moments/{name}"] = np.array([(m.count, m.total, m.squares) for m in each])
    for (metric, scope, statistic), curve in found.table.made.items():
        made[f"curve/{metric}/{scope}/{statistic}"] = np.stack([curve.value, curve.log10])
        if curve.token is not None:
            made[f"token/{metric}/{scope}/{statistic}"] = curve.token
    for (metric, scope), tally in found.table.tallies.items():
        made |= {f"tally/{metric}/{scope}/{name}": array for name, array in _of_tally(tally).items()}
    return made


def from_arrays(arrays: Mapping[str, Any], depth: int, streams: int, total: int) -> Measurement:
    """The measurement again.

    Raises:
        KeyError, ValueError, IndexError, TypeError: the arrays are none of a measurement.
    """
    parts = {int(part): int(tokens) for part, tokens in arrays["parts"]}
    first = min(parts)
    found = Measurement(depth, streams, parts[first], Place(first, 0, total))
    found.tokens = parts
    found.nonfinite += arrays["nonfinite"]
    for direction in DIRECTIONS:
        found.worst.parts[direction] = [arrays[f"worst/{direction}"]]
    for scope in SCOPES:
        found.means[scope] = _means(arrays, scope, parts, found.means[scope])
    moments: dict[int, dict[str, Moments]] = {part: {} for part in parts}
    for name in _under("moments/", arrays):
        for part, numbers in zip(parts, arrays[f"moments/{name}"].tolist(), strict=True):
            moments[part][name] = Moments(int(numbers[0]), *numbers[1:])
    found.moments = moments
    _fill(found.table, arrays, parts)
    return found


def _means(
    arrays: Mapping[str, Any], scope: Scope, parts: dict[int, int], room: MeanMatrices
) -> MeanMatrices:
    mantissa, exponent = arrays[f"mean/{scope}/mantissa"], arrays[f"mean/{scope}/exponent"]
    _shaped(mantissa, (len(parts), *next(iter(room.parts.values()))[1].mantissa.shape))
    _shaped(exponent, mantissa.shape[:2])
    room.parts = {
        part: (tokens, Scaled(mantissa[k], exponent[k])) for k, (part, tokens) in enumerate(parts.items())
    }
    return room


def _fill(table: CurveTable, arrays: Mapping[str, Any], parts: dict[int, int]) -> None:
    for name in _under("curve/", arrays):
        metric, scope, statistic = name.split("/")
        value, log10 = _shaped(arrays[f"curve/{name}"], (2, table.depth))
        curve = Curve(metric, _scope(scope), statistic, value, log10, arrays.get(f"token/{name}"))
        table.made[metric, curve.scope, statistic] = curve
    for name in dict.fromkeys(name.rpartition("/")[0] for name in _under("tally/", arrays)):
        metric, scope = name.split("/")
        own = {
            which: arrays[f"tally/{name}/{which}"]
            for which in ("sums", "rows", "token", "counts", *QUANTILES)
        }
        table.tallies[metric, _scope(scope)] = _tally(own, table, parts)


def _of_tally(tally: Tally) -> Arrays:
    import numpy as np

    windows = {name: tally.window(name) for name in QUANTILES}
    edges = [edge for window in windows.values() for edge in (window.floor, window.ceiling)]
    return {
        "sums": np.stack([tally.sums[part] for part in sorted(tally.sums)]),
        "rows": np.stack([tally.least, tally.most, *edges]),
        "token": tally.token,
        "counts": np.array([(window.seen, window.low) for window in windows.values()], dtype=np.int64),
        **{name: window.kept for name, window in windows.items()},
    }


def _tally(own: Arrays, table: CurveTable, parts: dict[int, int]) -> Tally:
    tally, depth = Tally(table.depth, table.total), table.depth
    _shaped(own["sums"], (len(parts), depth))
    tally.sums = dict(zip(parts, own["sums"], strict=True))
    tally.least, tally.most, *edges = _shaped(own["rows"], (2 + 2 * len(QUANTILES), depth))
    tally.token = _shaped(own["token"], (depth,))
    for k, (name, q) in enumerate(QUANTILES.items()):
        seen, low = (int(count) for count in own["counts"][k])
        kept = own[name]
        _shaped(kept, (depth, kept.shape[-1]))
        tally.windows[name] = [Window(q, table.total, seen, low, kept, edges[2 * k], edges[2 * k + 1])]
    return tally


def _under(prefix: str, arrays: Mapping[str, Any]) -> list[str]:
    return [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]


def _scope(name: str) -> Scope:
    return SCOPES[[str(scope) for scope in SCOPES].index(name)]


def _shaped(array: Any, shape: tuple[int, ...]) -> Any:
    if array.shape != shape:
        raise ValueError(f"an array of shape {array.shape}, expected {shape}")
    return array
