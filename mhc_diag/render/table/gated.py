"""What the gate says: a few lines for each target, what was expected of it, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group as Stacked
from rich.console import RenderableType
from rich.text import Text

from mhc_diag.records import Report
from mhc_diag.render.table.head import block, grid
from mhc_diag.render.table.look import Look, marked
from mhc_diag.verdict import Check, Limit, Verdict

LABEL_WIDTH = 40
COLORS = {"passed": "bold green", "failed": "bold red"}


def gated(reports: Sequence[Report], verdict: Verdict, look: Look) -> Iterator[RenderableType]:
    """Everything but the lines of the verdict."""
    yield from blocks(reports, look, verdict)
    if verdict.enforced and (verdict.checks or verdict.sources):
        yield expected(verdict, look)


def blocks(reports: Sequence[Report], look: Look, verdict: Verdict | None = None) -> Iterator[RenderableType]:
    """What was measured and what it says, of reports that have no more in common than that."""
    for report in reports:
        profile = "" if verdict is None else verdict.profiles.get(report.name, "")
        yield grid([*block(report, look, profile), ("result", marked(look.text(report.summary), "bold"))])


def expected(verdict: Verdict, look: Look) -> RenderableType:
    """The limits that were held against the reports, each with its level and where it comes from."""
    table = look.table()
    for title in ("limit", "allowed", "level", "set by", "target"):
        table.add_column(title, overflow="fold")
    several = len(verdict.profiles) > 1
    for limit, targets in _by_limit(verdict.checks).items():
        whose = "all" if len(targets) == len(verdict.profiles) else ", ".join(map(look.text, targets))
        row = [look.text(text) for text in (_named(limit), limit.allowed, limit.level, limit.origin)]
        table.add_row(*row, whose if several else "")
    if not several:
        table.columns.pop()
    parts: list[RenderableType] = [Text("What is expected", "bold"), Text()]
    if verdict.checks:
        parts += [table]
    chosen = {f"profile {name}" for name in verdict.profiles.values()}
    return Stacked(*parts, *(Text(look.text(source)) for source in verdict.sources if source not in chosen))


def _by_limit(checks: Sequence[Check]) -> dict[Limit, list[str]]:
    found: dict[Limit, list[str]] = {}
    for check in checks:
        found.setdefault(check.limit, []).append(check.target)
    return found


def _named(limit: Limit) -> str:
    parts = (limit.metric, limit.scope, limit.statistic, "" if limit.sites == "*" else limit.sites)
    return ":".join(part for part in parts if part)


def ending(verdict: Verdict) -> str:
    """The verdict in one line.

    Example:
        >>> ending(Verdict("passed", profiles={"a": "mhc", "b": "hc"}))
        'gate passed: 2 reports, 0 errors, 0 warnings'
    """
    unread = [d for d in verdict.doubts if d.target not in verdict.profiles]
    counts = [
        _count(len(verdict.profiles), "report"),
        _count(len(verdict.errors), "error"),
        _count(len(verdict.warnings), "warning"),
        *([_count(len(unread), "target") + " without a report"] if unread else []),
    ]
    return f"gate {verdict.outcome}: {', '.join(counts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def remedies(verdict: Verdict) -> Iterator[str]:
    """What to do about each kind of error, and what to type to learn why.

    Where nothing can fail, of each kind of finding.
    """
    told = verdict.errors if verdict.enforced else verdict.findings
    for rule, fix in dict.fromkeys((f.rule, f.fix) for f in told):
        yield f"to do: {rule} {fix} Why, and more: mhc-diag rule {rule}"
