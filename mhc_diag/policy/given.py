"""What one place says is expected: a file, the environment or the command line; and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.policy import AUTO, Policy, limits, values
from mhc_diag.records import COMPOSITE, DIRECTIONS
from mhc_diag.verdict import Level, Limit

PREFIX = "MHC_DIAG_"
VARIABLES = ("CONFIG", "PROFILE", "MAX_GAIN", "BASELINE", "TOLERANCE", "LIMIT", "LEVEL")
OTHERS = ("TRACEBACK",)
"""Variables that say nothing of what is expected."""


@dataclass(frozen=True, slots=True)
class Given:
    """What one place says; None where it says nothing."""

    profile: str | None = None
    max_gain: float | None = None
    limits: tuple[Limit, ...] = ()
    levels: Mapping[str, Level] = field(default_factory=dict)
    baseline: Path | None = None
    tolerance: float | None = None
    """By how much a number may be worse than the baseline's, relative."""
    targets: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    """By name of a field, or id of a finding, where it was said: `pyproject.toml`, `MHC_DIAG_PROFILE`."""

    def ordered(self) -> tuple[Limit, ...]:
        """Its limits, the one in few words first, so that the others count over it."""
        if self.max_gain is None:
            return self.limits
        most, origin = self.max_gain, self.origins["max_gain"]
        return (*(Limit(*COMPOSITE[d], "max", at_most=most, origin=origin) for d in DIRECTIONS), *self.limits)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is expected, and of what."""

    policy: Policy
    targets: tuple[str, ...] = ()
    baseline: Path | None = None
    tolerance: float | None = None


def settled(places: Sequence[Given]) -> Settings:
    """What several places come to, the strongest last.

    Example:
        >>> file = Given(profile="mhc", max_gain=4, origins={"profile": "x.toml", "max_gain": "x.toml"})
        >>> flags = Given(max_gain=2, origins={"max_gain": "--max-gain"})
        >>> policy = settled([file, flags]).policy
        >>> policy.profile, [limit.allowed for limit in policy.limits_of("mhc")], policy.sources
        ('mhc', ['at most 2', 'at most 2'], ('profile mhc: x.toml', 'max-gain 2: --max-gain'))
    """
    origins: dict[str, str] = {}
    levels: dict[str, Level] = {}
    strongest: dict[str, Any] = {
        "profile": AUTO,
        "baseline": None,
        "tolerance": None,
        "targets": (),
        "max_gain": None,
    }
    for place in places:
        origins |= place.origins
        levels |= place.levels
        for name in strongest:
            said = getattr(place, name)
            strongest[name] = strongest[name] if said is None or said == () else said
    told = [
        f"{name.replace('_', '-')} {_short(strongest[name])}: {origins[name]}"
        for name in strongest
        if name in origins
    ]
    told += [f"{name} {level}: {origins[name]}" for name, level in levels.items()]
    policy = Policy(
        profile=strongest["profile"],
        limits=tuple(limit for place in places for limit in place.ordered()),
        levels=levels,
        sources=tuple(told),
    )
    return Settings(policy, strongest["targets"], strongest["baseline"], strongest["tolerance"])


def from_environment(variables: Mapping[str, str]) -> Given:
    """What the variables `MHC_DIAG_...` say; empty ones say nothing.

    Raises:
        MhcDiagError: one of them is not known, or has no good value.

    Example:
        >>> from_environment({"MHC_DIAG_LEVEL": "MHC101=warn", "HOME": "/root"}).levels
        {'MHC101': 'warn'}
    """
    for name in variables:
        short = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and short not in (*VARIABLES, *OTHERS):
            known = [PREFIX + known for known in (*VARIABLES, *OTHERS)]
            raise MhcDiagError(
                f"the environment has the unknown variable {name}", hint=values.nearest(name, known)
            )
    said = {name: text for name in VARIABLES if (text := variables.get(PREFIX + name, "").strip())}
    return from_texts(
        {name: PREFIX + name for name in VARIABLES},
        profile=said.get("PROFILE"),
        max_gain=said.get("MAX_GAIN"),
        baseline=said.get("BASELINE"),
        tolerance=said.get("TOLERANCE"),
        limit=said.get("LIMIT", "").split(",") if "LIMIT" in said else (),
        level=said.get("LEVEL", "").split(",") if "LEVEL" in said else (),
    )


def from_texts(
    called: Mapping[str, str],
    *,
    profile: str | None = None,
    max_gain: str | float | None = None,
    baseline: str | Path | None = None,
    tolerance: str | float | None = None,
    limit: Sequence[str] = (),
    level: Sequence[str] = (),
) -> Given:
    """What options or variables say.

    Args:
        called: by name, in capitals, what each is called in messages.
        profile: name of a profile.
        max_gain: limit of both composite gains.
        baseline: a file.
        tolerance: by how much a number may be worse than in that file.
        limit: as `mhc_diag.policy.limits.of_text` reads them.
        level: such as `MHC101=warn`.

    Raises:
        MhcDiagError: one of them has no good value.
    """
    levels = dict(_level(called["LEVEL"], text) for text in level)
    said = {"profile": profile, "max_gain": max_gain, "baseline": baseline, "tolerance": tolerance}
    origins = {name: called[name.upper()] for name, value in said.items() if value is not None}
    return Given(
        profile=None if profile is None else values.profile(called["PROFILE"], profile),
        max_gain=None if max_gain is None else values.gain(called["MAX_GAIN"], max_gain),
        limits=limits.joined(limits.of_text(called["LIMIT"], text, called["LIMIT"]) for text in limit),
        levels=levels,
        baseline=None if baseline is None else Path(baseline),
        tolerance=None if tolerance is None else values.tolerance(called["TOLERANCE"], tolerance),
        origins={**origins, **dict.fromkeys(levels, called["LEVEL"])},
    )


def _level(what: str, text: str) -> tuple[str, Level]:
    name, sign, level = (part.strip() for part in text.partition("="))
    if not sign:
        raise MhcDiagError(f"{what} {text!r} is no level", hint="write MHC101=warn, =error or =off")
    return values.finding(what, name), values.level(f"{what} {name}", level)


def _short(value: Any) -> str:
    return (
        f"{value:g}"
        if isinstance(value, float)
        else ", ".join(value)
        if isinstance(value, tuple)
        else str(value)
    )
