"""The watch: what it does around each forward pass, and what it can tell afterwards."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.policy import Policy
from mhc_diag.records import MixingStack, Provenance, Report
from mhc_diag.sources.taps.tap import Taps
from mhc_diag.watch.alerts import Alert, OnAlert
from mhc_diag.watch.books import Books
from mhc_diag.watch.door import Door, is_probed, probing
from mhc_diag.watch.gradients import OFF, Gradients
from mhc_diag.watch.ranks import Ranks
from mhc_diag.watch.rehearsal import is_rehearsal
from mhc_diag.watch.shelf import Shelf

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mhc_diag.watch.distribution import Distribution

NO_TAPS = Taps((), 0, (), (), {})
HOW = (
    "read off taps while the model ran: places where it shows the operators that it applies, "
    "compared with a probe now and then"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How often to do what; see `mhc_diag.watch`."""

    every: int
    tokens: int
    verify_every: int
    probe_every: int
    evaluation: bool
    policy: Policy | None = None
    max_rise: float | None = None
    on_alert: OnAlert = "warn"
    jsonl: str | Path | None = None
    gradients: bool = False

    def __post_init__(self) -> None:
        for name in ("every", "tokens", "verify_every", "probe_every"):
            if getattr(self, name) < 1:
                raise MhcDiagError(f"{name} is {getattr(self, name)}", hint="give 1 or more")


class Watch:
    """An open watch on a model; see `mhc_diag.watch`."""

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        example: Any = None,
        distribution: Distribution | None = None,
    ) -> None:
        self._model, self._settings, self._example = model, settings, example
        self._name = type(model).__name__
        self._ranks = None if distribution is None else Ranks(distribution)
        self._shelf = None if self._ranks is None else Shelf(self._ranks, settings.tokens, self._name)
        jsonl = settings.jsonl if self._ranks is None or self._ranks.is_first else None
        expected = settings.policy, settings.max_rise, settings.on_alert
        off = "they are not taken on several ranks" if self._ranks is not None else ""
        self._gradients = Gradients(off if settings.gradients else OFF)
        self._books = Books(self._name, *expected, jsonl, self._shelf, self._gradients)
        self._astray = ""
        self._step: int | None = None
        self._due = False
        self._stack: MixingStack | None = None
        self._matrices: Tensor | None = None
        self._weights: Tensor | None = None
        self._recorded = 0
        self._latest = 0
        self._last_probe = 0
        self._verified = (0, 0.0)
        self._running = False
        self.forwards = 0
        """How many forward passes were seen."""
        self.taps: Taps | None = None
        """Where the operators are read; None before the first forward pass."""
        self.tapped = False
        """Whether taps are read; if not, the model is probed from time to time."""
        self.notes: tuple[str, ...] = ()
        """What went otherwise than it should, each with the number of the forward pass."""
        if example is not None:
            self._discover(example)
        self._door = Door.of(model)
        self._door.watchers.append(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: object, exception: object, trace: object) -> None:
        self._door.leave(self)
        if self._ranks is not None and exception is not None:
            self._ranks.leave(f"{type(exception).__name__}: {exception}")
        self._books.close(alone=exception is not None and self._ranks is not None)

    def close(self) -> None:
        """Stop watching. What was recorded stays; closing twice does nothing. All ranks close together."""
        self.__exit__(None, None, None)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Every crossing of a limit, earliest first. Reading it waits for the device."""
        self._books.settle(wait=True)
        return self._books.alerts

    @property
    def step(self) -> int:
        """The step that the next record is of: the one that was set, or how many forward passes were seen.

        Set it before each step where one has several forward passes. `every` counts steps then, and of each
        step the first forward pass is recorded.
        """
        return self.forwards if self._step is None else self._step

    @step.setter
    def step(self, step: int) -> None:
        self._due = self._step != step and (step - 1) % self._settings.every == 0
        self._step = step

    @property
    def should_stop(self) -> bool:
        """Whether an alert asks for the end of the run, with `on_alert="stop"`."""
        self._books.settle()
        return self._books.alarm.should_stop

    def gains(self) -> dict[str, float]:
        """The composite gains of the latest record.

        Returns:
            `forward_max`, `forward_mean`, `backward_max` and `backward_mean`: of the prefix, or suffix, at
            which the largest gain over the tokens, or the mean, is worst.

        Raises:
            MhcDiagError: nothing was recorded yet.
        """
        return {name: self.metrics()[f"mhc/{name}"] for name in ("forward_max", "forward_mean", *_BACKWARD)}

    def metrics(self) -> dict[str, float]:
        """The latest record as flat numbers with names, as loggers take them.

        Raises:
            MhcDiagError: nothing was recorded yet.
        """
        self._books.settle(wait=True)
        if not len(self._books.history):
            raise MhcDiagError(
                f"no forward pass of {self._name} was recorded, {self.forwards} were seen",
                hint="watch the very object that is called, in training mode or with evaluation=True",
            )
        return self._books.history.latest() | self._gradients.metrics(wait=True)

    @property
    def history(self) -> list[dict[str, float]]:
        """All records since this watch began, earliest first. Reading it waits for the device."""
        self._books.settle(wait=True)
        return self._books.history.rows()

    @property
    def recorded(self) -> int:
        """How many records there are since this watch began; asking does not wait for the device."""
        return len(self._books.history)

    def fresh(self, *, wait: bool = False) -> list[dict[str, float]]:
        """The records that have arrived and were not given by this before, earliest first.

        Args:
            wait: for the device, so that all of them have arrived.
        """
        self._books.settle(wait=wait)
        rows = self._books.history.fresh()
        return [*rows[:-1], rows[-1] | self._gradients.metrics(wait=wait)] if rows else rows

    @property
    def dropped(self) -> int:
        """How many records were given up because the ranks had not met in time; 0 in one process."""
        return 0 if self._shelf is None else self._shelf.dropped

    def report(self) -> Report:
        """Everything about the latest record, as a scan would tell it.

        Raises:
            MhcDiagError: nothing was recorded yet.
        """
        from mhc_diag.analyse import analyse

        self.metrics()
        return analyse(self.stack())

    def stack(self) -> MixingStack:
        """The operators of the latest record.

        Raises:
            MhcDiagError: nothing was recorded yet.
        """
        self.metrics()
        if self._ranks is not None:
            return self._books.history.stack()
        assert self._stack is not None  # recorded together with the history
        if self._matrices is None:
            return self._stack
        return self._of(self._stack, self._matrices, self._weights, self._latest)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on counting, in values that JSON can hold. Waits for the device."""
        return {"step": self.step, "forwards": self.forwards, **self._books.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another watch was when it gave its state; before the first forward pass.

        Steps go on counting, a limit that was crossed is not told again, and what the file of records holds
        of later steps is dropped.

        Raises:
            MhcDiagError: a forward pass was recorded already.
        """
        if self._recorded or self.forwards:
            raise MhcDiagError(
                "the watch has seen forward passes already", hint="load its state before training begins"
            )
        self.forwards = int(state["forwards"])
        self._books.resume(state, int(state["step"]))

    @contextlib.contextmanager
    def around(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
        """Record a forward pass, if it is one of those to be recorded.

        Args:
            args: positional arguments of the forward pass.
            kwargs: keyword arguments.
        """
        if self._running or not (self._model.training or self._settings.evaluation):
            yield
            return
        if self._ranks is not None and is_rehearsal():
            yield
            return
        self.forwards += 1
        due = (self.forwards - 1) % self._settings.every == 0 if self._step is None else self._due
        self._due = False
        if not due:
            yield
            return
        self._running = True
        if self._shelf is not None:
            self._shelf.passed()
        try:
            self._look(args, kwargs)
            if self.tapped:
                yield from self._read(args, kwargs)
            else:
                yield
        finally:
            self._running = False
        self._books.settle()

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
        from mhc_diag.sources.exposed.places import listening
        from mhc_diag.sources.taps.tap import Reading

        assert self.taps is not None
        mask = self.taps.mask
        kept = None if mask is None else mask.kept(self._model, args, kwargs)
        reading = Reading(self.taps, self._model, self._settings.tokens, kept)
        gradients = self._gradients.listening(self._model, self.taps.sites, self.taps.streams)
        with listening(self._model, reading.heard, self.taps.places, deaf=is_probed), gradients:
            yield
        matrices = reading.matrices()
        if matrices is None:
            self._lose_way()
            return
        self._matrices, self._weights, self._latest = matrices, reading.weights, self.forwards
        assert self._stack is not None
        shown = partial(self._of, self._stack, matrices, reading.weights, self.forwards)
        tokens = reading.weights, reading.numbers
        self._books.history.add(self.step, self.forwards, matrices, *tokens, tapped=True, stack=shown)
        self._recorded += 1
        sought = not self._gradients.reason
        self._gradients.expect(self.step, matrices, reading.numbers, self.taps.sites)
        if sought and self._gradients.reason:
            self._note(f"gains of the gradient are left out: {self._gradients.reason}")

    def _lose_way(self) -> None:
        way = "it went another way than the one that the taps were found on"
        if self._ranks is None:
            self.tapped = False
            self._note(f"{way}; it is probed from now on")
            return
        if not self._astray:
            self._note(f"{way}; until the taps are compared, such a pass has no record on any rank")
        self._astray = way
        self._recorded += 1  # which is when the ranks compare their taps, together

    def _look(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Probe the model where it is time to."""
        try:
            if self.taps is None:
                self._discover(self._input(args, kwargs))
            elif self._is_empty:
                return
            elif self.tapped:
                if self._is_due(self._recorded) and self._recorded != self._verified[0]:
                    self._verify(self._input(args, kwargs))
            elif self.forwards - self._last_probe >= self._settings.probe_every:
                self._probe(self._input(args, kwargs))
        except MhcDiagError as e:
            if self.taps is None:
                raise
            self._last_probe = self.forwards
            self._note(f"it could not be probed: {e}")

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
        self._stack, self.taps, self._astray = stack, taps, ""
        self._verified = (self._recorded, max((t.deviation for t in taps.found), default=0.0))
        if stack is not None and not self.tapped:
            self._take(stack)

    @property
    def _is_empty(self) -> bool:
        return self._shelf is not None and self._shelf.empty

    def _probe(self, example: Any) -> None:
        from mhc_diag.sources.probe import probe

        with probing():
            self._take(probe(self._model, example))

    def _take(self, stack: MixingStack) -> None:
        self._last_probe = self.forwards
        self._stack, self._matrices = stack, None
        self._books.history.add(self.step, self.forwards, stack.matrices, tapped=False, stack=lambda: stack)

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
            self._verified = (self._recorded, deviation)
            return
        since = self._verified[0]
        self._note(f"{wrong}; records may be wrong since the {since}th, when the taps were last compared")
        self.tapped = False
        self._discover(example)

    def _note(self, what: str) -> None:
        note = f"forward pass {self.forwards} of {self._name}: {what}"
        self.notes = (*self.notes, note)
        warnings.warn(note, RuntimeWarning, stacklevel=2)

    def _of(self, stack: MixingStack, matrices: Tensor, weights: Tensor | None, forward: int) -> MixingStack:
        """The stack of a record, with the tokens that count."""
        if weights is not None and len(weights) == matrices.shape[1]:
            matrices = matrices[:, weights > 0]
        where = self._read_off(stack, int(matrices.shape[1]), forward)
        was_probed: dict[str, Any] = {"pre": None, "post": None, "reads_from": (), "logits": None}
        return replace(stack, matrices=matrices, provenance=where, **was_probed)

    def _read_off(self, stack: MixingStack, tokens: int, forward: int) -> Provenance:
        recorded, deviation = self._verified
        compared = (
            f"the taps were last compared with a probe after {recorded} of {self._recorded} records: "
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


_BACKWARD = ("backward_max", "backward_mean")
