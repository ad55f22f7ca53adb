"""The table of sites."""

from __future__ import annotations

from mhc_diag.magnitude import magnitude
from mhc_diag.records import COMPOSITE, Report, Scope
from mhc_diag.render.html.elements import Markup, lines, table, tag
from mhc_diag.worst import worst_sites

MOST, OPEN = 1000, 24
"""Rows at most, the worst sites; rows up to which the table is open from the start."""
COLUMNS: tuple[tuple[str, str, Scope], ...] = (
    ("forward, alone", "amax_forward", "site"),
    ("backward, alone", "amax_backward", "site"),
    ("forward, sites 0 to l", *COMPOSITE["forward"]),
    ("backward, from l on", *COMPOSITE["backward"]),
)


def sites(report: Report) -> Markup:
    """Every site with its gains, those of the worst token, and how well it was measured."""
    curves = [report.curve(metric, scope, "max") for _, metric, scope in COLUMNS]
    logs = [curve.log10.tolist() for curve in curves]
    depth = len(report.sites)
    shown = range(depth) if depth <= MOST else sorted(worst_sites(logs[:2], logs[2:], MOST))
    certificates, broken = report.provenance.certificates, report.nonfinite
    head = ["site", *(title for title, *_ in COLUMNS)]
    head += ["certificate"] if certificates is not None else []
    head += ["tokens not finite"] if any(broken) else []
    rows = []
    for site in shown:
        gains = [magnitude(float(c.value[site]), float(c.log10[site])) for c in curves]
        gains += [f"{certificates[site]:.2g}"] if certificates is not None else []
        gains += [str(broken[site])] if any(broken) else []
        rows.append([f"{site} {report.sites[site].label}".strip(), *gains])
    over = ", largest over tokens" if report.tokens > 1 else ""
    less = "" if depth <= MOST else f", the {MOST} worst of {depth}; CSV and JSON hold all"
    whole = table(f"Gains by site{over}{less}", head, rows, numbers=len(head) - 1)
    is_open = "" if depth <= OPEN else None
    return tag("details", lines([tag("summary", f"All {depth} sites"), whole]), open=is_open)
