"""Mixing parameters that the user names, where no layout knows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mhc_diag import plugins
from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import sequence
from mhc_diag.sources.counterfactual import PROJECTIONS, Projection
from mhc_diag.sources.families import (
    MOST_STREAMS,
    Found,
    FoundSite,
    Mixing,
    Settings,
    Shapes,
    Tensors,
    Variant,
)
from mhc_diag.sources.printable import printable

MAX_LAYERS = 10_000
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Selected:
    """A layout of square parameters, or stacks of them, whose names a regular expression matches anywhere."""

    pattern: str
    projection: Projection | None
    """What makes the matrices out of what is stored; None where they are stored themselves."""
    TITLE: str
    VARIANTS: Mapping[str, Variant]
    GENERIC: bool = True

    def find(self, shapes: Shapes) -> Found:
        """All that match, in the order that their names tell.

        Raises:
            MhcDiagError: nothing matches, or something that holds no square matrices.
        """
        chosen = [name for name in shapes if re.search(self.pattern, name)]
        if not chosen:
            raise MhcDiagError(
                f"--select {self.pattern!r} matches no parameter of floating numbers",
                hint=f"there are {_named(shapes, shapes) or 'none in this file'}",
            )
        if wrong := [name for name in chosen if not _is_square(shapes[name])]:
            raise MhcDiagError(
                f"--select {self.pattern!r} matches {_named(wrong, shapes)}, expected square matrices for at "
                f"most {MOST_STREAMS} streams, or stacks of them",
                hint="write an expression that matches the mixing parameters only",
            )
        members: dict[str, tuple[str, int | None]] = {}
        for name in chosen:
            stack = shapes[name][0] if len(shapes[name]) == 3 else None
            members |= (
                {f"{name}.": (name, None)}
                if stack is None
                else {f"{name}.{i}.": (name, i) for i in range(stack)}
            )
        places, unclear = sequence.in_order(members)
        return Found(tuple(_site(place, *members[place.prefix], shapes) for place in places), tuple(unclear))

    def variants(self, shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
        """As they stand; that they are transposes must be said."""
        return ("direct",)

    def settings(self, config: Mapping[str, Any] | None, variant: str) -> Settings:
        """What the user said."""
        label = {} if self.projection is None else {"logits": self.projection.label}
        note = f"{self.VARIANTS[variant].how}, as was asked for: the code that uses them may do otherwise"
        return Settings({"select": self.pattern, **label}, (note,))

    def build(
        self,
        sites: Sequence[FoundSite],
        tensors: Sequence[Tensors],
        values: np.ndarray[Any, Any] | None,
        variant: str,
        settings: Settings,
    ) -> Mixing:
        """What is stored, projected if that was asked for."""
        pairs = ((t["matrix"], site.index) for site, t in zip(sites, tensors, strict=True))
        stored = np.stack([a if i is None else a[i] for a, i in pairs]).astype(np.float64)[:, None]
        matrices = stored
        if self.projection is not None:
            module = plugins.load(PROJECTIONS, self.projection.manifold)
            count = self.projection.iterations
            matrices = module.project(stored, **({} if count is None else {"iterations": count}))
        applied = np.swapaxes(matrices, -1, -2) if variant == "transposed" else matrices
        return Mixing(np.asarray(applied), None if self.projection is None else stored)


def selected(pattern: str, projection: Projection | None = None) -> Selected:
    """The layout of the parameters that a user names.

    Args:
        pattern: a regular expression, of names as the model gave them.
        projection: what makes the matrices out of what is stored; None where they are stored themselves.

    Example:
        >>> family = selected(r"mix$", Projection("sinkhorn", 20))
        >>> [site.path for site in family.find({"layers.1.mix": (32, 32), "layers.0.mix": (32, 32)}).sites]
        ['layers.0', 'layers.1']
    """
    kind = f"selected parameters, projected by {projection.label}" if projection else "selected parameters"
    return Selected(
        pattern,
        projection,
        TITLE="parameters that were selected",
        VARIANTS={
            "direct": Variant(f"{kind}, applied directly", "direct"),
            "transposed": Variant(f"{kind}, applied as their transposes", "transposed"),
        },
    )


def _site(place: sequence.Place, name: str, index: int | None, shapes: Shapes) -> FoundSite:
    streams, tensors = shapes[name][-1], {"matrix": name}
    if index is None:
        return FoundSite(place.path, place.kind, streams, place.run, tensors)
    return FoundSite(f"{name}[{index}]", "", streams, place.run, tensors, index=index)


def _is_square(shape: tuple[int, ...]) -> bool:
    stacked = len(shape) == 3 and 1 <= shape[0] <= MAX_LAYERS
    return (len(shape) == 2 or stacked) and shape[-1] == shape[-2] and 1 <= shape[-1] <= MOST_STREAMS


def _named(names: Iterable[str], shapes: Shapes) -> str:
    """Some of them with their shapes: square ones first, then the smallest."""
    seen = {sequence.NUMBER.sub("#", name): shapes[name] for name in names}
    ranked = sorted(seen.items(), key=lambda item: (not _is_square(item[1]), np.prod(item[1], dtype=float)))
    some = [f"{printable(pattern)} {shape}" for pattern, shape in ranked[:SHOWN]]
    return ", ".join(some) + (f" and {len(ranked) - SHOWN} more" if len(ranked) > SHOWN else "")
