"""Names that differ by numbers only, so that a model of thousands of tensors is a few lines."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mhc_diag.sources.families import MOST_STREAMS
from mhc_diag.sources.files.tensors import TensorFile
from mhc_diag.sources.inventory.records import Pattern
from mhc_diag.sources.printable import printable

NUMBER = re.compile(r"(?<![0-9A-Za-z])\d+(?![0-9A-Za-z])")
MOST_PATTERNS = 1000
LONGEST_EXPRESSION = 200


def patterns(file: TensorFile) -> tuple[Pattern, ...]:
    """All tensors by pattern, the smallest first, at most `MOST_PATTERNS`."""
    counts: Counter[tuple[str, tuple[int, ...], str]] = Counter(
        (NUMBER.sub("#", name), file.shape(name), file.dtype(name)) for name in file.names
    )
    ordered = sorted(counts.items(), key=lambda entry: math.prod(entry[0][1]))
    return tuple(
        Pattern(printable(name), shape, printable(dtype), count)
        for (name, shape, dtype), count in ordered[:MOST_PATTERNS]
    )


def candidates(file: TensorFile, known: Sequence[Pattern]) -> Iterator[Pattern]:
    """Those that may be mixing matrices or logits: square, small, and no weight that has a bias beside it.

    The ones that occur most come first: mixing recurs with the layers.
    """
    names = set(file.names)
    taken: dict[tuple[str, tuple[int, ...], str], str] = {}
    for name in file.names:
        shape, dtype = file.shape(name), file.dtype(name)
        if _may_mix(shape, dtype) and not _has_bias(name, names):
            key = printable(NUMBER.sub("#", name)), shape, printable(dtype)
            taken.setdefault(key, NUMBER.sub("#", name))
    rows = [p for p in known if (p.name, p.shape, p.dtype) in taken]
    for p in sorted(rows, key=lambda p: -p.count):
        select = expression(taken[p.name, p.shape, p.dtype])
        if select.isprintable() and len(select) <= LONGEST_EXPRESSION:
            yield Pattern(p.name, p.shape, p.dtype, p.count, select)


def expression(pattern: str) -> str:
    r"""A regular expression for the names of a pattern and no others.

    Example:
        >>> print(expression("layers.#.attn.h-res"))
        ^layers\.\d+\.attn\.h\-res$
    """
    return f"^{re.escape(pattern)}$".replace(r"\#", r"\d+")


def _may_mix(shape: tuple[int, ...], dtype: str) -> bool:
    square = len(shape) in (2, 3) and shape[-1] == shape[-2] and 2 <= shape[-1] <= MOST_STREAMS
    return square and "float" in dtype


def _has_bias(name: str, names: set[str]) -> bool:
    return name.endswith("weight") and name.removesuffix("weight") + "bias" in names
