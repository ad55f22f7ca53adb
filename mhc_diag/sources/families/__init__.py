"""One file = one layout of mixing parameters that a checkpoint can hold.

A layout is recognised by names and shapes alone, so that no numbers are read but its own. Its file says in
the module docstring whose code at which version it is, the formula and the orientation, and provides

    TITLE        what to call it in a report
    GENERIC      true where names prove nothing; asked only when no specific layout is found
    VARIANTS     by name, the codes that read these tensors in different ways; most layouts have one
    find(shapes) -> Found
                 the sites in the order of execution, and what was seen and left out. A tensor that a site
                 needs must be small by its shape, except for one axis of at most `MOST_CHANNELS` in what
                 reads the streams: a file of a kilobyte can claim a shape of terabytes
    variants(shapes, config) -> names
                 the variants that the evidence allows, the likeliest first; one of them is proof enough to
                 show it alone, of several all are shown, side by side
    settings(config, variant) -> Settings
                 what the formula needs and no tensor holds
    build(sites, tensors, values, variant, settings) -> Mixing
                 the applied operators, out x in: at zero dynamic input, or at the inputs that gave `values`

and, where the mixing depends on the streams,

    read(site, tensors) -> Read
                 how the tensors of `site.reads` read the normalised streams
    caps(sites, tensors, reach, variant, settings) -> Caps
                 what the sums of rows and columns of M cannot exceed, whatever the streams are

and, where the values are known with which the code initialises the tensors of a site,

    initial(site) -> tensors by role
                 NaN for numbers that the code chooses for each layer

and, where the code says what M is meant to be,

    promise(variant, settings) -> Promise
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mhc_diag.records import Skipped

if TYPE_CHECKING:
    import numpy as np

    from mhc_diag.records import Caps
    from mhc_diag.sources.readings import Read

MOST_STREAMS = 64
MOST_CHANNELS = 1 << 22
"""n C of the largest layer that is believed: 64 streams of 65,536 channels."""
Shapes = Mapping[str, tuple[int, ...]]
Tensors = Mapping[str, "np.ndarray[Any, Any]"]
"""Numbers by role, float32 or float64."""


@dataclass(frozen=True, slots=True)
class FoundSite:
    """A site that a layout recognises, and the tensors that its matrix is built from."""

    path: str
    """The prefix that its tensors share, such as `layers.3`."""
    kind: str
    """Which update of that layer it is, such as `attn`."""
    streams: int
    run: str
    """What the paths share before the layer's number: only sites of one run follow each other."""
    tensors: Mapping[str, str]
    """Names in the file by the role that the layout gives them: the small ones, which are always read."""
    reads: Mapping[str, str] = field(default_factory=dict)
    """Names by role of those that span the channels: what makes the mixing depend on the streams."""
    index: int | None = None
    """Its place in a tensor that stacks the layers."""
    averaged: bool = field(default=False, kw_only=True)
    """Whether M is a mean of several projections, which no number of iterations can be told from."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a layout recognises in a file."""

    sites: tuple[FoundSite, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    """What looks like mixing and is not measured, and why."""
    unused: tuple[str, ...] = ()
    """Names of mixing parameters that the code keeps and does not use."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the codes that read a layout's tensors."""

    how: str
    """One sentence: what the matrices are."""
    orientation: Literal["direct", "transposed"]
    """Whether the code applies the matrix it computes or its transpose; `direct` where it applies I."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers that the formula needs, and where they came from."""

    values: Mapping[str, int | float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Mixing:
    """What a layout builds for L sites of n streams at T inputs (T = 1 where nothing depends on them)."""

    matrices: np.ndarray[Any, Any]
    """(L, T, n, n) float64, out x in."""
    logits: np.ndarray[Any, Any] | None = None
    """(L, T, n, n): what was projected, where something was, in the orientation of the stored matrix."""
    pre: np.ndarray[Any, Any] | None = None
    """(L, T, n): how a branch reads the streams."""
    post: np.ndarray[Any, Any] | None = None
    """(L, T, n): how its output is written to them."""


class Family(Protocol):
    """What a file of this folder provides."""

    TITLE: str
    GENERIC: bool
    VARIANTS: Mapping[str, Variant]

    def find(self, shapes: Shapes) -> Found:
        """The sites in a table of names and shapes."""

    def variants(self, shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
        """The variants that the evidence allows."""

    def settings(self, config: Mapping[str, Any] | None, variant: str) -> Settings:
        """What the formula needs and no tensor holds."""

    def build(
        self,
        sites: Sequence[FoundSite],
        tensors: Sequence[Tensors],
        values: np.ndarray[Any, Any] | None,
        variant: str,
        settings: Settings,
    ) -> Mixing:
        """The applied operators.

        Args:
            sites: L sites of the same number of streams.
            tensors: of each site, the numbers of `site.tensors`, by role.
            values: (L, T, B, R), what each site's `Read` gave for T inputs; None for zero input.
            variant: one of `VARIANTS`.
            settings: what `settings` made.
        """


class Dynamic(Family, Protocol):
    """A layout whose mixing depends on the streams."""

    def read(self, site: FoundSite, tensors: Tensors) -> Read:
        """How the tensors of `site.reads`, by role with those of `site.tensors`, read the streams."""

    def caps(
        self,
        sites: Sequence[FoundSite],
        tensors: Sequence[Tensors],
        reach: np.ndarray[Any, Any] | None,
        variant: str,
        settings: Settings,
    ) -> Caps:
        """Largest absolute row and column sums of M at any input.

        Args:
            sites: L sites.
            tensors: of each site, by role.
            reach: (L, B, R), the largest that each value can be (`Read.reach`); None where nothing is read.
            variant: one of `VARIANTS`.
            settings: what `settings` made.
        """
