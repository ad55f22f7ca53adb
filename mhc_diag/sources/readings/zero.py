"""No input at all: what a dynamic site does by itself."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mhc_diag.sources.readings import Read


class Zero:
    """The static part alone: every value that a site reads off is 0.

    Example:
        >>> Zero().values(Read(np.ones((3, 8)), streams=4, blocks=1), 0, "").tolist()
        [[[0.0, 0.0, 0.0]]]
    """

    name: Literal["static"] = "static"
    how = "at zero dynamic input, so without what the streams of a real token add"

    def values(self, read: Read, site: int, label: str) -> np.ndarray[Any, Any]:
        """(1, B, R) zeros."""
        return np.zeros((1, read.blocks, len(read.weight)))
