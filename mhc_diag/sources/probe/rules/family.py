"""One row of the table of operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mhc_diag.sources.probe.call import Call, Outcome


@dataclass(frozen=True, slots=True)
class Family:
    """Operations that are treated alike.

    Args:
        name: what they do.
        operations: their names in torch's `aten` library, without the underscore of an in-place form.
        rule: says what becomes of the tangents in one call.
        reason: why tangents may pass, or what they end in.
    """

    name: str
    operations: tuple[str, ...]
    rule: Callable[[Call], Outcome]
    reason: str
