"""One file = one thing that can be wrong with mixing, from which its page in the docs is made.

Its file is named by what is wrong, and provides

    ID            such as MHC101, the same in every version
    TITLE         what is wrong, in a few words: "composite gain above what the streams allow"
    LEVELS        by profile, how bad it is: error, warn or off
    WHAT          what is seen, in a paragraph or two of Markdown
    WHY           why it matters, with a number
    FIX           what to do about it; its first sentence stands beside every finding
    REFERENCES    papers and issues, as Markdown links or citations

and at least one of

    limits(profile, report) -> limits
                  the numbers that must hold; a broken one is the finding
    check(report) -> Evidence
                  what no single limit can say; nothing where all is well

and, where it explains others,

    EXPLAINS      ids of findings that are not reported beside this one, whose cause it is

The gate fills in `level`, `rule` and `origin` of a limit. Thresholds are constants of the file, and its page
says why they are what they are. A report may lack any curve, because it was made with few metrics: what
cannot be seen is not found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from mhc_diag import plugins
from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Curve, Report, Scope
from mhc_diag.verdict import Level, Limit, Place

PACKAGE = "mhc_diag.findings"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a check saw in a report."""

    text: str
    """With its number, in one sentence without a full stop; follows the report's name and a colon."""
    place: Place = field(default_factory=Place)
    level: Level | None = None
    """Where it is less bad than the file's levels say."""


class Rule(Protocol):
    """What the file of a finding provides."""

    ID: str
    TITLE: str
    LEVELS: Mapping[str, Level]
    WHAT: str
    WHY: str
    FIX: str
    REFERENCES: tuple[str, ...]


class Limiting(Rule, Protocol):
    """A finding that is a broken limit."""

    def limits(self, profile: str, report: Report) -> Iterable[Limit]:
        """The numbers that must hold."""


class Checking(Rule, Protocol):
    """A finding that is looked for."""

    def check(self, report: Report) -> Iterator[Evidence]:
        """What is wrong."""


def rules() -> dict[str, Rule]:
    """All findings by id, in the order of their ids.

    Example:
        >>> rules()["MHC101"].TITLE
        'composite gain above what the streams allow'
    """
    found = cast("Iterable[Rule]", plugins.load_all(PACKAGE).values())
    return {rule.ID: rule for rule in sorted(found, key=lambda rule: rule.ID)}


def rule(name: str) -> Rule:
    """The finding of an id.

    Raises:
        MhcDiagError: there is none.
    """
    known = rules()
    if name.upper() not in known:
        raise MhcDiagError(f"there is no finding {name}", hint=f"there are {', '.join(known)}")
    return known[name.upper()]


def explains(rule: Rule) -> tuple[str, ...]:
    """Ids of the findings whose cause this one is."""
    return tuple(getattr(rule, "EXPLAINS", ()))


def first_sentence(text: str) -> str:
    """The first sentence of a text, on one line.

    Example:
        >>> first_sentence("Use more iterations (20). Or fewer.")
        'Use more iterations (20).'
    """
    line = " ".join(text.split())
    head, dot, _ = line.partition(". ")
    return head + dot.strip()


def seen(report: Report, metric: str, scope: Scope, statistic: str) -> Curve | None:
    """A curve, where the report has it."""
    with contextlib.suppress(KeyError):
        return report.curve(metric, scope, statistic)
    return None
