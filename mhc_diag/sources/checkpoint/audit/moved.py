"""How far training has moved the mixing from where the code starts it.

The distance of a site is norm_F(M - M_start), with both matrices at zero dynamic input. A parameter counts as
unmoved where it is the start rounded to the dtype in which it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mhc_diag.magnitude import magnitude
from mhc_diag.records import Observation
from mhc_diag.sources.checkpoint.audit.places import label, sites_at
from mhc_diag.sources.checkpoint.audit.precision import rounding
from mhc_diag.sources.checkpoint.audit.subject import Subject
from mhc_diag.sources.files.tensors import TensorFile


def observations(subject: Subject, file: TensorFile) -> Iterator[Observation]:
    """Which sites have not moved, and how far the others have."""
    if subject.first is None:
        return
    sites = range(len(subject.sites))
    same = [number for number in sites if _same(subject, number, file)]
    if same:
        text = "all small parameters are as the code initialises them: never trained, or not saved"
        yield Observation("unmoved", sites_at(same, subject.sites), text)
    if subject.fixed:
        return
    stuck = [number for number in sites if number not in same and _stuck(subject, number)]
    if stuck:
        part = "the static part of M" if subject.sites[stuck[0]].reads else "M"
        text = f"{part} is as the code initialises it, though others have moved: is the mixing applied?"
        yield Observation("mixing-unmoved", sites_at(stuck, subject.sites), text)
    yield from _distances(subject)


def _distances(subject: Subject) -> Iterator[Observation]:
    distances = np.linalg.norm(subject.matrices - subject.first, axis=(1, 2))
    known = np.flatnonzero(np.isfinite(distances))
    if not len(known) or not distances[known].any():
        return
    far = distances[known]
    low, middle, high = (_number(float(x)) for x in (far.min(), _median(far), far.max()))
    furthest = label(subject.sites[int(known[np.argmax(distances[known])])])
    if len(known) == 1:
        text = f"M is {high} from where the code starts it (Frobenius)"
    else:
        span = f"{low} to {high}, median {middle},"
        text = f"M is {span} from where the code starts it (Frobenius); furthest {furthest}"
    yield Observation("moved", sites_at(known.tolist(), subject.sites), text)


def _same(subject: Subject, number: int, file: TensorFile) -> bool:
    """Whether every small parameter of a site whose start is known has it still."""
    starts = (subject.starts or [])[number]
    tensors, names = subject.tensors[number], subject.sites[number].tensors
    return bool(starts.keys() & tensors.keys()) and all(
        _equal(tensors[role], starts[role], file.dtype(names[role])) for role in starts if role in tensors
    )


def _equal(stored: np.ndarray[Any, Any], start: np.ndarray[Any, Any], dtype: str) -> bool:
    """Whether a tensor is as it starts; NaN in the start is what the code chooses for each layer."""
    if stored.shape != start.shape:
        return False
    known = ~np.isnan(start)
    return np.allclose(stored[known].astype(np.float64), start[known], rtol=rounding(dtype), atol=0)


def _stuck(subject: Subject, number: int) -> bool:
    """Whether what is projected, or else M, is exactly that of the start."""
    if subject.logits is not None and subject.first_logits is not None:
        return bool(np.array_equal(subject.logits[number], subject.first_logits[number]))
    return subject.first is not None and bool(np.array_equal(subject.matrices[number], subject.first[number]))


def _median(numbers: np.ndarray[Any, Any]) -> float:
    """That of numpy brings numpy.ma in, which takes as long to import as the parameters to read."""
    ordered = np.sort(numbers)
    return float(ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1].mean())


def _number(value: float) -> str:
    return magnitude(value, float(np.log10(value)) if value > 0 else -np.inf)
