"""Single values of a configuration, checked at the door.

Each function takes what the value is called, such as `pyproject.toml: max-gain`, and the value.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

from mhc_diag import findings
from mhc_diag.errors import MhcDiagError
from mhc_diag.policy import PROFILES
from mhc_diag.sources.printable import printable
from mhc_diag.verdict import LEVELS, Level

OWN = "MHC100"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the known name that is nearest to one that is not known, or all of them.

    Example:
        >>> nearest("max_gain", ["max-gain", "profile"])
        'did you mean max-gain?'
        >>> nearest("colour", ["max-gain", "profile"])
        'choose from max-gain, profile'
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}"


def number(what: str, value: Any) -> float:
    """A finite number, or the text of one.

    Raises:
        MhcDiagError: anything else.

    Example:
        >>> number("--max-gain", "2.5")
        2.5
    """
    found = value
    if isinstance(value, str):
        try:
            found = float(value)
        except ValueError:
            found = None
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise _wrong(what, value, "a number")
    try:
        finite = math.isfinite(found)
    except OverflowError:  # a whole number beyond float64
        finite = False
    if not finite:
        raise MhcDiagError(f"{what} is {found}", hint="give a finite limit, such as 4")
    return float(found)


def gain(what: str, value: Any) -> float:
    """A limit of a gain: finite and above 0.

    Raises:
        MhcDiagError: anything else.
    """
    found = number(what, value)
    if found <= 0:
        raise MhcDiagError(f"{what} is {found:g}", hint="give a finite limit above 0, such as 4")
    return found


def tolerance(what: str, value: Any) -> float:
    """By how much a number may be worse, relative: finite and not below 0.

    Raises:
        MhcDiagError: anything else.
    """
    found = number(what, value)
    if found < 0:
        raise MhcDiagError(f"{what} is {found:g}", hint="give 0.01 for one per cent, or 0 for none")
    return found


def text(what: str, value: Any) -> str:
    """A text that is not empty.

    Raises:
        MhcDiagError: anything else.
    """
    if not isinstance(value, str):
        raise _wrong(what, value, "a text")
    if not value.strip():
        raise MhcDiagError(f"{what} is empty", hint="give a value, or leave it out")
    return value


def texts(what: str, value: Any) -> tuple[str, ...]:
    """A list of texts, none of them empty.

    Raises:
        MhcDiagError: anything else.
    """
    if not isinstance(value, list):
        raise _wrong(what, value, "a list of texts")
    return tuple(text(f"{what}[{i}]", item) for i, item in enumerate(value, start=1))


def choice(what: str, value: Any, known: Sequence[str]) -> str:
    """One of some words.

    Raises:
        MhcDiagError: anything else, with the nearest of them as a hint.
    """
    found = text(what, value)
    if found not in known:
        raise MhcDiagError(
            f"{what} is {printable(found)!r}, which does not exist", hint=nearest(found, known)
        )
    return found


def profile(what: str, value: Any) -> str:
    """The name of a profile, `auto` or `none`."""
    return choice(what, value, PROFILES)


def level(what: str, value: Any) -> Level:
    """How bad something is."""
    return cast(Level, choice(what, value, LEVELS))


def finding(what: str, value: str) -> str:
    """The id of a finding.

    Raises:
        MhcDiagError: there is none of that id, or none that has a level.
    """
    known = findings.rules()
    if value not in known:
        near = nearest(value.upper(), known)
        raise MhcDiagError(f"{what} names {printable(value)!r}, which is no finding", hint=near)
    if value == OWN:
        raise MhcDiagError(
            f"{what} names {OWN}, a broken limit of yours",
            hint="give the limit itself a level, in [[limits]]",
        )
    return value


def _wrong(what: str, value: Any, expected: str) -> MhcDiagError:
    shown = printable(repr(value), 60)
    return MhcDiagError(f"{what} is {shown}, expected {expected}", hint="see docs/gate.md for every key")
