"""What the stored parameters show beside the gains: one file = one kind of check.

    damaged      numbers that are not finite, were never written, or are all zero
    frozen       mixing that cannot learn, or that does not mix
    moved        how far training has moved the mixing from where the code starts it
    identical    sites that hold the same numbers
    precision    dtypes

A check says something only where its numbers do; of a healthy checkpoint two lines are left: how far the
mixing has moved, where the start is known, and the dtypes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mhc_diag.records import Observation
from mhc_diag.sources.checkpoint.audit import damaged, frozen, identical, moved, precision
from mhc_diag.sources.checkpoint.audit.places import these
from mhc_diag.sources.checkpoint.audit.seen import Seen
from mhc_diag.sources.checkpoint.audit.subject import Subject
from mhc_diag.sources.checkpoint.recognised import Recognised
from mhc_diag.sources.families import Settings, Tensors
from mhc_diag.sources.files.tensors import TensorFile

ORDER = (
    "not-finite",
    "uninitialised",
    "all-zero",
    "reads-nothing",
    "dead-mixing",
    "one-hot-rows",
    "permutation",
    "mixing-unmoved",
    "unmoved",
    "identical",
    "low-precision",
    "low-precision-reads",
    "mixed-dtypes",
    "unused",
    "moved",
    "dtypes",
)
"""All checks, the most important first."""


def audit(
    file: TensorFile,
    found: Recognised,
    variant: str,
    settings: Settings,
    tensors: Sequence[Tensors],
    seen: Seen,
) -> tuple[Observation, ...]:
    """What is worth saying of the parameters of a layout's sites.

    Args:
        file: what holds them.
        found: the layout and its sites.
        variant: how the matrices are built of them.
        settings: what that needs.
        tensors: of each site, the small ones by role.
        seen: what was noted of every tensor when it was read.

    Returns:
        At most a few for each check, in the order of `ORDER`. Names in them are printable.

    Example: the lines `audit` in the head of `mhc-diag scan FILE`.
    """
    subject = Subject.of(found, variant, settings, tensors)
    with np.errstate(all="ignore"):  # damaged numbers are an observation, not a warning
        every = [
            *damaged.observations(subject, seen),
            *frozen.observations(subject),
            *moved.observations(subject, file),
            *identical.observations(subject, seen),
            *precision.observations(found.sites, file, seen),
            *_unused(found),
        ]
    return tuple(sorted(every, key=lambda item: ORDER.index(item.check)))


def _unused(found: Recognised) -> Iterator[Observation]:
    if found.unused:
        where = these(found.unused, "tensors")
        yield Observation("unused", where, "stored, and not used by the code of this layout")
