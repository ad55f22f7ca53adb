"""One site in full: the way of the streams to it, what ended, the layout found, and M with its sums."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Explanation, MixingStack, Step
from mhc_diag.render.table import printed
from mhc_diag.render.table.head import Line, grid
from mhc_diag.render.table.look import Look, marked
from mhc_diag.render.table.numbers import aligned, ratio, real

LARGEST_SHOWN = 16


def explained(
    stack: MixingStack, site: str, *, width: int = 120, color: bool = False, unicode: bool = True
) -> str:
    """How a site of a live model came to be measured, as text for a terminal.

    Args:
        stack: what a probe made that was asked to explain.
        site: its number, its label as in the table, or a pattern such as `*.3.mlp`.
        width: columns of the terminal.
        color: with ANSI colours.
        unicode: draw with more than ASCII.

    Raises:
        MhcDiagError: there is no such site, or the stack holds no explanations.
    """
    chosen = _chosen(stack, site)
    look = Look(width, unicode)
    return printed((part for e in chosen for part in _one(stack, e, look)), look, color)


def _chosen(stack: MixingStack, site: str) -> list[Explanation]:
    if not stack.explanations:
        raise MhcDiagError(
            f"{stack.name} was not measured live, so there is no way of its streams to explain",
            hint="give the model's code: package.module:factory, or --model",
        )
    known = {(e.site.label or str(e.site.depth)): e for e in stack.explanations}
    chosen = [
        e
        for e in stack.explanations
        if site == e.site.label
        or (site == str(e.site.depth) and not e.skipped)
        or fnmatch.fnmatchcase(e.site.label, site)
    ]
    if not chosen:
        close = [label for label in known if site in label] or list(known)
        raise MhcDiagError(
            f"--explain {site}: there is no such site among {len(stack.explanations)}",
            hint=f"give a number or a label of the table, such as {', '.join(close[:3])}",
        )
    return chosen


def _one(stack: MixingStack, explanation: Explanation, look: Look) -> Iterator[RenderableType]:
    number = explanation.site.depth
    measured = not explanation.skipped
    title = f"Site {number}" if measured else "Site not measured"
    yield Text(look.text(f"{title}  {explanation.site.label}"), "bold")
    yield grid(list(_lines(stack, explanation, look)))
    if measured:
        yield from _matrix(stack, number, look)


def _lines(stack: MixingStack, explanation: Explanation, look: Look) -> Iterator[Line]:
    if explanation.skipped:
        yield "reason", marked(look.text(explanation.skipped))
    yield "streams lie", Text(look.text(explanation.layout))
    label = "passed"
    for module, steps in groupby(explanation.passed, key=lambda step: step.module):
        yield label, Text(look.text(f"{module or 'the model'}: {', '.join(map(_step, steps))}"))
        label = ""
    label = "ended"
    for end in explanation.ended:
        yield label, Text(look.text(end))
        label = ""
    certificates = stack.provenance.certificates
    if certificates is not None and not explanation.skipped:
        yield "certificate", marked(ratio(certificates[explanation.site.depth]))


def _step(step: Step) -> str:
    return step.operation if step.times == 1 else f"{step.operation} x{step.times}"


def _matrix(stack: MixingStack, number: int, look: Look) -> Iterator[RenderableType]:
    """M of the token with the largest forward gain, its row sums to the right and column sums below."""
    matrices = np.asarray(stack.matrices[number].tolist(), dtype=np.float64)
    gains = np.abs(matrices.sum(-1)).max(-1)
    token = int(np.argmax(np.where(np.isnan(gains), np.inf, gains)))
    matrix = matrices[token]
    what = "M" if len(matrices) == 1 else f"M of token {token}, whose forward gain is the largest"
    if stack.streams > LARGEST_SHOWN:
        yield Text(f"{what}: {stack.streams} x {stack.streams}, too large to show")
        return
    yield Group(Text(f"{what}; row sums on the right, column sums below"), _with_sums(matrix, look))


def _with_sums(matrix: np.ndarray[Any, Any], look: Look) -> Text:
    rows = [[*row, sum(row)] for row in matrix.tolist()]
    sums = matrix.sum(0).tolist()
    columns = [aligned([real(row[i]) for row in (*rows, [*sums, 0.0])]) for i in range(len(sums))]
    right = aligned([real(row[-1]) for row in rows])
    bar = look.pick("│", "|")
    lines = [f"  {'  '.join(column[i] for column in columns)}  {bar}  {right[i]}" for i in range(len(rows))]
    lines.append("  " + look.pick("─", "-") * (len(lines[0]) - 2))
    lines.append(f"  {'  '.join(column[-1] for column in columns)}")
    return marked("\n".join(lines))
