"""Numbers of a formula out of a model's configuration, with a note for each that it does not tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.families import Settings
from mhc_diag.sources.printable import printable

INSIDE = ("text_config", "language_config", "llm_config", "hf_config", "model_config", "args", "config")
"""Where multimodal models and training codes keep the configuration of the model."""
DEEPEST = 3
DEFAULT_TAKEN = "no configuration tells {}: the default {} of this layout was taken"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A number that a formula needs."""

    names: tuple[str, ...]
    """What configurations call it; the first is how reports do."""
    default: int | float
    expected: str
    least: float
    most: float
    """Allowed; a whole number if the default is one, and otherwise less than this."""
    told: bool = True
    """Whether to note that the default was taken, and to report it."""


def iterations(*names: str) -> Wanted:
    """How often rows and columns are normalised."""
    return Wanted(names, 20, "a whole number from 1 to 10000", 1, 10_000)


def eps(*names: str) -> Wanted:
    """What is added to denominators."""
    return Wanted(names, 1e-6, "a number from 0 to 1", 0, 1)


def configured(config: Mapping[str, Any] | None, *wanted: Wanted) -> Settings:
    """The numbers that a configuration tells, and the defaults of those that it does not.

    Raises:
        MhcDiagError: it has one of them twice, with different values, or not as a number that can be meant.

    Example:
        >>> settings = configured({"text_config": {"hc_eps": 1e-5}}, iterations("iters"), eps("hc_eps"))
        >>> settings.values
        {'iters': 20, 'hc_eps': 1e-05}
        >>> settings.notes
        ('no configuration tells iters: the default 20 of this layout was taken',)
    """
    values: dict[str, int | float | str] = {}
    notes: list[str] = []
    for number in wanted:
        name, *_ = number.names
        told = [(key, value) for key in number.names for value in tell(config, key)]
        if told:
            values[name] = _checked(number, told)
        elif number.told:
            values[name] = number.default
            notes.append(DEFAULT_TAKEN.format(name, number.default))
    return Settings(values, tuple(notes))


def tell(config: Mapping[str, Any] | None, key: str) -> Iterator[Any]:
    """Every value that a configuration has under a name, at the top or inside.

    Example:
        >>> list(tell({"n": 1, "args": {"n": 2}}, "n"))
        [1, 2]
    """
    return _tell(config, key, DEEPEST)


def _tell(config: object, key: str, depth: int) -> Iterator[Any]:
    if not isinstance(config, Mapping):
        return
    if key in config:
        yield config[key]
    if depth:
        for name in INSIDE:
            yield from _tell(config.get(name), key, depth - 1)


def _checked(number: Wanted, told: list[tuple[str, Any]]) -> int | float:
    """The value that all agree on."""
    (name, value), *others = told
    whole = type(number.default) is int
    allowed = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    for key, found in told:
        fits = isinstance(found, allowed) and not isinstance(found, bool) and number.least <= found
        if not fits or not (found <= number.most if whole else found < number.most):
            raise _unusable(f"{key} = {_shown(found)}, expected {number.expected}")
    for key, other in others:
        if other != value:
            raise _unusable(f"{name} = {_shown(value)} and elsewhere {key} = {_shown(other)}")
    return int(value) if isinstance(value, (int, np.integer)) else float(value)


def _shown(value: object) -> str:
    return printable(repr(value))


def _unusable(what: str) -> MhcDiagError:
    return MhcDiagError(
        f"the configuration says {what}", hint="repair config.json, or the config saved in the checkpoint"
    )
