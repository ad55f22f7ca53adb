"""What two reports must share for their numbers to mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from mhc_diag.compare.measures import MEASURES
from mhc_diag.records import Report

SETTINGS = ("input", "seed", "seeds", "samples", "correlation", "vocabulary", "layout", "variant", "project")
"""Those that say at what matrices were evaluated; others belong to the model, whose changes are compared."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """How the numbers of a report came about."""

    streams: int
    method: str
    """How matrices were obtained: `observed`, `static`, `sampled`, `activations`, `simulated`."""
    token_axis: str
    tokens: int
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    """Seed, input and the like, where they were given."""
    formulas: Mapping[str, str] = field(default_factory=dict)
    """By metric."""


def definitions(report: Report) -> Definitions:
    """What defines the numbers of a report."""
    where = report.provenance
    compared = {measure.metric for measure in MEASURES}
    formulas = {card.name: card.formula for card in report.cards}
    formulas |= {scalar.name: scalar.formula for scalar in report.scalars}
    return Definitions(
        report.streams,
        where.method,
        where.token_axis,
        report.tokens,
        {k: _portable(where.settings[k]) for k in SETTINGS if k in where.settings},
        {name: formula for name, formula in formulas.items() if name in compared},
    )


def differences(before: Definitions, after: Definitions) -> Iterator[str]:
    """What differs, each in a few words.

    Example:
        >>> list(differences(Definitions(4, "static", "none", 1), Definitions(4, "sampled", "sample", 1)))
        ['method was static, is sampled', 'token axis was none, is sample']
    """
    for name in ("streams", "method", "token_axis", "tokens"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"{name.replace('_', ' ')} was {old}, is {new}"
    for name in SETTINGS:
        old, new = before.settings.get(name), after.settings.get(name)
        if old != new:
            words = ["none" if x is None else str(x) for x in (old, new)]
            yield f"{name} was {words[0]}, is {words[1]}"
    for name, old in before.formulas.items():
        if name in after.formulas and after.formulas[name] != old:
            yield f"formula of {name} was {old}, is {after.formulas[name]}"


def _portable(value: str | int | float) -> str | int | float:
    """The name of a file without its folder, which is another on another machine."""
    return PurePath(value).name or value if isinstance(value, str) else value
