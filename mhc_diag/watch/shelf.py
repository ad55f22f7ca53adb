"""Where records of one rank wait until all ranks ask for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mhc_diag.watch.stages import Kept, thinned
from mhc_diag.watch.whole import whole_sites, whole_stack

if TYPE_CHECKING:
    from torch import Tensor

    from mhc_diag.records import MixingStack, Site
    from mhc_diag.watch.gradients import Gradients
    from mhc_diag.watch.ranks import Ranks
    from mhc_diag.watch.settings import Settings

MOST = 100
"""Records that wait: of stages a few hundred kilobytes each."""


@dataclass(frozen=True, slots=True)
class Met:
    """One forward pass over all ranks."""

    step: int
    forward: int
    tapped: bool
    streams: int
    numbers: Tensor
    stack: Callable[[], MixingStack]
    """Gives the operators of the whole model; all ranks ask together."""
    sites: Callable[[], tuple[int, tuple[Site, ...]]]
    """Gives its streams and sites alone; all ranks ask together."""


class Shelf:
    """The records of one rank that no other rank has seen yet.

    Args:
        ranks: with whom the model is shared.
        settings: how many tokens of a record other stages get, and what all ranks must agree on.
        name: of the model.
        gradients: whose gains meet together with the records.
    """

    def __init__(self, ranks: Ranks, settings: Settings, name: str, gradients: Gradients) -> None:
        self._ranks, self._settings, self._name, self._gradients = ranks, settings, name, gradients
        self._kept: deque[tuple[Kept, Callable[[], MixingStack]]] = deque(maxlen=MOST)
        self._is_new = True
        self.empty = False
        """Whether this rank is a stage without sites."""
        self.dropped = 0
        """How many records were given up because nobody had asked for them in time."""

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that speaks for all."""
        return self._ranks.is_first

    def passed(self) -> None:
        """A forward pass that is to be recorded came by, whether or not there is a record of it."""
        self._is_new = True

    def put(self, record: Kept, stack: Callable[[], MixingStack]) -> None:
        """Keep a record, without waiting for the device.

        Args:
            record: of this rank.
            stack: gives its operators.
        """
        self.dropped += len(self._kept) == MOST
        kept = thinned(record, self._settings.tokens) if self._ranks.has_stages else record.settled()
        self._kept.append((kept, stack))

    def meet(self) -> Iterator[Met]:
        """What all ranks have recorded since they met last, earliest first. All of them ask together.

        Raises:
            MhcDiagError: a rank is missing, or ranks do not fit together.
        """
        if not self._is_new:
            return
        self._is_new = False
        stacks = {record.forward: stack for record, stack in self._kept}
        kept, shared = [record for record, _ in self._kept], self._settings.shared()
        found = self._ranks.rows(kept, shared, empty=self.empty)
        self._kept.clear()
        self._gradients.meet(self._ranks)
        for whole in found:
            own = None if self.empty else stacks[whole.forward]
            stack, sites = partial(self._stack, own, whole.forward), partial(self._sites, own, whole.forward)
            yield Met(whole.step, whole.forward, whole.tapped, whole.streams, whole.numbers, stack, sites)

    def _stack(self, own: Callable[[], MixingStack] | None, forward: int) -> MixingStack:
        return whole_stack(self._ranks, None if own is None else own(), self._name, forward)

    def _sites(self, own: Callable[[], MixingStack] | None, forward: int) -> tuple[int, tuple[Site, ...]]:
        return whole_sites(self._ranks, None if own is None else own(), forward)
