"""From a trace to one explanation for each site of a path, those that were not measured too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mhc_diag.records import Explanation, Site
from mhc_diag.sources.probe.chain import Chain
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.trace import Trace


def explanations(trace: Trace, found: Chain) -> tuple[Explanation, ...]:
    """How each site of a path came to be measured, in order of execution."""
    return tuple(_explanations(trace, found))


def _explanations(trace: Trace, found: Chain) -> Iterator[Explanation]:
    first, last = found.run
    skipped = iter(found.skipped)
    ended = _ended(trace)
    for number, code in enumerate(found.codes):
        measured = first <= number < last
        site = found.sites[number - first] if measured else Site(code.path, code.kind, -1)
        ends = ended.get(_start(code.parent), Counter())
        yield Explanation(
            site,
            trace.layouts.get(code, ""),
            trace.ways.get(code, ()),
            tuple(f"{what}, {count} times" if count > 1 else what for what, count in ends.items()),
            "" if measured else next(skipped).reason,
        )


def _ended(trace: Trace) -> dict[Code | None, Counter[str]]:
    """Where tangents ended, by the site or entry at which their streams began."""
    found: dict[Code | None, Counter[str]] = {}
    for code, ends in trace.ended.items():
        found.setdefault(_start(code), Counter()).update(ends)
    return found


def _start(code: Code | None) -> Code | None:
    """The site before, or None where there is none: what lies between belongs to the way."""
    return None if code is None else next((c for c in code.ancestry() if c.site), None)
