"""Which layout a file of tensors has: the sites that follow each other, and what was left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mhc_diag import plugins
from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.records import Skipped
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.families import Family, FoundSite
from mhc_diag.sources.files.tensors import TensorFile
from mhc_diag.sources.printable import printable

FAMILIES = "mhc_diag.sources.families"
LINES = 20
MOST_SITES = 10_000
"""Of one run; each takes about half a millisecond, and what is to be said of it some memory."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A layout and its sites."""

    name: str
    family: Family
    sites: tuple[FoundSite, ...]
    """One run: those that follow each other."""
    variants: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    unused: tuple[str, ...]


def recognise(file: TensorFile, options: Options) -> Recognised:
    """The layout of a file.

    Raises:
        MhcDiagError: the variant asked for is none of the layout's, or a file with sites is missing.
        NothingToCheck: no layout recognises any of its tensors.
    """
    shapes = float_shapes(file)
    asked: list[str] = []
    skipped: tuple[Skipped, ...] = ()
    for name, family in _asked_for(options) or families():
        found = family.find(shapes)
        skipped += found.skipped
        if found.sites:
            sites, left_out = _one_run(found.sites)
            if len(sites) > MOST_SITES:
                raise MhcDiagError(
                    f"{file.target} holds the mixing parameters of {len(sites):,} sites; "
                    f"at most {MOST_SITES:,} are measured",
                    hint="no model is known to have as many; --select REGEX chooses some of them",
                )
            _none_absent(file, sites)
            return Recognised(
                name,
                family,
                sites,
                _variants(family, family.variants(shapes, file.config), options.variant),
                (*skipped, *left_out),
                found.unused,
            )
        asked.append(name)
    raise NothingToCheck(
        f"{file.target} holds no mixing parameters that can be read without the model's code",
        hint="measure the live model with --model package.module:factory",
        looked_at=_looked_at([f"layouts not found: {', '.join(asked)}", *_not_there(file)], skipped, shapes),
    )


def float_shapes(file: TensorFile) -> dict[str, tuple[int, ...]]:
    """What layouts are shown: names and shapes of all that can be a parameter."""
    return {name: file.shape(name) for name in file.names if "float" in file.dtype(name)}


def families() -> list[tuple[str, Family]]:
    """All layouts by name, those that take any square tensor last."""
    modules = {name: cast(Family, module) for name, module in plugins.load_all(FAMILIES).items()}
    return sorted(modules.items(), key=lambda entry: entry[1].GENERIC)


def _none_absent(file: TensorFile, sites: Sequence[FoundSite]) -> None:
    """Refuse composites that lack layers because the file that holds them is not there."""
    read = {_pattern(name) for site in sites for name in (*site.tensors.values(), *site.reads.values())}
    lacking = [name for name in file.absent if _pattern(name) in read]
    if lacking:
        holder = printable(file.absent[lacking[0]])
        raise MhcDiagError(
            f"{file.target}: {len(lacking)} mixing parameters are not there, first {printable(lacking[0])}, "
            f"which should be in {holder}",
            hint=f"fetch {holder}",
        )


def _not_there(file: TensorFile) -> list[str]:
    where = sorted(set(file.absent.values()))
    return [f"{len(file.absent)} tensors in files that are not there, first {where[0]}"] if where else []


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _asked_for(options: Options) -> list[tuple[str, Family]]:
    """The parameters that the user names, if there are any: then no layout is guessed."""
    if options.select is None:
        return []
    from mhc_diag.sources.checkpoint.selected import selected
    from mhc_diag.sources.counterfactual import parse

    projection = None if options.logits is None else parse(options.logits, flag="--logits")
    return [("selected", cast(Family, selected(options.select, projection)))]


def _variants(family: Family, plausible: tuple[str, ...], asked: str | None) -> tuple[str, ...]:
    if asked is None:
        return plausible
    if asked not in family.VARIANTS:
        raise MhcDiagError(
            f"--variant {asked!r} is none of {family.TITLE}",
            hint=f"choose one of {', '.join(family.VARIANTS)}",
        )
    return (asked,)


def _one_run(sites: Sequence[FoundSite]) -> tuple[tuple[FoundSite, ...], list[Skipped]]:
    """The largest set of sites that follow each other and agree on n: only those have a product."""
    counts = Counter((site.run, site.streams) for site in sites)
    (run, streams), _ = counts.most_common(1)[0]
    left_out = [
        Skipped(
            f"{count} sites of {n} streams under {other or 'the top level'}",
            f"not in one run with the {counts[run, streams]} sites of {streams} streams under "
            f"{run or 'the top level'}",
        )
        for (other, n), count in counts.items()
        if (other, n) != (run, streams)
    ]
    return tuple(s for s in sites if (s.run, s.streams) == (run, streams)), left_out


def _looked_at(
    asked: list[str], skipped: tuple[Skipped, ...], shapes: dict[str, tuple[int, ...]]
) -> tuple[str, ...]:
    """What was considered, in at most `LINES` lines: layouts, what they left out, tensors by size."""
    seen: Counter[tuple[str, tuple[Any, ...]]] = Counter(
        (_pattern(name), shape) for name, shape in shapes.items()
    )
    lines = [*asked, *(f"{s.what}: {s.reason}" for s in skipped)]
    lines += [
        f"{pattern} {shape}" + (f", {count} of them" if count > 1 else "")
        for (pattern, shape), count in sorted(seen.items(), key=lambda item: np.prod(item[0][1], dtype=float))
    ]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"and {len(lines) - LINES + 1} more"]
    return tuple(map(printable, lines))
