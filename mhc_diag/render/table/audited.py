"""What the stored parameters show beside the gains, in a few lines of the head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from mhc_diag.records import Report
from mhc_diag.render.table.look import Look, marked

AUDIT_SHOWN = 6


def audited(reports: Sequence[Report], look: Look) -> Iterator[tuple[str, Text]]:
    """A label and a text for each observation, those that several reports share once."""
    seen = list(dict.fromkeys(o for r in reports for o in r.provenance.audit))
    for i, item in enumerate(seen[:AUDIT_SHOWN]):
        line = f"{item.where}: {item.text}" if item.where else item.text
        yield "audit" if i == 0 else "", marked(look.text(line))
    if len(seen) > AUDIT_SHOWN:
        yield "", Text(f"and {len(seen) - AUDIT_SHOWN} more")
