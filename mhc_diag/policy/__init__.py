"""What is expected of a report: the limits and levels of its profile, and over them those of the user.

profile      what the findings say of such a residual path; the weakest
limits       the user's, from a file, the environment or the command line, the strongest last
levels       how bad a finding is, by id: error, warn or off
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mhc_diag import findings, profiles
from mhc_diag.errors import MhcDiagError
from mhc_diag.records import COMPOSITE, DIRECTIONS, Report
from mhc_diag.verdict import Level, Limit

AUTO, NONE = "auto", "none"
PROFILES = (AUTO, *profiles.NAMES, NONE)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is expected; of nothing, nothing.

    Example:
        >>> Policy(max_gain=4).limits_of("mhc")[0].allowed
        'at most 4'
    """

    max_gain: float | None = None
    """Upper limit of both composite gains, of every token and at every depth; finite and above 0."""
    profile: str = NONE
    """What is expected by default: `auto` takes the profile that fits a report, `none` expects nothing."""
    limits: tuple[Limit, ...] = ()
    """The user's; of two that limit the same, the later counts, and both count over the profile's."""
    levels: Mapping[str, Level] = field(default_factory=dict)
    """By id of a finding, the user's level of it."""
    advice: bool = False
    """What the profile expects is told and never fails; limits of the user do."""
    sources: tuple[str, ...] = ()
    """Where the user's limits and levels came from."""

    def __post_init__(self) -> None:
        if self.max_gain is not None and not 0 < self.max_gain < math.inf:
            raise MhcDiagError(
                f"--max-gain is {self.max_gain}", hint="give a finite limit above 0, such as 4"
            )
        if self.profile not in PROFILES:
            raise MhcDiagError(
                f"there is no profile {self.profile}", hint=f"the profiles are {', '.join(PROFILES)}"
            )
        for name in self.levels:
            findings.rule(name)

    @property
    def judges(self) -> bool:
        """Whether anything can fail."""
        return bool(self.max_gain is not None or self.limits or (self.profile != NONE and not self.advice))

    def profile_of(self, report: Report) -> str:
        """The name of the profile that a report is held to."""
        return profiles.choose(report) if self.profile == AUTO else self.profile

    def level(self, rule: findings.Rule, profile: str) -> Level:
        """How bad a finding is."""
        if rule.ID in self.levels:
            return self.levels[rule.ID]
        level = rule.LEVELS.get(profile, "off")
        return "warn" if self.advice and level == "error" else level

    def limits_of(self, profile: str, report: Report | None = None) -> tuple[Limit, ...]:
        """What holds for a report of a profile, where the report is needed for the profile's own limits."""
        found: dict[tuple[str, str, str, str], Limit] = {}
        for rule in findings.rules().values() if report is not None and profile != NONE else ():
            level = self.level(rule, profile)
            for limit in rule.limits(profile, report) if hasattr(rule, "limits") and level != "off" else ():
                origin = self._origin(rule.ID, profile)
                found[limit.key] = replace(limit, level=level, rule=rule.ID, origin=origin)
        for limit in (*self.limits, *self._max_gain()):
            before = found.pop(limit.key, None)
            found[limit.key] = replace(limit, rule=limit.rule or (before.rule if before else ""))
        return tuple(limit for limit in found.values() if limit.level != "off")

    def _origin(self, rule: str, profile: str) -> str:
        return f"profile {profile}" + (", level set by the user" if rule in self.levels else "")

    def _max_gain(self) -> tuple[Limit, ...]:
        if self.max_gain is None:
            return ()
        return tuple(
            Limit(*COMPOSITE[d], "max", at_most=self.max_gain, origin="--max-gain") for d in DIRECTIONS
        )
