"""What a model shows against what it applies: a record for each site and place, a sentence for each group.

A matrix that equals an operator, or its transpose, is told wherever it stands. One that equals neither is
told where it was plainly meant to be an operator: it belongs to the module of a site for which nothing else
was shown, and is nearly doubly stochastic, or is returned by that module while the site applies the identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mhc_diag.records import Exposed, MixingStack, Observation
from mhc_diag.sources.exposed.capture import Event, Seen
from mhc_diag.sources.exposed.match import TOLERANCE, Match, compare

if TYPE_CHECKING:
    from torch import Tensor

UNAPPLIED, OTHER = "unapplied", "other-applied"
GROUPS = 8
"""Sentences at most."""
STOCHASTIC = 0.02
"""Largest deviation from 1 of a row or column sum of what counts as nearly doubly stochastic."""


def told(stack: MixingStack, seen: Seen) -> MixingStack:
    """The stack with what the model showed in its provenance.

    Args:
        stack: what was measured.
        seen: what came by during the measurement.
    """
    if stack.streams < 2:
        return stack
    exposed = tuple(sorted(_exposed(stack, seen), key=lambda e: (e.site, e.path, e.position)))
    every = tuple(observations(exposed, stack))
    notes = (*stack.provenance.notes, *told_of(every))
    remarks = (*stack.provenance.remarks, *(o for o in every if o.check in (UNAPPLIED, OTHER)))
    found = replace(stack.provenance, exposed=exposed, notes=notes, remarks=remarks)
    return replace(stack, provenance=found)


def _exposed(stack: MixingStack, seen: Seen) -> Iterator[Exposed]:
    strangers, shown = [], set()
    for event in seen.events:
        matches = compare(event, stack, seen.dtypes)
        if matches is None:
            continue
        sites = [site for site, match in enumerate(matches) if match.relation != "neither"]
        near = [site for site in sites if _related(event.place.path, stack.sites[site].path)]
        for site in near or sites:
            shown.add(site)
            yield _record(site, event, matches[site])
        if not sites:
            strangers.append((event, matches))
    for event, matches in strangers:
        for site, match in enumerate(matches):
            if site not in shown and _meant(event, match, stack, site):
                yield _record(site, event, match)


def _record(site: int, event: Event, match: Match) -> Exposed:
    return Exposed(site, event.place.path, event.place.spot, event.run, match.relation, match.deviation)


def _related(path: str, site: str) -> bool:
    """Whether one of two modules holds the other."""
    one, other = (f"{p}." if p else "" for p in (path, site))
    return one.startswith(other) or other.startswith(one)


def _meant(event: Event, match: Match, stack: MixingStack, site: int) -> bool:
    """Whether a matrix that is not applied was plainly meant to be the operator of a site."""
    if not event.place.path or not _related(event.place.path, stack.sites[site].path):
        return False
    if _is_identity(event.rows):
        return False
    if _is_doubly_stochastic(event.rows):
        return True
    by_token = match.order in {"tokens", "reversed"} and event.form.count > 1
    by_chance = event.form.n in stack.provenance.token_shape  # such as attention over n positions
    returned = event.place.kind == "output" and not event.form.flat
    return by_token and returned and not by_chance and _is_identity(stack.matrices[site])


def _is_identity(matrices: Tensor) -> bool:
    import torch

    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return bool(((matrices - eye).abs() <= TOLERANCE).all())


def _is_doubly_stochastic(matrices: Tensor) -> bool:
    sums = [abs(matrices.sum(dim=axis) - 1).amax() for axis in (-1, -2)]
    return bool((matrices >= 0).all()) and all(float(s) <= STOCHASTIC for s in sums)


def observations(exposed: Sequence[Exposed], stack: MixingStack) -> Iterator[Observation]:
    """One for each group of places that differ in nothing but the number of a layer.

    Args:
        exposed: records of the stack.
        stack: what was measured.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for e in exposed:
        check = OTHER if e.relation == "neither" else e.relation
        if check == OTHER and _is_identity(stack.matrices[e.site]):
            check = UNAPPLIED
        path = ".".join("*" if re.fullmatch(r"\d+", part) else part for part in e.path.split("."))
        groups.setdefault((f"{path} {e.position}".strip(), check), []).append(e.site)
    for (where, check), sites in groups.items():
        yield Observation(check, where, f"{_WORDS[check]} ({_sites(sites)})")


def told_of(found: Sequence[Observation]) -> list[str]:
    """A sentence for each, up to a number."""
    made = [observation.sentence for observation in found]
    more = f"{len(made) - GROUPS} more groups of places show a matrix"
    return made if len(made) <= GROUPS else [*made[:GROUPS], more]


_WORDS = {
    "equal": "is what is applied",
    "transposed": "is the transpose of what is applied",
    "either": "is what is applied, which is symmetric here",
    OTHER: "is a mixing matrix, and neither it nor its transpose is what is applied",
    UNAPPLIED: "computes a mixing that the model does not apply: M is the identity",
}


def _sites(sites: Iterable[int]) -> str:
    count = len(set(sites))
    return "1 site" if count == 1 else f"{count} sites"
