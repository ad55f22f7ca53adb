"""From one probe, and another of a shaken model, to a tap for each site."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack, Skipped
from mhc_diag.sources import offloaded
from mhc_diag.sources.exposed.capture import Seen, capture
from mhc_diag.sources.exposed.findings import told
from mhc_diag.sources.exposed.match import Match, compare
from mhc_diag.sources.exposed.places import Place
from mhc_diag.sources.taps.compiled import compiled_modules
from mhc_diag.sources.taps.disturb import shaken
from mhc_diag.sources.taps.mask import mask_of
from mhc_diag.sources.taps.tap import Tap, Taps, runs_of

if TYPE_CHECKING:
    import torch
    from torch import nn

PREFERRED = ("parameter", "buffer", "output", "argument", "result")
SEED = 0

Call = tuple[Place, int]


def discover(model: nn.Module, example: Any) -> tuple[MixingStack, Taps]:
    """Measure a model, and find for each site a place that shows its operator.

    A place counts if what stands there equals the operator or its transpose twice: as the model is, and with
    noise on its small parameters. Otherwise equal, symmetric or constant matrices, which are common at
    initialisation, would be confused.

    Args:
        model: any torch module; it is left as it was.
        example: what the model is called with, as for `mhc_diag.probe`.

    Returns:
        What was measured, and the taps.

    Raises:
        MhcDiagError: as for `mhc_diag.probe`.
        NothingToCheck: as for `mhc_diag.probe`.

    Example:
        >>> import torch
        >>> class Mixed(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mixing = torch.nn.Parameter(torch.eye(2))
        ...         self.branch = torch.nn.Linear(8, 8)
        ...     def forward(self, x):
        ...         streams = torch.stack([x, x], dim=-2)
        ...         return self.mixing.T @ streams + self.branch(x)[..., None, :]
        >>> stack, taps = discover(Mixed(), torch.ones(1, 3, 8))
        >>> tap, = taps.found
        >>> tap.place.spot, tap.transposed
        ('parameter mixing', True)
    """
    from mhc_diag.sources.probe import probe

    if offloaded.away(model):
        raise MhcDiagError(
            f"the weights of {type(model).__name__} are offloaded, and it cannot be watched",
            hint="watch it before it is offloaded, or measure it with mhc_diag.probe",
        )
    with capture(model) as seen:
        stack = probe(model, example)
    first = _candidates(stack, seen, seen.dtypes)
    places = {place for at_site in first for place, _ in at_site}
    second, problem = _shaken(model, example, places, stack, seen.dtypes) if places else (None, "")
    hidden = compiled_modules(model)
    found, missing = [], []
    for site, label in enumerate(s.label or "the model" for s in stack.sites):
        known = _Known(site, first[site], None if second is None else second[site], hidden)
        tap, reason = known.choice(problem)
        if tap is None:
            missing.append(Skipped(label, reason))
        else:
            found.append(tap)
    runs = runs_of((t.place for t in found), (e.place for e in seen.events))
    dtypes = frozenset(seen.dtypes)
    mask = mask_of(model, example, stack.provenance.token_shape)
    taps = Taps(stack.sites, stack.streams, tuple(found), tuple(missing), runs, dtypes, mask)
    return told(stack, seen), taps


def _candidates(stack: MixingStack, seen: Seen, dtypes: Collection[torch.dtype]) -> list[dict[Call, Match]]:
    """For each site, what equals its operator."""
    made: list[dict[Call, Match]] = [{} for _ in stack.sites]
    for event in seen.events if stack.streams > 1 else ():
        for site, match in enumerate(compare(event, stack, dtypes) or ()):
            if match.relation != "neither":
                made[site][event.place, event.run] = match
    return made


def _shaken(
    model: nn.Module,
    example: Any,
    places: set[Place],
    stack: MixingStack,
    dtypes: Collection[torch.dtype],
) -> tuple[list[dict[Call, Match]] | None, str]:
    from mhc_diag.sources.probe import probe

    try:
        with shaken(model, SEED), capture(model, places) as seen:
            again = probe(model, example)
    except MhcDiagError as e:
        return None, f"with noise on its coefficients the model could not be measured: {e}"
    if [s.label for s in again.sites] != [s.label for s in stack.sites]:
        return None, "with noise on its coefficients the model has other sites"
    return _candidates(again, seen, dtypes), ""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one site."""

    site: int
    first: dict[Call, Match]
    second: dict[Call, Match] | None
    hidden: Sequence[str]

    def choice(self, problem: str) -> tuple[Tap | None, str]:
        """The best tap, or why there is none."""
        if not self.first:
            return None, "no output, argument or tensor of a module shows its operator"
        if self.second is None:
            return None, problem
        both = [call for call in self.first if call in self.second]
        if not both:
            return None, "what shows its operator does so by chance: not with noise on the coefficients"
        usable = [call for call in both if not self._is_hidden(call[0])]
        if not usable:
            return None, "what shows its operator lies inside a compiled module, where nothing can listen"
        return self._tap(min(usable, key=lambda call: PREFERRED.index(call[0].kind))), ""

    def _is_hidden(self, place: Place) -> bool:
        inside = (h == "" or place.path == h or place.path.startswith(f"{h}.") for h in self.hidden)
        return not place.is_static and any(inside)

    def _tap(self, call: Call) -> Tap:
        assert self.second is not None
        clear, plain = self.second[call], self.first[call]
        transposed = clear.relation == "transposed"
        cast = clear.cast if clear.cast == plain.cast else None
        return Tap(self.site, *call, transposed, clear.order, cast, plain.deviation)


def verify(model: nn.Module, example: Any, taps: Taps) -> tuple[float, str]:
    """Compare taps with a probe of the model as it is now.

    Args:
        model: the model that the taps were found in.
        example: an input.
        taps: a complete set.

    Returns:
        The largest deviation, and what is wrong; empty where every tap shows the operator of its site.

    Raises:
        MhcDiagError: as for `mhc_diag.probe`.
    """
    from mhc_diag.sources.probe import probe

    with capture(model, {tap.place for tap in taps.found}) as seen:
        stack = probe(model, example)
    if [s.label for s in stack.sites] != [s.label for s in taps.sites]:
        return math.inf, f"the probe finds {len(stack.sites)} sites, and not the {len(taps.sites)} of before"
    now = _candidates(stack, seen, taps.dtypes)
    wrong = [*_wrong(taps, now)]
    if wrong:
        return math.inf, f"{len(wrong)} of {len(taps.found)} taps no longer show M, first {wrong[0]}"
    return max(now[t.site][t.place, t.run].deviation for t in taps.found), ""


def _wrong(taps: Taps, now: Sequence[dict[Call, Match]]) -> Iterator[str]:
    for tap in taps.found:
        match = now[tap.site].get((tap.place, tap.run))
        turned = "transposed" if tap.transposed else "equal"
        if match is None or match.relation not in {turned, "either"}:
            yield f"{tap.place.path} {tap.place.spot}".strip()


def own(example: Any) -> Any:
    """An input of a running forward pass, such that a probe cannot write to anything of the caller's.

    The probe copies tensors itself; objects of other kinds, such as caches, are copied here.

    Args:
        example: positional and keyword arguments.

    Raises:
        MhcDiagError: something among the arguments cannot be copied.
    """
    from torch.utils._pytree import tree_map

    def copied(leaf: Any) -> Any:
        import torch

        plain = (torch.Tensor, torch.dtype, torch.device, str, int, float, bool, complex, bytes, type(None))
        return leaf if isinstance(leaf, plain) or callable(leaf) else copy.deepcopy(leaf)

    try:
        return tree_map(copied, example)
    except Exception as e:
        raise MhcDiagError(
            f"an argument of the forward pass cannot be copied: {type(e).__name__}: {e}",
            hint="give an example input to watch",
        ) from e
