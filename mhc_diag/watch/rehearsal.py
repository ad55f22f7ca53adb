"""Forward passes that torch's pipeline makes before the first step, on no data, to learn shapes."""

from __future__ import annotations

import sys

NAMES = frozenset({"_forward_metadata_inference", "_shape_inference"})
"""The functions of torch.distributed.pipelining.stage that make them."""


def is_rehearsal() -> bool:
    """Whether such a pass is under way.

    Example:
        >>> is_rehearsal()
        False
    """
    if "torch.distributed.pipelining" not in sys.modules:
        return False
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name in NAMES and frame.f_globals.get("__name__", "").startswith("torch."):
            return True
    return False
