"""What it comes to: worst gains and growth, with their definitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from mhc_diag.magnitude import magnitude
from mhc_diag.records import DIRECTIONS, Report, Scalar
from mhc_diag.render.table.head import Line, grid
from mhc_diag.render.table.kernel import kernel_card, kernel_line
from mhc_diag.render.table.look import Look, marked
from mhc_diag.render.table.numbers import real

SPECTRUM, SPECTRUM_SHOWN = "lyapunov_", 8


def outcomes(reports: Sequence[Report], look: Look) -> Table:
    """Worst composite gains and growth of each report."""
    lines: list[Line] = []
    for report in reports:
        lines.append((look.text(report.name), _worst(report)))
        lines += [("", line) for line in _lines(report, look)]
    return grid([*lines, *_definitions(reports, look)])


def overall(report: Report, look: Look) -> Table:
    """The numbers about a whole stack."""
    lines = [("overall" if i == 0 else "", line) for i, line in enumerate(_lines(report, look))]
    return grid([*lines, *_definitions([report], look)])


def _lines(report: Report, look: Look) -> Iterator[Text]:
    """One line for each scalar, the Lyapunov spectrum in one, and one for the depth kernel."""
    spectrum = [s for s in report.scalars if s.name.startswith(SPECTRUM)]
    for scalar in report.scalars:
        if scalar not in spectrum:
            yield marked(f"{look.text(scalar.title)}: {_estimate(scalar, look)}")
        elif scalar is spectrum[0]:
            shown = [_estimate(s, look) for s in spectrum]
            if len(shown) > SPECTRUM_SHOWN:
                shown = [*shown[: SPECTRUM_SHOWN - 1], look.pick("…", "..."), shown[-1]]
            yield marked(f"Lyapunov exponents 1 to {len(spectrum)}: {'; '.join(shown)}")
    kernel = kernel_line(report, look)
    if kernel is not None:
        yield marked(kernel)


def _estimate(scalar: Scalar, look: Look) -> str:
    text = real(round(scalar.value, 12) + 0.0)  # rounding errors are no growth
    if scalar.standard_error is not None and not scalar.standard_error <= 1e-12:
        text += f" {look.pick('±', '+-')} {real(scalar.standard_error, 2)}"
    return text + (f", theory {real(scalar.expected)}" if scalar.expected is not None else "")


def _definitions(reports: Sequence[Report], look: Look) -> Iterator[Line]:
    formulas = [s.formula for r in reports for s in r.scalars]
    formulas += [card.formula for card in map(kernel_card, reports) if card is not None]
    for formula in dict.fromkeys(formulas):
        yield "", Text(look.text(f"= {formula}"), "dim")


def _worst(report: Report) -> Text:
    parts = []
    for direction in DIRECTIONS:
        typical, peak = report.worst(direction, "p50"), report.worst(direction)
        parts.append(
            f"worst {direction} gain {magnitude(typical.value, typical.log10)} in the median, "
            f"{magnitude(peak.value, peak.log10)} at most"
        )
    return marked("; ".join(parts))
