"""Where a watched model shows its operators: taps found by a probe, and compared with one now and then."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.records import MixingStack, Provenance
from mhc_diag.sources.taps.tap import Taps
from mhc_diag.watch.door import probing
from mhc_diag.watch.ranks import Ranks
from mhc_diag.watch.settings import Settings
from mhc_diag.watch.shelf import Shelf

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_TAPS = Taps((), 0, (), (), {})
HOW = (
    "read off taps while the model ran: places where it shows the operators that it applies, "
    "compared with a probe now and then"
)


class Sight:
    """What is known of a model's taps.

    Args:
        model: which is watched.
        settings: how often to compare, and to probe where there are no taps.
        example: what to probe the model with; the running input if None.
        ranks: those that agree on it, if there are several.
        shelf: told whether this rank has no site.
        take: told what a probe saw where no taps are read, and at which forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        example: Any,
        ranks: Ranks | None,
        shelf: Shelf | None,
        take: Callable[[MixingStack, int], None],
    ) -> None:
        self._model, self._settings, self._example = model, settings, example
        self._ranks, self._shelf, self._take = ranks, shelf, take
        self._name = type(model).__name__
        self._astray = ""
        self._last_probe = 0
        self._verified = (0, 0.0)
        self.forwards = 0
        """How many forward passes were seen."""
        self.recorded = 0
        """How many of them were read off the taps."""
        self.stack: MixingStack | None = None
        """What the probe saw that found the taps, or that stands for them."""
        self.taps: Taps | None = None
        """None before the first probe."""
        self.tapped = False
        """Whether taps are read; if not, the model is probed from time to time."""
        self.notes: tuple[str, ...] = ()
        if example is not None:
            self._discover(example)

    def look(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Probe the model where it is time to; before a forward pass that is to be recorded.

        Args:
            args: positional arguments of the forward pass.
            kwargs: keyword arguments.
        """
        try:
            if self.taps is None:
                self._discover(self._input(args, kwargs))
            elif self._is_empty:
                return
            elif self.tapped:
                if self._is_due(self.recorded) and self.recorded != self._verified[0]:
                    self._verify(self._input(args, kwargs))
            elif self.forwards - self._last_probe >= self._settings.probe_every:
                self._probe(self._input(args, kwargs))
        except MhcDiagError as e:
            if self.taps is None:
                raise
            self._last_probe = self.forwards
            self.note(f"it could not be probed: {e}")

    def lose_way(self) -> None:
        """A forward pass showed other operators than the taps were found on."""
        way = "it went another way than the one that the taps were found on"
        if self._ranks is None:
            self.tapped = False
            self.note(f"{way}; it is probed from now on")
            return
        if not self._astray:
            self.note(f"{way}; until the taps are compared, such a pass has no record on any rank")
        self._astray = way
        self.recorded += 1  # which is when the ranks compare their taps, together

    def note(self, what: str) -> None:
        """Tell at once, and in every report, what went otherwise than it should."""
        note = f"forward pass {self.forwards} of {self._name}: {what}"
        self.notes = (*self.notes, note)
        warnings.warn(note, RuntimeWarning, stacklevel=2)

    def told(self, stack: MixingStack, matrices: Tensor, weights: Tensor | None, forward: int) -> MixingStack:
        """The stack of a record, with the tokens that count.

        Args:
            stack: of the probe that found the taps.
            matrices: [L, T, n, n] of the forward pass.
            weights: of its tokens; those of 0 count nothing.
            forward: its number.
        """
        if weights is not None and len(weights) == matrices.shape[1]:
            matrices = matrices[:, weights > 0]
        where = self._read_off(stack, int(matrices.shape[1]), forward)
        was_probed: dict[str, Any] = {"pre": None, "post": None, "reads_from": (), "logits": None}
        return replace(stack, matrices=matrices, provenance=where, **was_probed)

    def _input(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from mhc_diag.sources.taps.discover import own

        return own((args, kwargs)) if self._example is None else self._example

    def _is_due(self, recorded: int) -> bool:
        """Whether the taps are to be compared: often at first, when a model changes most."""
        early = recorded < self._settings.verify_every and recorded & (recorded - 1) == 0
        return recorded > 0 and (early or recorded % self._settings.verify_every == 0)

    def _discover(self, example: Any) -> None:
        from mhc_diag.sources.taps import discover

        stack, taps, failure = None, NO_TAPS, None
        try:
            with probing():
                stack, taps = discover(self._model, example)
        except MhcDiagError as e:
            failure = e
        if self._shelf is not None and self._ranks is not None:
            self._shelf.empty = self._ranks.has_stages and isinstance(failure, NothingToCheck)
            failure = None if self._shelf.empty else failure
            self.tapped = not self._ranks.agreed("" if taps.complete else "has no taps", failure)
        elif failure is not None:
            raise failure
        else:
            self.tapped = taps.complete
        self.stack, self.taps, self._astray = stack, taps, ""
        self._verified = (self.recorded, max((t.deviation for t in taps.found), default=0.0))
        if stack is not None and not self.tapped:
            self._show(stack)

    @property
    def _is_empty(self) -> bool:
        return self._shelf is not None and self._shelf.empty

    def _probe(self, example: Any) -> None:
        from mhc_diag.sources.probe import probe

        with probing():
            self._show(probe(self._model, example))

    def _show(self, stack: MixingStack) -> None:
        self._last_probe, self.stack = self.forwards, stack
        self._take(stack, self.forwards)

    def _verify(self, example: Any) -> None:
        from mhc_diag.sources.taps.discover import verify

        assert self.taps is not None
        deviation, wrong = math.inf, ""
        try:
            with probing():
                deviation, wrong = verify(self._model, example, self.taps)
        except MhcDiagError as e:
            if self._ranks is None:
                raise
            wrong = f"it could not be probed: {e}"
        if self._ranks is not None:
            wrong = self._ranks.agreed(self._astray or wrong)
        if not wrong:
            self._verified = (self.recorded, deviation)
            return
        since = self._verified[0]
        self.note(f"{wrong}; records may be wrong since the {since}th, when the taps were last compared")
        self.tapped = False
        self._discover(example)

    def _read_off(self, stack: MixingStack, tokens: int, forward: int) -> Provenance:
        recorded, deviation = self._verified
        compared = (
            f"the taps were last compared with a probe after {recorded} of {self.recorded} records: "
            f"largest deviation {deviation:.1e}"
        )
        return replace(
            stack.provenance,
            how=HOW,
            token_shape=(tokens,),
            token_numbers=(),
            certificates=None,
            settings={**stack.provenance.settings, "forward pass": forward},
            notes=(*stack.provenance.notes, compared, *self.notes),
        )
