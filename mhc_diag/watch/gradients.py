"""How the gradient of the streams grows on its way back, beside what the mixing alone would make of it.

x (T, n, C) the streams before the first site, y those after the last, g_x and g_y the gradients of the loss.

observed   max over tokens of rms(g_x) / rms(g_y): through mixing and branches
predicted  max over tokens of rms((M_{L-1} ... M_0)^T g_y) / rms(g_y): of the same gradient, by mixing alone

The two are equal where no branch passes a gradient on. Of ranks with other tokens the largest is taken.
"""

from __future__ import annotations

import contextlib
from array import array
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mhc_diag.watch.boundaries import Passed, found, listening, product, tokens_of
from mhc_diag.watch.history import on_its_way

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mhc_diag.records import Site
    from mhc_diag.watch.ranks import Ranks

OBSERVED, PREDICTED, STEP = "mhc/gradient_gain", "mhc/gradient_gain_predicted", "mhc/gradient_step"
OFF = "they were not asked for"
MOST = 100
"""Gains that wait, for the device or for other ranks."""


class Gradients:
    """Gains of the gradient over the recorded steps whose backward pass is over.

    Args:
        reason: why none are taken; empty to take them.
        shared: whether other ranks have other tokens, so that gains wait until all meet.
    """

    def __init__(self, reason: str = "", *, shared: bool = False) -> None:
        self.ends: tuple[str, str] | None = None
        """Paths of the modules before which and after which the streams are read, once they are found."""
        self.reason = reason
        """Why there are no gains; empty where there are, or as long as that is not known."""
        self._shared = shared
        self._passed = Passed()
        self._pending: deque[tuple[int, Tensor, Any]] = deque(maxlen=MOST)
        self._own: deque[tuple[int, float, float]] = deque(maxlen=MOST)
        self._rows = array("d")

    @contextlib.contextmanager
    def listening(self, model: nn.Module, sites: tuple[Site, ...], streams: int) -> Iterator[None]:
        """Take the streams at boundaries while the model runs."""
        if self.reason:
            yield
            return
        with listening(model, sites, self.ends, streams) as self._passed:
            yield

    def expect(self, step: int, matrices: Tensor, numbers: Tensor | None, sites: tuple[Site, ...]) -> None:
        """Await the gradient of the pass that just ended; after the first pass, find the boundaries.

        Args:
            step: of the training run.
            matrices: (L, K, n, n).
            numbers: (K) which tokens those are of; None if of all, or the same for all.
            sites: L of them.
        """
        passed, self._passed = self._passed, Passed()
        if self.ends is None:
            if not self.reason:
                self.ends, self.reason = found(passed, matrices, numbers, sites)
            if self.ends is None:
                return
        x, y = passed.before.get(self.ends[0]), passed.after.get(self.ends[1])
        if x is None or y is None or not (x.requires_grad and y.requires_grad):
            return
        come: list[Tensor] = []
        hook: Any = y.register_hook
        hook(lambda gradient: come.append(gradient.detach()))

        def arrived(gradient: Tensor) -> None:
            if come:
                first, last = (tokens_of(g, matrices, numbers) for g in (gradient.detach(), come[-1]))
                self._pending.append((step, *on_its_way(_gains(matrices, first, last))))

        hook = x.register_hook
        hook(arrived)

    def settle(self, *, wait: bool = False) -> None:
        """Take in the gains that have arrived.

        Args:
            wait: for the device.
        """
        while self._pending:
            step, gains, event = self._pending[0]
            if event is not None:
                if not (wait or event.query()):
                    return
                event.synchronize()
            self._pending.popleft()
            observed, predicted = gains.tolist()
            if self._shared:
                self._own.append((step, observed, predicted))
            else:
                self._rows.extend((float(step), observed, predicted))

    def meet(self, ranks: Ranks) -> None:
        """Take the largest of all ranks, of each step that all of them have. All call this together."""
        if self.reason == OFF:
            return
        self.settle(wait=True)
        told = ranks.call({"gains": list(self._own)}).values()
        by_step = [{int(step): gains for step, *gains in words["gains"]} for words in told]
        common = sorted(set.intersection(*map(set, by_step)))
        for step in common:
            gains = zip(*(own[step] for own in by_step), strict=True)
            self._rows.extend((float(step), *map(max, gains)))
        if common:
            self._own = deque((own for own in self._own if own[0] > common[-1]), maxlen=MOST)

    def latest(self) -> dict[str, float]:
        """The latest gains under flat names, with the step they are of; empty if there are none."""
        return _named(self._rows[-3:]) if self._rows else {}

    def of_step(self, step: int) -> dict[str, float]:
        """The gains of one of the latest steps; empty if they are not there."""
        for i in range(len(self._rows) - 3, max(-1, len(self._rows) - 3 * MOST), -3):
            if self._rows[i] == step:
                return _named(self._rows[i : i + 3])
        return {}

    def by_step(self) -> dict[int, dict[str, float]]:
        """The gains of all steps."""
        rows = (self._rows[i : i + 3] for i in range(0, len(self._rows), 3))
        return {int(row[0]): _named(row) for row in rows}


def _named(row: array[float]) -> dict[str, float]:
    return {OBSERVED: row[1], PREDICTED: row[2], STEP: row[0]}


def _gains(matrices: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Observed and predicted gain, (2), over the tokens that have a gradient."""
    import torch

    with torch.no_grad():
        wide = torch.float32 if matrices.device.type == "mps" else torch.float64
        first, last = first.to(wide), last.to(wide)
        mixed = product(matrices.to(wide)).mT @ last
        sizes = [torch.linalg.vector_norm(t, dim=(-2, -1)) for t in (first, mixed, last)]
        ratios = [torch.where(sizes[2] == 0, 0.0, size / sizes[2]) for size in sizes[:2]]
        return torch.stack([ratio.amax() for ratio in ratios])
