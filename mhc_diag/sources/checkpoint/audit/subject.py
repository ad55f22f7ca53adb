"""What the checks look at: the sites, their parameters, and the mixing at zero dynamic input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mhc_diag.sources.checkpoint.recognised import Recognised
from mhc_diag.sources.families import Family, FoundSite, Settings, Tensors


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The sites of a layout as one variant of its code reads them, at zero dynamic input."""

    sites: tuple[FoundSite, ...]
    tensors: Sequence[Tensors]
    matrices: np.ndarray[Any, Any]
    """(L, n, n)."""
    logits: np.ndarray[Any, Any] | None
    """(L, n, n)."""
    starts: Sequence[Tensors] | None
    """Of each site what the code initialises its tensors with, by role, where that is known."""
    first: np.ndarray[Any, Any] | None
    """(L, n, n): the matrices that those give; None where the start is not known."""
    first_logits: np.ndarray[Any, Any] | None
    fixed: bool
    """The code applies the same matrix whatever the parameters are, as layouts without mixing do."""

    @classmethod
    def of(cls, found: Recognised, variant: str, settings: Settings, tensors: Sequence[Tensors]) -> Subject:
        """What one variant makes of the tensors."""
        family, sites = found.family, found.sites
        starts = _starts(family, sites)
        with np.errstate(all="ignore"):
            mixing = family.build(sites, tensors, None, variant, settings)
            first = None
            if starts is not None:
                merged = [{**t, **s} for t, s in zip(tensors, starts, strict=True)]
                first = family.build(sites, merged, None, variant, settings)
            fixed = _is_fixed(family, sites[0], tensors[0], variant, settings)
        return cls(
            sites,
            tensors,
            mixing.matrices[:, 0],
            None if mixing.logits is None else mixing.logits[:, 0],
            starts,
            None if first is None else first.matrices[:, 0],
            None if first is None or first.logits is None else first.logits[:, 0],
            fixed,
        )


def _starts(family: Family, sites: Sequence[FoundSite]) -> list[Tensors] | None:
    initial = getattr(family, "initial", None)
    return None if initial is None else [cast(Tensors, initial(site)) for site in sites]


def _is_fixed(family: Family, site: FoundSite, tensors: Tensors, variant: str, settings: Settings) -> bool:
    """Whether two unlike sets of parameters give the same matrix."""
    unlike = [
        {
            role: np.cos(k * np.arange(1.0, numbers.size + 1).reshape(numbers.shape))
            for role, numbers in tensors.items()
        }
        for k in (1, 2)
    ]  # and not numpy.random, which takes as long to import as a small scan
    one, other = (family.build((site,), [t], None, variant, settings).matrices for t in unlike)
    return bool(np.array_equal(one, other))
