"""The nouns of judgement: what is allowed, what was found, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mhc_diag.records import Scope

Level = Literal["error", "warn", "off"]
Outcome = Literal["passed", "failed", "could not tell", "nothing to check"]
LEVELS: tuple[Level, ...] = ("error", "warn", "off")
EXIT_CODES: dict[Outcome, int] = {"passed": 0, "failed": 1, "could not tell": 2, "nothing to check": 3}
GRAVEST: tuple[Outcome, ...] = ("failed", "could not tell", "nothing to check", "passed")
"""Of several outcomes the first of these counts: a proven failure, whatever else there is."""
TOLERANCE = 0.01
"""By how much a number may be worse than it was, relative: far above what another machine changes."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that must hold: one metric in one scope under one statistic, at the sites of a pattern."""

    metric: str
    """A metric; in the scope `stack` a number about the whole stack, such as `half_life`."""
    scope: Scope | Literal["stack"]
    statistic: str = "max"
    """Over tokens; nothing in the scope `stack`."""
    sites: str = "*"
    """Pattern of site labels, as in file names."""
    at_most: float | None = None
    at_least: float | None = None
    level: Level = "error"
    rule: str = ""
    """Id of the finding that a breach is; empty for a limit that the user set."""
    origin: str = ""
    """Who set it: `profile mhc`, `pyproject.toml`, `--max-gain`."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it limits: of two limits of the same, the one set later counts."""
        return self.metric, self.scope, self.statistic, self.sites

    @property
    def by_profile(self) -> bool:
        """Whether a profile set it, and not the user, whose file may be called `profile.toml`."""
        return self.origin.startswith("profile ")

    @property
    def allowed(self) -> str:
        """What holds, as in `at most 4`."""
        parts = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g}" for word, bound in parts if bound is not None)


@dataclass(frozen=True, slots=True)
class Place:
    """A number of a report, and where it is."""

    metric: str = ""
    scope: str = ""
    statistic: str = ""
    value: float | None = None
    log10: float | None = None
    site: int | None = None
    """From 0; none where it is about the whole stack."""
    label: str = ""
    """The site's."""
    token: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One limit held against one report."""

    target: str
    """The report's name."""
    limit: Limit
    outcome: Outcome
    place: Place
    """The number that comes closest to the limit, or breaks it."""
    text: str
    """What was measured, in words: `forward composite gain 1.62 at site 57 (layers.28.mlp)`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or may be."""

    rule: str
    """Its id, such as MHC101."""
    title: str
    level: Level
    target: str
    """The report's name."""
    text: str
    """What was seen, with its number, in one sentence without a full stop."""
    fix: str
    """What to do about it, in one sentence."""
    place: Place = field(default_factory=Place)
    limit: Limit | None = None
    """The limit that is broken, where it is one."""
    accepted: bool = False
    """Whether a baseline holds it already, so that it is no more than a warning."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a report cannot pass although no limit is broken, or why there is no report of a target."""

    target: str
    """The report's name, or what the user named that there is no report of."""
    text: str
    outcome: Outcome = "could not tell"
    """What it makes of a verdict at least; `passed` where that a target is empty is allowed."""
    hint: str = ""
    """What to do about it, of a target that could not be read."""

    @property
    def line(self) -> str:
        """In one line, with the target named once."""
        return self.text if self.text.startswith(self.target) else f"{self.target}: {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How some reports fare.

    Example:
        >>> Verdict("passed").exit_code
        0
    """

    outcome: Outcome
    checks: tuple[Check, ...] = ()
    """Every limit that was held against a report, broken or not."""
    findings: tuple[Finding, ...] = ()
    """The worst level first, then by report and id."""
    doubts: tuple[Doubt, ...] = ()
    profiles: Mapping[str, str] = field(default_factory=dict)
    """By name of report, the profile it was held to."""
    sources: tuple[str, ...] = ()
    """Where the limits came from, the weakest first."""
    enforced: bool = False
    """Whether anything could fail; otherwise the findings are advice."""
    notes: tuple[str, ...] = ()
    """What else there is to know, such as entries of a baseline that no longer occur."""

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 2 could not tell, 3 nothing to check."""
        return EXIT_CODES[self.outcome]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make it fail."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that do not, less those that a baseline accepts."""
        return tuple(f for f in self.findings if f.level == "warn" and not f.accepted)

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each finding, each doubt, each limit of the user's that holds and each note."""
        words = {"error": "failed", "warn": "warning", "off": "off"}
        found = [
            f"{'accepted' if f.accepted else words[f.level]}: {f.rule} {f.target}: {f.text}"
            for f in self.findings
        ]
        gravest = sorted(self.doubts, key=lambda d: GRAVEST.index(d.outcome))
        doubts = [f"{d.outcome}: {d.line}" for d in gravest]
        held = [
            f"passed: {c.target}: {c.text}, allowed is {c.limit.allowed}"
            for c in self.checks
            if c.outcome == "passed" and not c.limit.by_profile
        ]
        errors = len(self.errors)
        notes = [f"note: {text}" for text in self.notes]
        return (*found[:errors], *doubts, *found[errors:], *held, *notes)
