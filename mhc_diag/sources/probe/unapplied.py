"""Mixings of the streams that are computed and then not applied: the streams go on as they were.

A model may mix its streams and add the branch to the unmixed ones by mistake. Each mixing of n streams or
more gets a bit, which what is made of it inherits. Where the bit does not reach the site, and M is the
identity there, the mixing was for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mhc_diag.records import Observation
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.layout import Labels, decode
from mhc_diag.sources.probe.memory import Shadow
from mhc_diag.sources.probe.storages import Storages

TOLERANCE = 1e-6


@dataclass(eq=False)
class _Made:
    of: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Mixing:
    code: Code
    tangent: Tensor
    labels: Labels
    module: str


class Unapplied:
    """Watches the mixings between two sites."""

    def __init__(self) -> None:
        self._made = Storages(_Made)
        self._mixings: list[_Mixing] = []
        self.found: dict[Code, str] = {}
        """The module that computed a mixing, by the site that does not apply it."""

    def passed(
        self, tensor: Tensor, inputs: Iterable[Tensor], shadow: Shadow | None, mixes: str | None
    ) -> None:
        """Note that tangents passed an operation; `mixes`: the module it ran in, if it mixes streams."""
        made = self._made.make(tensor)
        if made is None:
            return
        for given in inputs:
            before = self._made.get(given)
            made.of |= before.of if before is not None else 0
        if mixes is not None and shadow is not None and shadow.code.streams > 1:
            made.of |= 1 << len(self._mixings)
            self._mixings.append(_Mixing(shadow.code, shadow.tangent, shadow.labels, mixes))

    def arrived(self, tensor: Tensor, site: Code) -> None:
        """Look at the mixings since the site before, and forget them."""
        made = self._made.make(tensor)
        reached = 0 if made is None else made.of
        if site.parent is not None and site.matrix is not None and _is_identity(site.matrix):
            for number, mixing in enumerate(self._mixings):
                if not reached >> number & 1 and mixing.code is site.parent and _mixes(mixing):
                    self.found[site] = mixing.module
        self._mixings.clear()
        self._made = Storages(_Made)


def _mixes(mixing: _Mixing) -> bool:
    """Whether the first or last n mixtures are no identity; further ones may be the branch's."""
    n = mixing.code.streams
    if not mixing.labels.complete or mixing.labels.streams < n:
        return False
    matrix, _ = decode(mixing.tangent, mixing.labels, n)
    return not (_is_identity(matrix[:, :n]) or _is_identity(matrix[:, -n:]))


def _is_identity(matrices: Tensor) -> bool:
    if matrices.shape[-1] != matrices.shape[-2]:
        return False
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return bool(((matrices - eye).abs() <= TOLERANCE).all())


def observations(found: dict[Code, str], sites: Sequence[Code]) -> tuple[Observation, ...]:
    """One for each kind of module, with the number of sites.

    Args:
        found: what was found.
        sites: the measured sites.
    """
    modules = Counter(
        ".".join("*" if part.isdecimal() else part for part in found[code].split(".")) or "the model"
        for code in sites
        if code in found
    )
    return tuple(
        Observation(
            "unapplied",
            module,
            "computes a mixing of the streams that the model does not apply: M is the identity "
            f"({count} site{'s' if count > 1 else ''})",
        )
        for module, count in modules.items()
    )
