"""Which layouts find sites in a file, and what a scan would take."""

from __future__ import annotations

from dataclasses import dataclass

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.records import Skipped
from mhc_diag.sources.checkpoint.audit.places import label
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.checkpoint.recognised import Recognised, families, float_shapes, recognise
from mhc_diag.sources.families import Family, Found, FoundSite, Shapes
from mhc_diag.sources.files.tensors import TensorFile
from mhc_diag.sources.inventory.records import Layout, Place, ReadAs
from mhc_diag.sources.printable import printable


@dataclass(frozen=True, slots=True)
class Layouts:
    """What was recognised."""

    layouts: tuple[Layout, ...]
    sites: tuple[Place, ...]
    skipped: tuple[Skipped, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]


def layouts(file: TensorFile, options: Options) -> Layouts:
    """Every layout that finds sites, and the sites of the one that a scan takes."""
    shapes = float_shapes(file)
    asked = [(name, family, family.find(shapes)) for name, family in families()]
    taken: Recognised | None = None
    refused: tuple[str, ...] = ()
    try:
        taken = recognise(file, options)
    except NothingToCheck:
        pass
    except MhcDiagError as e:
        refused = (f"a scan refuses it: {e.message}; {e.hint}",)
    every = [
        _layout(name, family, found, shapes, file, taken is not None and name == taken.name)
        for name, family, found in asked
        if found.sites
    ]
    if taken is None:
        skipped = tuple(dict.fromkeys(s for _, _, found in asked for s in found.skipped))
        return Layouts(tuple(every), (), skipped, (), refused)
    every.sort(key=lambda layout: not layout.scanned)
    sites = tuple(_place(site, shapes) for site in taken.sites)
    return Layouts(tuple(every), sites, taken.skipped, taken.unused, ())


def _layout(
    name: str, family: Family, found: Found, shapes: Shapes, file: TensorFile, scanned: bool
) -> Layout:
    variants = {v: family.VARIANTS[v] for v in family.variants(shapes, file.config)}
    return Layout(
        name,
        family.TITLE,
        len(found.sites),
        tuple(sorted({site.streams for site in found.sites})),
        tuple(ReadAs(v, variant.how, variant.orientation) for v, variant in variants.items()),
        scanned,
    )


def _place(site: FoundSite, shapes: Shapes) -> Place:
    names = {**site.tensors, **site.reads}
    return Place(
        label(site),
        {role: printable(name) for role, name in names.items()},
        {role: shapes[name] for role, name in names.items()},
    )
