"""How panels are put on a figure: side by side under a title, or one below the other on a narrow page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mhc_diag.figures.axis import plain, title
from mhc_diag.records import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 11.0, 4.8
"""Inches."""
DPI = 150


def sheet(
    reports: Sequence[Report], panels: int, *, stacked: bool, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure with some panels a row.

    Args:
        reports: what the title names.
        panels: in each row.
        stacked: all in one column and without a title, for a page that has titles of its own.
        rows: of panels.
    """
    from matplotlib.figure import Figure

    size = (NARROW, 3.5 * panels * rows) if stacked else (WIDE, 0.5 + 4.0 * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    shape = (panels * rows, 1) if stacked else (rows, panels)
    axes = figure.subplots(*shape, squeeze=False).ravel().tolist()
    if not stacked:
        figure.suptitle(title(reports), fontsize=11, parse_math=False)
    return figure, axes


def key(figure: Figure, shown: Sequence[Any], names: Sequence[str], *, stacked: bool) -> None:
    """One legend for all panels, below them."""
    if names:
        columns = min(len(names), 2 if stacked else 6)
        plain(figure.legend(shown, names, loc="outside lower center", ncols=columns))


def below(axes: Axes, shown: Sequence[Any], *, columns: int = 1) -> None:
    """A legend of one panel, below it; in as many columns as there is room for."""
    if shown:
        narrow = axes.figure.get_figwidth() <= NARROW  # type: ignore[union-attr]
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2 if narrow else -0.14)}
        plain(axes.legend(handles=shown, ncols=1 if narrow else columns, fontsize=9, **place))


def nothing(reason: str, *, stacked: bool) -> Figure:
    """A picture that says why there is none, so that a run does not end for want of it."""
    import textwrap

    from matplotlib.figure import Figure

    figure = Figure(figsize=(NARROW if stacked else WIDE, 2.0), dpi=DPI)
    text = textwrap.fill(reason, 48 if stacked else 100)
    figure.text(0.5, 0.5, text, ha="center", va="center", parse_math=False)
    return figure
