"""The nouns of a baseline: what of each report was accepted."""

from __future__ import annotations

from dataclasses import dataclass, field

from mhc_diag.compare.definitions import Definitions
from mhc_diag.compare.measures import Measure


@dataclass(frozen=True, slots=True)
class Number:
    """The worst number of a measure."""

    measure: Measure
    value: float
    log10: float
    site: str = ""
    """Label of the site where it is; empty where it is about the whole stack."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A finding that does not fail again."""

    rule: str
    metric: str = ""
    scope: str = ""
    statistic: str = ""
    sites: str = ""
    """Pattern of the limit that is broken, where it is one."""
    site: str = ""
    """Label of the site that it is about."""
    value: float | None = None
    log10: float | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it the same finding, wherever its worst site is."""
        return self.rule, self.metric, self.scope, self.statistic, self.sites


@dataclass(frozen=True, slots=True)
class Entry:
    """What was accepted of one report."""

    name: str
    sites: tuple[str, ...]
    """Labels, in the order of execution."""
    definitions: Definitions
    numbers: tuple[Number, ...] = ()
    findings: tuple[Accepted, ...] = ()


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was accepted, of every report."""

    entries: tuple[Entry, ...] = field(default_factory=tuple)
    """By name, in the order of the alphabet."""

    def entry(self, name: str, *, alone: bool) -> Entry | None:
        """The entry of a report; where both are the only one, whatever their names."""
        if alone and len(self.entries) == 1:
            return self.entries[0]
        return next((e for e in self.entries if e.name == name), None)
