"""The one table that decides what is measured: every operation that is known, and why it may pass or not.

A tangent passes only through operations that are linear in the streams and keep channels and tokens apart,
with everything else frozen as a coefficient. An operation that is not listed ends the path, under its name.
"""

from __future__ import annotations

from mhc_diag.sources.probe.rules import arithmetic, contractions, endings, moves, places
from mhc_diag.sources.probe.rules.family import Family

TABLE: tuple[Family, ...] = (
    *moves.FAMILIES,
    *places.FAMILIES,
    *arithmetic.FAMILIES,
    *contractions.FAMILIES,
    *endings.FAMILIES,
)
SHAPES = frozenset(name for family in TABLE if family.rule is moves.shape for name in family.operations)
"""Operations that look at no element of their arguments."""
MIXINGS = frozenset(name for family in contractions.FAMILIES for name in family.operations)
"""Operations that sum over streams."""
RULES: dict[str, Family] = {name: family for family in TABLE for name in family.operations}
"""The family of an operation by its name without the underscore of its in-place form."""


def as_markdown() -> str:
    """The table as a section of the documentation shows it.

    Example:
        >>> print(as_markdown().splitlines()[0])
        | what they do | operations | why tangents may pass, or what they end in |
    """
    rows = ["| what they do | operations | why tangents may pass, or what they end in |", "|---|---|---|"]
    for family in TABLE:
        names = " ".join(f"`{name}`" for name in family.operations)
        rows.append(f"| {family.name} | {names} | {family.reason} |")
    return "\n".join(rows)
