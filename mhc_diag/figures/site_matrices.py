"""A few matrices M in full with their row and column sums along the axes, as Fig. 8 of arXiv 2512.24880.

The first and the last site, the worst single sites, and the composite of all sites; of all tokens whose
matrices the report keeps, the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.curves import MeanMatrices
from mhc_diag.figures.axis import Floats, printable, title
from mhc_diag.figures.sheet import DPI, NARROW, WIDE, nothing
from mhc_diag.figures.words import worst_site
from mhc_diag.maths.products import composites
from mhc_diag.records import DIRECTIONS, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = "RdBu_r"
NOT_FINITE = "#009E73"
ALL_SITES = 5
"""Sites up to which each has a panel."""
MOST = 4
"""Reports that are drawn."""
MOST_COLUMNS = 6
NARROWEST = 6.5
"""Inches, so that the title has room."""
WRITTEN = 8
"""Streams up to which the entries are written into the cells."""
ALIKE = 1e-6
"""Decades: no site is worse than others by so little."""
LABEL = 26
LOG10_2 = math.log10(2)


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One matrix and what it is called."""

    name: str
    matrix: Floats
    """(n, n), without the power of ten."""
    power: int = 0
    """Of ten that all its entries are to be multiplied by."""

    @property
    def heading(self) -> str:
        """Its name, and the power where there is one."""
        return self.name + (f"\nentries and sums times 1e{self.power:+d}" if self.power else "")


def draw(reports: Sequence[Report], *, stacked: bool = False) -> Figure:
    """A row of matrices for each report, row i the output stream i; on a narrow page two in a row."""
    from matplotlib.figure import Figure

    reason = missing(reports)
    if reason:
        return nothing(reason, stacked=stacked)
    shown = [r for r in reports if r.sample is not None][:MOST]
    cells = [matrices(r) for r in shown]
    if stacked and len(shown) > 1:  # where no title names the rows
        cells = [_of(r.name, row) for r, row in zip(shown, cells, strict=True)]
    columns = min(2 if stacked else MOST_COLUMNS, max(map(len, cells)))
    lines = [part for row in cells for part in _folded(row, columns)]
    width = NARROW if stacked else min(WIDE, max(NARROWEST, 0.4 + 3.2 * columns))
    size = min(3.2, width / columns)
    figure = Figure(figsize=(width, (size + 0.55) * len(lines) + 0.5), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(lines), columns, squeeze=False)
    if not stacked:
        heading = "\n".join(title([r]) + _averaged(r) for r in shown)
        figure.suptitle(heading, fontsize=11, parse_math=False)
    for row, line in zip(panels, lines, strict=True):
        for axes, cell in zip(row, [*line, *[None] * (columns - len(line))], strict=True):
            if cell is None:
                axes.set_axis_off()
            else:
                _panel(axes, cell, size)
    return figure


def missing(reports: Sequence[Report]) -> str:
    """Why no matrix can be shown; empty where one can."""
    if any(report.sample is not None for report in reports):
        return ""
    return "The report keeps no matrices: simulations do not."


def in_words(reports: Sequence[Report]) -> str:
    """The sums of each matrix."""
    told = []
    for report in reports:
        for cell in matrices(report) if report.sample is not None else ():
            rows, columns = (_sums(cell.matrix, axis) for axis in (1, 0))
            name = " ".join(cell.heading.split("\n"))
            told.append(
                f"{name}{_averaged(report)}: row sums {', '.join(rows)}; column sums {', '.join(columns)}."
            )
    return f"Matrices, output stream by input stream. {' '.join(told)}"


def matrices(report: Report) -> list[Cell]:
    """The matrices that are shown of a report: some sites, and the composite of all."""
    sample = report.sample
    assert sample is not None
    depth, tokens = sample.shape[:2]
    with np.errstate(over="ignore", invalid="ignore"):
        cells = [
            _scaled(_name(report, site, why), sample[site].astype(np.float64).mean(axis=0), 0.0)
            for site, why in sorted(_sites(report, depth).items())
        ]
        if depth > 1:
            means = MeanMatrices(depth, sample.shape[-1], part=0, tokens=tokens)
            for sites, scaled in composites(sample, "prefix"):
                means.add(sites, scaled)
            whole = means.means()
            name = f"composite of\nsites 0 to {depth - 1}"
            cells.append(_scaled(name, whole.mantissa[-1], float(whole.exponent[-1]) * LOG10_2))
    return cells


def _averaged(report: Report) -> str:
    assert report.sample is not None
    tokens = report.sample.shape[1]
    return f", mean of {tokens} {report.provenance.token_axis}s" if tokens > 1 else ""


def _sites(report: Report, depth: int) -> dict[int, str]:
    """Which sites are shown, and why."""
    if depth <= ALL_SITES:
        return dict.fromkeys(range(depth), "")
    found: dict[int, str] = {0: "", depth - 1: ""}
    for direction in DIRECTIONS:
        log10 = report.curve(f"amax_{direction}", "site", "max").log10
        if np.isfinite(log10).all() and np.ptp(log10) < ALIKE:
            continue
        site = worst_site(log10)
        found[site] = f"worst {direction}" if not found.get(site) else "worst"
    return found


def _name(report: Report, site: int, why: str) -> str:
    label = printable(report.sites[site].label)
    label = label if len(label) <= LABEL else f"...{label[3 - LABEL :]}"
    return f"site {site}{f' ({why})' if why else ''}" + (f"\n{label}" if label else "")


def _scaled(name: str, matrix: Floats, log10: float) -> Cell:
    """A matrix times 10**log10, with a power of ten taken out where its entries would be hard to read."""
    finite = np.abs(matrix[np.isfinite(matrix)])
    largest = float(finite.max()) if finite.size else 0.0
    if not largest:
        return Cell(name, matrix)
    reach = math.log10(largest) + log10
    power = 0 if -2 <= reach < 2 else math.floor(reach)
    return Cell(name, matrix * 10.0 ** (log10 - power), power)


def _of(name: str, cells: Sequence[Cell]) -> list[Cell]:
    short = printable(name)
    short = short if len(short) <= LABEL else f"...{short[3 - LABEL :]}"
    return [replace(cell, name=f"{short}\n{cell.name}") for cell in cells]


def _folded(cells: Sequence[Cell], columns: int) -> Iterator[Sequence[Cell]]:
    for start in range(0, len(cells), columns):
        yield cells[start : start + columns]


def _sums(matrix: Floats, axis: int) -> list[str]:
    return [_entry(x) for x in matrix.sum(axis=axis).tolist()]


def _entry(value: float) -> str:
    """Two decimals; a word where it is no number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def _panel(axes: Axes, cell: Cell, size: float) -> None:
    from matplotlib import colormaps

    matrix, n = cell.matrix, len(cell.matrix)
    finite = np.isfinite(matrix)
    reach = max(1.0, float(np.abs(matrix[finite]).max()) if finite.any() else 0.0)
    colors = colormaps[COLORS].with_extremes(bad=NOT_FINITE)
    shown = np.ma.masked_array(matrix, ~finite)
    axes.imshow(shown, cmap=colors, vmin=-reach, vmax=reach)
    small = max(5.0, min(10.0, 44.0 * size / 2.2 / n))
    for i, j in np.ndindex(n, n) if n <= WRITTEN else ():
        dark = not finite[i, j] or abs(matrix[i, j]) > 0.6 * reach
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": small}
        axes.text(j, i, _entry(float(matrix[i, j])), color="white" if dark else "black", **look)
    places = range(n) if n <= 2 * WRITTEN else ()
    with np.errstate(invalid="ignore"):
        sums = {axis: _sums(matrix, axis) for axis in (0, 1)}
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_xticks(places, sums[0] if places else [], fontsize=small, rotation=90 if n > 4 else 0)
    axes.set_yticks(places, sums[1] if places else [], fontsize=small)
    axes.tick_params(length=0)
    axes.set_xlabel("column sums", fontsize=8.5)
    axes.set_ylabel("row sums", fontsize=8.5)
    axes.set_title(cell.heading, fontsize=8.5, parse_math=False)
