"""A checkpoint with several tables of tensors, of which none was chosen."""

from __future__ import annotations

import shlex
from pathlib import Path

from mhc_diag.errors import MhcDiagError, SeveralTables
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.files.remote import Arrived
from mhc_diag.sources.files.tensors import open_tensors
from mhc_diag.sources.inventory.layouts import layouts
from mhc_diag.sources.inventory.records import Inventory, Table
from mhc_diag.sources.printable import printable

LOOKED_INTO = 8


def several(error: SeveralTables, target: str | Path, name: str, arrived: Arrived) -> Inventory:
    """An inventory of the tables, of which the first few are looked into.

    Args:
        error: names the tables.
        target: what holds them.
        name: what to call it, printable.
        arrived: told how many more bytes will travel from elsewhere, and how many more have.
    """
    tables = tuple(_table(target, *named, i < LOOKED_INTO, arrived) for i, named in enumerate(error.tables))
    ranked = sorted((table for table in tables if table.key), key=lambda table: -(table.sites or 0))
    return Inventory(
        target=name,
        format="a checkpoint with several tables of tensors",
        files=(),
        tensors=sum(table.tensors for table in tables),
        parameters=None,
        size=None,
        dtypes=(),
        metadata={},
        config={},
        prefixes=(),
        layouts=(),
        sites=(),
        skipped=(),
        unused=(),
        patterns=(),
        candidates=(),
        notes=(),
        commands=tuple(
            f"mhc-diag {'scan' if t.sites else 'inspect'} {shlex.quote(name)} --key {shlex.quote(t.key)}"
            for t in ranked
        ),
        tables=tables,
    )


def _table(target: str | Path, key: str, tensors: int, look: bool, arrived: Arrived) -> Table:
    if not key or not look:
        return Table(printable(key), tensors, "", None)
    try:
        found = layouts(open_tensors(target, key=key, arrived=arrived), Options())
    except MhcDiagError:
        return Table(printable(key), tensors, "", None)
    scanned = next((layout.name for layout in found.layouts if layout.scanned), "")
    return Table(printable(key), tensors, scanned, len(found.sites))
