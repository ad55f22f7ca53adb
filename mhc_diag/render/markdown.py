"""Markdown: a page for the summary of a CI run, such as `$GITHUB_STEP_SUMMARY`, a merge request or a wiki.

The verdict first, then the worst composite gains, what was found and what to do about it, what could not be
told, the limits and who set them, and the sites with the largest gains. The pages of the findings are folded
away at the end. Text from a file is escaped: it makes no link, no picture, no mention and no markup. A table
that would be longer than 100 rows is cut, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import mhc_diag
from mhc_diag import findings
from mhc_diag.magnitude import magnitude
from mhc_diag.pages import DOCS, address
from mhc_diag.records import COMPOSITE, DIRECTIONS, Peak, Report, Scope
from mhc_diag.rulebook import page
from mhc_diag.sources.printable import printable
from mhc_diag.verdict import Verdict
from mhc_diag.worst import worst_sites

SUFFIX = ".md"

ROWS, SITES, WITH_SITES = 100, 5, 4
"""Rows of a table at most; sites shown of a report, and for how many reports."""
LONGEST = 1000
SIGNS = {"passed": "✅", "failed": "❌", "could not tell": "⚠️", "nothing to check": "⚠️"}
LEVELS = {"error": "❌ error", "warn": "⚠️ warning", "off": "off"}
MARKUP = re.compile(r"[&<>|\\`*~\[\]#@$]|_(?![^\W_])|(?<![^\W_])_|:(?=\S)|(?<=[wW])\.")
"""What could be markup, unless it is a character reference; `www.` alone starts a link."""
COLUMNS: tuple[tuple[str, str, Scope], ...] = (
    ("forward, alone", "amax_forward", "site"),
    ("backward, alone", "amax_backward", "site"),
    ("forward, sites 0 to l", *COMPOSITE["forward"]),
    ("backward, from l on", *COMPOSITE["backward"]),
)


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> str:
    """A page in GitHub's Markdown.

    Example:
        >>> print(render([], Verdict("passed", enforced=True)).splitlines()[0])
        ## ✅ mhc-diag: passed
    """
    parts = [_head(verdict), *_gains(reports, verdict)]
    if verdict is not None:
        parts += [*_found(verdict), *_doubts(verdict), *_limits(verdict)]
    if len(reports) <= WITH_SITES:
        parts += [part for report in reports for part in _sites(report)]
    if verdict is not None:
        parts += _pages(verdict)
    parts.append(f"<sub>mhc-diag {mhc_diag.__version__}</sub>")
    return "\n\n".join(parts) + "\n"


def _head(verdict: Verdict | None) -> str:
    if verdict is None:
        return "## mhc-diag: measured"
    counts = [
        (len(verdict.errors), "error"),
        (len(verdict.warnings), "warning"),
        (sum(doubt.outcome != "passed" for doubt in verdict.doubts), "doubt"),
        (sum(c.outcome == "passed" for c in verdict.checks), "limit that holds"),
    ]
    said = ", ".join(f"{n} {word if n == 1 else _plural(word)}" for n, word in counts)
    if not verdict.enforced:
        return f"## mhc-diag: measured\n\n{said}. Nothing was enforced: what follows is advice."
    return f"## {SIGNS[verdict.outcome]} mhc-diag: {verdict.outcome}\n\n{said}."


def _plural(word: str) -> str:
    return word.replace("limit that holds", "limits that hold") if " " in word else f"{word}s"


def _gains(reports: Sequence[Report], verdict: Verdict | None) -> Iterator[str]:
    if not reports:
        return
    profiles = {} if verdict is None else verdict.profiles
    rows = []
    for report in reports:
        peaks = [part for d in DIRECTIONS for part in _peak(report, report.worst(d))]
        size = [str(report.streams), str(len(report.sites)), str(report.tokens)]
        rows.append([_code(report.name), profiles.get(report.name, ""), *size, *peaks])
    head = ["target", "profile", "streams", "sites", "tokens", "forward", "at", "backward", "at"]
    yield "### Worst composite gains\n\n" + _table(head, rows)


def _peak(report: Report, peak: Peak) -> tuple[str, str]:
    label = report.sites[peak.site].label
    return magnitude(peak.value, peak.log10), f"{peak.site}" + (f" {_code(label)}" if label else "")


def _found(verdict: Verdict) -> Iterator[str]:
    if not verdict.findings:
        return
    known = findings.rules()
    rows = []
    for found in verdict.findings:
        where = address(known[found.rule]) if DOCS and found.rule in known else ""
        rule = f"[{found.rule}]({where})" if where else found.rule
        told = [_safe(text) for text in (found.text, found.fix)]
        level = "accepted" if found.accepted else LEVELS[found.level]
        rows.append([level, f"{rule} {_safe(found.title)}", _code(found.target), *told])
    yield "### Findings\n\n" + _table(["level", "finding", "target", "what was seen", "what to do"], rows)


def _doubts(verdict: Verdict) -> Iterator[str]:
    if verdict.doubts:
        told = [(d, "allowed" if d.outcome == "passed" else d.outcome) for d in verdict.doubts]
        rows = [[_code(d.target), outcome, _safe(d.text), _safe(d.hint)] for d, outcome in told]
        yield "### What could not be told\n\n" + _table(["target", "outcome", "why", "what to do"], rows)
    if verdict.notes:
        yield "\n".join(f"- {_safe(note)}" for note in verdict.notes[:ROWS])


def _limits(verdict: Verdict) -> Iterator[str]:
    if not verdict.checks:
        return
    rows = []
    for check in sorted(verdict.checks, key=lambda check: check.outcome == "passed"):
        limit = check.limit
        what = " ".join(part for part in (limit.metric, limit.scope, limit.statistic) if part)
        where = "" if limit.sites == "*" else f" at {_code(limit.sites)}"
        set_by = _safe(limit.origin or "the user")
        outcome = {"passed": "holds", "failed": "broken"}.get(check.outcome, check.outcome)
        texts = [_safe(limit.allowed), _safe(check.text), outcome, limit.level, set_by]
        rows.append([_code(check.target), _safe(what) + where, *texts])
    head = ["target", "limit", "allowed", "measured", "outcome", "level", "set by"]
    yield "### Limits\n\n" + _table(head, rows)


def _sites(report: Report) -> Iterator[str]:
    curves = [report.curve(metric, scope, "max") for _, metric, scope in COLUMNS]
    logs = [curve.log10.tolist() for curve in curves]
    rows = []
    for site in sorted(worst_sites(logs[:2], logs[2:], SITES)):
        gains = [magnitude(float(c.value[site]), float(c.log10[site])) for c in curves]
        rows.append([str(site), _code(report.sites[site].label), *gains])
    head = ["site", "module", *(title for title, *_ in COLUMNS)]
    yield f"### Sites whose gains are furthest from 1: {_code(report.name)}\n\n" + _table(head, rows)


def _pages(verdict: Verdict) -> Iterator[str]:
    known = findings.rules()
    for name in dict.fromkeys(f.rule for f in verdict.findings if f.rule in known):
        rule = known[name]
        text = re.sub("^##", "####", page(rule).partition("\n")[2].strip(), flags=re.M)
        yield f"<details><summary>{name}: {_safe(rule.TITLE)}</summary>\n\n{text}\n\n</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines: Iterable[Sequence[str]] = (head, ["---"] * len(head), *rows[:ROWS])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    more = len(rows) - ROWS
    return table + (f"\n\nand {more} more, which the JSON report holds" if more > 0 else "")


def _code(text: str) -> str:
    """A name, in the type of names."""
    return f"<code>{_safe(text)}</code>" if text else ""


def _safe(text: str) -> str:
    """Text that is shown as it is, whatever it holds.

    Example:
        >>> _safe("layers.0.self_attn | <b>")
        'layers.0.self_attn &#124; &#60;b&#62;'
    """
    return MARKUP.sub(lambda found: f"&#{ord(found.group())};", printable(text, LONGEST))
