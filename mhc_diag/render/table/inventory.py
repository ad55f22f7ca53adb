"""What is in a file of tensors, as text for a terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from mhc_diag.render.table import NARROWEST, printed
from mhc_diag.render.table.head import Line, grid
from mhc_diag.render.table.look import Look
from mhc_diag.worst import runs

if TYPE_CHECKING:
    from mhc_diag.sources.inventory.records import Inventory, Layout, Pattern, Place, Table

NUMBER = re.compile(r"(?<![0-9A-Za-z])\d+(?![0-9A-Za-z])")
LINES = 8
FIRST_SITES, LAST_SITES = 4, 2
ROWS = 20


def inventory(found: Inventory, *, width: int = 120, color: bool = False, unicode: bool = True) -> str:
    """An inventory as text.

    Args:
        found: what `mhc_diag.sources.inventory.take` made.
        width: columns of the terminal.
        color: with ANSI colours.
        unicode: draw with more than ASCII.
    """
    look = Look(max(width, NARROWEST), unicode)
    return printed(_parts(found, look), look, color) + _commands(found, look)


def _parts(found: Inventory, look: Look) -> Iterator[RenderableType]:
    if found.tables:
        yield grid(list(_head(found, look)))
        yield _tables(found.tables, look)
        return
    yield grid([*_file(found, look), *_layouts(found, look), *_left_out(found, look)])
    if found.sites:
        yield _sites(found.sites, look)
    elif found.candidates:
        title = "Square parameters, which may hold the mixing"
        yield _patterns(title, found.candidates, look)
        yield Text("--select reads them as the applied matrices; --logits sinkhorn:20 with it, as logits.")
    if not found.sites:
        yield _patterns("Tensors by name, the smallest first", found.patterns, look)


def _head(found: Inventory, look: Look) -> Iterator[Line]:
    yield "target", Text(look.text(found.target), "bold")
    yield "format", Text(look.text(found.format))
    numbers = "" if found.parameters is None else f" of {_count(found.parameters, 'number')}"
    size = "" if found.size is None else f", {_bytes(found.size)}"
    yield "holds", Text(f"{_count(found.tensors, 'tensor')}{numbers}{size}")


def _file(found: Inventory, look: Look) -> Iterator[Line]:
    yield from _head(found, look)
    dtypes = [f"{d.name} {_count(d.tensors, 'tensor')} of {d.parameters:,}" for d in found.dtypes]
    if len(dtypes) == 1:
        dtypes = [found.dtypes[0].name]
    yield from _lines("dtypes", dtypes, look)
    yield from _lines("config", _settings(found.config), look)
    yield from _lines("metadata", _settings(found.metadata), look)
    if found.prefixes:
        yield "names", Text(look.text(f"{', '.join(found.prefixes)} of wrappers taken off"))


def _layouts(found: Inventory, look: Look) -> Iterator[Line]:
    beside = "which a scan leaves alone: the other is more specific" if found.sites else "not scanned"
    for layout in found.layouts:
        label = "layout" if layout.scanned else "also"
        yield label, Text(look.text(f"{layout.name}: {layout.title}"))
        if not layout.scanned:
            yield "", Text(f"{_size(layout)}, {beside}")
            continue
        yield "", Text(_size(layout))
        if len(layout.variants) > 1:
            yield "", Text(f"nothing in the file decides between {len(layout.variants)} ways to read it:")
        for variant in layout.variants:
            name = f"{variant.name}: " if len(layout.variants) > 1 else ""
            yield "", Text(look.text(name + variant.how))
    if not found.layouts:
        yield "layout", Text("none is recognised: nothing here can be read without the model's code")


def _left_out(found: Inventory, look: Look) -> Iterator[Line]:
    yield from _lines("skipped", [f"{s.what}: {s.reason}" for s in found.skipped], look)
    yield from _lines("unused", _folded(found.unused), look)
    yield from _lines("note", found.notes, look)


def _sites(sites: Sequence[Place], look: Look) -> Group:
    """The first and the last sites; the same tensors as at the site before are not repeated."""
    ends = {*range(FIRST_SITES), *range(len(sites) - LAST_SITES, len(sites))}
    table = look.table()
    for name in ("#", "site", "parameters"):
        table.add_column(name, justify="right" if name == "#" else "left", no_wrap=name != "parameters")
    room = look.width // 2
    before = None
    for numbers, folded in runs(len(sites), ends):
        if folded:
            dots = look.pick("…", "...")
            table.add_row(f"{numbers[0]}-{numbers[-1]}", f"{dots} {len(numbers)} sites", "", style="dim")
        for number in () if folded else numbers:
            place = sites[number]
            shapes = ", ".join(f"{role} {_shape(shape)}" for role, shape in place.shapes.items())
            same = "the same" if shapes == before else shapes
            table.add_row(str(number), look.shorten(place.label, room), Text(look.text(same)))
            before = shapes
    return Group(Text(f"{_count(len(sites), 'site')} in the order of execution", "bold"), Text(), table)


def _tables(tables: Sequence[Table], look: Look) -> Group:
    shown = look.table()
    for name in ("--key", "tensors", "sites", "layout"):
        shown.add_column(name, justify="right" if name in {"tensors", "sites"} else "left", no_wrap=True)
    for table in tables[:ROWS]:
        key = look.shorten(table.key, look.width // 2) or "(the top level)"
        sites = "?" if table.sites is None else str(table.sites)
        shown.add_row(Text(key), str(table.tensors), sites, look.text(table.layout))
    parts: list[RenderableType] = [Text("Tables of tensors", "bold"), Text(), shown]
    if len(tables) > ROWS:
        parts.append(Text(f"and {len(tables) - ROWS} more"))
    return Group(*parts)


def _patterns(title: str, rows: Sequence[Pattern], look: Look) -> Group:
    table = look.table()
    table.add_column("name", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    table.add_column("dtype", no_wrap=True)
    table.add_column("how many", justify="right", no_wrap=True)
    for row in rows[:ROWS]:
        name = look.shorten(row.name, look.width // 2)
        table.add_row(Text(name), _shape(row.shape), look.shorten(row.dtype, 20), str(row.count))
    parts: list[RenderableType] = [Text(title, "bold"), Text(), table]
    if len(rows) > ROWS:
        parts.append(Text(f"and {len(rows) - ROWS} more"))
    return Group(*parts)


def _commands(found: Inventory, look: Look) -> str:
    """What to type next, on lines that are never broken, so that they can be copied."""
    lines = "".join(f"  {look.text(command)}\n" for command in found.commands)
    return f"\nNext, type\n\n{lines}" if lines else ""


def _lines(label: str, texts: Sequence[str], look: Look) -> Iterator[Line]:
    """The first few texts under one label."""
    for i, text in enumerate(texts[:LINES]):
        yield label if i == 0 else "", Text(look.text(text))
    if len(texts) > LINES:
        yield "", Text(f"and {len(texts) - LINES} more")


def _folded(names: Sequence[str]) -> list[str]:
    """Names that differ by numbers only as one, with how many there are.

    Example:
        >>> _folded(["layers.0.a", "layers.1.a", "b"])
        ['layers.#.a, 2 of them', 'b']
    """
    counts = Counter(NUMBER.sub("#", name) for name in names)
    return [name if count == 1 else f"{name}, {count} of them" for name, count in counts.items()]


def _settings(settings: Mapping[str, str]) -> list[str]:
    return [f"{name} {value}" for name, value in settings.items()]


def _size(layout: Layout) -> str:
    return f"{_count(layout.sites, 'site')} of {' and '.join(map(str, layout.streams))} streams"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}" + ("" if number == 1 else "s")


def _bytes(size: float) -> str:
    """A size in the unit that leaves at most four digits before the point.

    Example:
        >>> _bytes(656500), _bytes(12), _bytes(4.1e12)
        ('656.5 kB', '12 B', '4.1 TB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:,.4g} TB"
