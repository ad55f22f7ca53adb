"""Limits as users write them: tables of a file, and texts such as `amax_backward:suffix:p99<=2`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from mhc_diag import bounds, plugins
from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.statistics import QUANTILES
from mhc_diag.policy import values
from mhc_diag.records import SCOPES, Scope
from mhc_diag.selection import CONVERGENCE, METRICS
from mhc_diag.verdict import Limit

KEYS = ("metric", "scope", "statistic", "sites", "at-most", "at-least", "level")
STATISTICS = ("max", "min", "mean", *QUANTILES, "of_mean_matrix", bounds.STATISTIC)
STACK = "stack"
OF_STACK = ("half_life", "growth_forward", "growth_backward", "bound_forward", "bound_backward", "lyapunov_1")
EXPONENT = re.compile(r"lyapunov_[1-9][0-9]*")
SIGNALS = {"activation_rms": ("prefix",), "gradient_rms": ("suffix",)}
"""What `simulate --signal` adds."""
WRITTEN = re.compile(r"(?P<left>.+?)\s*(?P<sign><=|>=)\s*(?P<right>[^<>=]+)")
FORM = "write METRIC[:SCOPE[:STATISTIC[:SITES]]]<=X, such as 'amax_backward:suffix<=2'"


def of_table(where: str, table: Any, origin: str) -> Limit:
    """A limit from a table of a file.

    Args:
        where: what the table is called, such as `pyproject.toml: limits[1]`.
        table: parsed TOML.
        origin: what to call the place where it was set.

    Raises:
        MhcDiagError: the table makes no limit.

    Example:
        >>> of_table("x.toml: limits[1]", {"metric": "half_life", "at-least": 12}, "x.toml").allowed
        'at least 12'
    """
    if not isinstance(table, Mapping):
        raise MhcDiagError(f"{where} is {table!r}, expected a table", hint="begin each limit with [[limits]]")
    for key in table:
        if key not in KEYS:
            raise MhcDiagError(f"{where} has the unknown key {key}", hint=values.nearest(key, KEYS))
    if "metric" not in table:
        raise MhcDiagError(f"{where}: metric is missing", hint="name one, such as metric = 'amax_forward'")
    sides = {
        side: values.number(f"{where}: {side}", table[side])
        for side in ("at-most", "at-least")
        if side in table
    }
    limit = replace(
        _limit(where, table["metric"], table.get("scope"), table.get("statistic"), table.get("sites")),
        at_most=sides.get("at-most"),
        at_least=sides.get("at-least"),
        level=values.level(f"{where}: level", table.get("level", "error")),
        origin=origin,
    )
    return _closed(where, limit if "statistic" in table else _of_every_token(where, limit))


def of_text(what: str, written: str, origin: str) -> Limit:
    """A limit from one text.

    Args:
        what: what the text is called, such as `--limit`.
        written: metric, scope, statistic and sites between colons, then `<=` or `>=` and a number.
        origin: what to call the place where it was set.

    Raises:
        MhcDiagError: the text makes no limit.

    Example:
        >>> limit = of_text("--limit", "amax_backward:suffix:p99<=2", "--limit")
        >>> limit.key, limit.allowed
        (('amax_backward', 'suffix', 'p99', '*'), 'at most 2')
    """
    found = WRITTEN.fullmatch(written.strip())
    if found is None:
        raise MhcDiagError(f"{what} {written!r} is no limit", hint=FORM)
    where = f"{what} {written!r}"
    parts = [part.strip() for part in found["left"].split(":", 3)]
    bound = values.number(where, found["right"])
    above, below = (bound, None) if found["sign"] == "<=" else (None, bound)
    limit = _limit(where, *(*parts, None, None, None)[:4])
    limit = replace(limit, at_most=above, at_least=below, origin=origin)
    return limit if len(parts) > 2 else _of_every_token(where, limit)


def joined(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Limits of one place, where one from above and one from below of the same number become one.

    Raises:
        MhcDiagError: the same number is limited twice from the same side.

    Example:
        >>> texts = "inf_norm:site:p50<=2", "inf_norm:site:p50>=1"
        >>> [limit.allowed for limit in joined(of_text("--limit", text, "--limit") for text in texts)]
        ['at least 1 and at most 2']
    """
    found: dict[tuple[str, str, str, str], Limit] = {}
    for limit in limits:
        before = found.get(limit.key)
        if before is None:
            found[limit.key] = limit
            continue
        name = ":".join(part for part in limit.key if part)
        sides = [(x.at_most is not None, x.at_least is not None) for x in (before, limit)]
        if any(all(side) for side in zip(*sides, strict=True)) or before.level != limit.level:
            raise MhcDiagError(
                f"{limit.origin} limits {name} twice: {before.allowed}, and {limit.allowed}",
                hint="leave out one of them",
            )
        most = limit.at_most if before.at_most is None else before.at_most
        least = limit.at_least if before.at_least is None else before.at_least
        found[limit.key] = _closed(limit.origin, replace(before, at_most=most, at_least=least))
    return tuple(found.values())


def _limit(where: str, metric: Any, scope: Any, statistic: Any, sites: Any) -> Limit:
    """What is limited: the scope is `site` unless the number is about the whole stack."""
    name = values.text(f"{where}: metric", metric)
    scopes = _scopes(where, name)
    wanted = scopes[0] if scope is None else values.choice(f"{where}: scope", scope, (*SCOPES, STACK))
    if wanted not in scopes:
        raise MhcDiagError(
            f"{where}: {name} is not taken of a {wanted}", hint=f"its scope can be {' or '.join(scopes)}"
        )
    if wanted == STACK:
        if statistic is not None or sites is not None:
            raise MhcDiagError(
                f"{where}: {name} is one number of the whole stack", hint="leave out statistic and sites"
            )
        return Limit(name, "stack", "")
    over = "max" if statistic is None else values.choice(f"{where}: statistic", statistic, STATISTICS)
    pattern = "*" if sites is None else values.text(f"{where}: sites", sites)
    return Limit(name, cast(Scope, wanted), over, pattern)


def _of_every_token(where: str, limit: Limit) -> Limit:
    """Where no statistic is named: the largest number of any token from above, the smallest from below."""
    if limit.scope == STACK or limit.at_least is None:
        return limit
    if limit.at_most is not None:
        raise MhcDiagError(
            f"{where}: statistic is missing, with both at-most and at-least given",
            hint="name the statistic that is to lie between them, such as statistic = 'p50'",
        )
    return replace(limit, statistic="min")


def _scopes(where: str, name: str) -> tuple[str, ...]:
    if name in OF_STACK or EXPONENT.fullmatch(name):
        return (STACK,)
    if name in SIGNALS:
        return SIGNALS[name]
    if name in plugins.names(CONVERGENCE):
        return ("site",)
    known = plugins.names(METRICS)
    values.choice(f"{where}: metric", name, (*known, *plugins.names(CONVERGENCE), *OF_STACK, *SIGNALS))
    return tuple(getattr(plugins.load(METRICS, name), "SCOPES", SCOPES))


def _closed(where: str, limit: Limit) -> Limit:
    """A limit that some number can keep, and some can break."""
    most, least = limit.at_most, limit.at_least
    if most is None and least is None:
        raise MhcDiagError(f"{where} allows everything", hint="give at-most, at-least or both")
    if most is not None and least is not None and least > most:
        raise MhcDiagError(f"{where} wants {limit.allowed}, which nothing is", hint="exchange the two")
    return limit
