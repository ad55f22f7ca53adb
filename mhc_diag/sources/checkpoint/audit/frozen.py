"""Mixing that cannot learn, or that does not mix.

The range of the logits of a site is log(1 / nu). From about 30 on exp(-30) = 1e-13 is beyond what float32
tells from 0, and the gradient of a smallest entry is too. Logits that are a_i + b_j have a range as well and
are taken out by Sinkhorn's very first step, so the smallest entry of M is looked at besides; an eps of 1e-6
keeps it from being smaller than about that.

A site whose M is a permutation passes the streams on unmixed. Layouts whose code applies the same matrix
whatever the parameters are do that by design and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mhc_diag.maths.convergence import log_nu
from mhc_diag.records import Observation
from mhc_diag.sources.checkpoint.audit.places import label, sites_at
from mhc_diag.sources.checkpoint.audit.subject import Subject

DEAD = 30.0
SMALLEST_ENTRY = 1e-5
SHARP = 1e-6


def observations(subject: Subject) -> Iterator[Observation]:
    """What has stopped to mix."""
    if subject.fixed:
        return
    yield from _dead(subject)
    yield from _one_hot(subject)


def _dead(subject: Subject) -> Iterator[Observation]:
    if subject.logits is None:
        return
    spans = log_nu.measure(subject.logits)
    numbers = np.flatnonzero((spans >= DEAD) & (subject.matrices.min(axis=(1, 2)) < SMALLEST_ENTRY)).tolist()
    if numbers:
        widest = max(numbers, key=lambda number: float(spans[number]))
        at = f" at {label(subject.sites[widest])}" if len(numbers) > 1 else ""
        text = (
            f"logits lie up to {spans[widest]:.1f} apart{at}: from about {DEAD:.0f} on the gradient of the "
            "smallest entries of M is lost to rounding, and the mixing is dead"
        )
        yield Observation("dead-mixing", sites_at(numbers, subject.sites), text)


def _one_hot(subject: Subject) -> Iterator[Observation]:
    """Rows with one entry of 1 and others of 0: a permutation, unless two rows take the same stream."""
    matrices = subject.matrices
    n = matrices.shape[-1]
    if n < 2:
        return
    rounded = np.round(matrices)
    near = (np.abs(matrices - rounded) <= SHARP).all(axis=(1, 2))
    rows = near & (np.isin(rounded, (0, 1)).all(axis=(1, 2))) & (rounded.sum(axis=2) == 1).all(axis=1)
    each = rows & (rounded.sum(axis=1) == 1).all(axis=1)
    still = each & (rounded == np.eye(n)).all(axis=(1, 2))
    said = {
        "one-hot-rows": (
            rows & ~each,
            "each row of M takes one stream whole, and some stream is taken by none",
        ),
        "permutation": (
            each & ~still,
            "M is a permutation to within 1e-6: the streams change places unmixed",
        ),
        "permutation ": (still, "M is the identity to within 1e-6: the streams do not mix"),
    }
    for check, (which, text) in said.items():
        if numbers := np.flatnonzero(which).tolist():
            yield Observation(check.strip(), sites_at(numbers, subject.sites), text)
