"""The colours of paper, ink and grid: for light and for dark pages, and for a page that sets them itself.

Those of curves are the same everywhere; they can be told apart on both.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

Theme = Literal["light", "dark", "page"]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of everything that is no curve."""

    paper: str
    ink: str
    faint: str
    """Axes and lines that guide the eye."""
    grid: str
    blank: str
    """Where a heat map has no number."""


PALETTES: dict[Theme, Palette] = {
    "light": Palette(paper="#ffffff", ink="#1f2328", faint="#6e7781", grid="#e6e8eb", blank="#d8dbdf"),
    "dark": Palette(paper="#0d1117", ink="#e6edf3", faint="#8b949e", grid="#272e37", blank="#30363d"),
    "page": Palette(paper="#010201", ink="#010202", faint="#010203", grid="#010204", blank="#010205"),
}
"""Those of `page` stand for variables of the page's style sheet and occur nowhere else."""

_current: ContextVar[Palette] = ContextVar("palette", default=PALETTES["light"])


def palette() -> Palette:
    """The colours of the figure that is being drawn."""
    return _current.get()


def use(theme: Theme) -> dict[str, str]:
    """Draw in this theme from now on; returns what matplotlib must be told."""
    colors = PALETTES[theme]
    _current.set(colors)
    inked = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")
    lined = ("axes.edgecolor", "xtick.color", "ytick.color")
    return {
        "figure.facecolor": colors.paper,
        "axes.facecolor": colors.paper,
        "grid.color": colors.grid,
        **dict.fromkeys(inked, colors.ink),
        **dict.fromkeys(lined, colors.faint),
    }
