"""A figure as a file, the same bytes for the same figure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextvars import copy_context
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from mhc_diag.figures.theme import Theme, use

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["png", "svg", "pdf"]
METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def saved(draw: Callable[[], Figure], kind: Kind, theme: Theme = "light") -> bytes:
    """What `draw` makes, as a file. The user's matplotlib settings do not apply."""
    return copy_context().run(_saved, draw, kind, theme)


def _saved(draw: Callable[[], Figure], kind: Kind, theme: Theme) -> bytes:
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        colors: dict[Any, Any] = {**use(theme)}
        matplotlib.rcParams.update(colors)
        matplotlib.rcParams["svg.hashsalt"] = "mhc-diag"
        if theme == "page":  # text stays text, and the page scales what is drawn in cells
            matplotlib.rcParams["svg.fonttype"] = "none"
            matplotlib.rcParams["image.interpolation"] = "none"
            matplotlib.rcParams["image.composite_image"] = False
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        file = BytesIO()
        draw().savefig(file, format=kind, metadata=METADATA[kind])
    return file.getvalue()
