"""A figure as a file, the same bytes for the same figure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["png", "svg", "pdf"]
METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def saved(draw: Callable[[], Figure], kind: Kind) -> bytes:
    """What `draw` makes, as a file. The user's matplotlib settings do not apply."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams["svg.hashsalt"] = "mhc-diag"
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        file = BytesIO()
        draw().savefig(file, format=kind, metadata=METADATA[kind])
    return file.getvalue()
