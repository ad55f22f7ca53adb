"""Dtypes of the mixing parameters.

A dtype with m bits of mantissa rounds a number by at most 2^-(m + 1) of itself: bfloat16 by 0.4 %, float16 by
0.05 %. Parameters that are stored so are off by that, which matters for logits far from 0. Where the matrix
itself is computed so, or stored, its row and column sums are off by about half as much, 2e-3 for bfloat16, at
every site, and the composite by the product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mhc_diag.records import Observation
from mhc_diag.sources.checkpoint.audit.places import joined
from mhc_diag.sources.checkpoint.audit.seen import Seen
from mhc_diag.sources.families import FoundSite
from mhc_diag.sources.files.tensors import TensorFile

MANTISSA = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
EIGHT_BITS = {"e4m3": 3, "e5m2": 2, "e8m0": 0}


def rounding(dtype: str) -> float:
    """Largest relative error of a number that is rounded to a dtype.

    Example:
        >>> rounding("float16"), rounding("bfloat16"), rounding("float8_e4m3fn")
        (0.00048828125, 0.00390625, 0.0625)
    """
    bits = MANTISSA.get(dtype)
    if bits is None:
        bits = next((bits for name, bits in EIGHT_BITS.items() if name in dtype), 0)
    return 2.0 ** -(bits + 1)


def observations(sites: Sequence[FoundSite], file: TensorFile, seen: Seen) -> Iterator[Observation]:
    """What is below float32 and what that does, roles of several dtypes, and all dtypes in one line."""
    small = _by_role([site.tensors for site in sites], file)
    large = _by_role([site.reads for site in sites], file)
    yield from _low(small, len(sites), seen, large=False)
    yield from _low(large, len(sites), seen, large=True)
    for role, dtypes in (small | large).items():
        if len(dtypes) > 1:
            each = [f"{dtype} at {len(names)}" for dtype, names in dtypes.items()]
            yield Observation("mixed-dtypes", "", f"{role} is {joined(each)} sites")
    by_dtype: dict[str, list[str]] = {}
    for role, dtypes in (small | large).items():
        for dtype in dtypes:
            by_dtype.setdefault(dtype, []).append(role)
    if len(by_dtype) == 1:
        yield Observation("dtypes", "", f"all mixing parameters are {next(iter(by_dtype))}")
    elif by_dtype:
        said = [f"{joined(roles)} {dtype}" for dtype, roles in by_dtype.items()]
        yield Observation("dtypes", "", f"mixing parameters: {', '.join(said)}")


def _low(
    roles: Mapping[str, Mapping[str, list[str]]], count: int, seen: Seen, *, large: bool
) -> Iterator[Observation]:
    """One line for each dtype below float32."""
    by_dtype: dict[str, dict[str, list[str]]] = {}
    for role, dtypes in roles.items():
        for dtype, names in dtypes.items():
            if rounding(dtype) > rounding("float32"):
                by_dtype.setdefault(dtype, {})[role] = names
    for dtype, names_by_role in by_dtype.items():
        off = rounding(dtype)
        if large:
            effect = f"what it reads off the streams is rounded by up to {off:.1%}"
        else:
            largest = max(seen.glances[name].largest for names in names_by_role.values() for name in names)
            effect = (
                f"numbers up to {largest:.3g} are off by up to {largest * off:.2g}; where the code computes "
                f"in it too, row and column sums of M are off by about {off / 2:.0e}"
            )
        sites = max(map(len, names_by_role.values()))
        part = "" if sites == count else f" at {sites} of {count} sites"
        check = "low-precision-reads" if large else "low-precision"
        yield Observation(check, joined([*names_by_role]), f"{dtype}{part}: {effect}")


def _by_role(tables: Sequence[Mapping[str, str]], file: TensorFile) -> dict[str, dict[str, list[str]]]:
    """Names by role and dtype."""
    found: dict[str, dict[str, list[str]]] = {}
    for table in tables:
        for role, name in table.items():
            found.setdefault(role, {}).setdefault(file.dtype(name), []).append(name)
    return found
