"""The watch: what it does around each forward pass, and what it can tell afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack, Report
from mhc_diag.sources.taps.tap import Taps
from mhc_diag.watch.alerts import Alert
from mhc_diag.watch.books import Books
from mhc_diag.watch.door import Door, is_probed
from mhc_diag.watch.gradients import OFF, Gradients
from mhc_diag.watch.ranks import Ranks
from mhc_diag.watch.rehearsal import is_rehearsal
from mhc_diag.watch.settings import Settings
from mhc_diag.watch.shelf import Shelf
from mhc_diag.watch.sight import Sight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mhc_diag.watch.distribution import Distribution


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
        self.distribution = distribution
        """Who shares the model; None for one process."""
        self._ranks = None if distribution is None else Ranks(distribution)
        staged = self._ranks is not None and self._ranks.has_stages
        off = "they are not taken across the stages of a pipeline" if staged else ""
        self._gradients = Gradients(off if settings.gradients else OFF, shared=self._ranks is not None)
        self._shelf = None
        if self._ranks is not None:
            self._shelf = Shelf(self._ranks, settings, self._name, self._gradients)
        jsonl = settings.jsonl if self._ranks is None or self._ranks.is_first else None
        expected = settings.policy, settings.max_rise, settings.on_alert
        self._books = Books(self._name, *expected, jsonl, self._shelf, self._gradients)
        self._step: int | None = None
        self._due = False
        self._matrices: Tensor | None = None
        self._weights: Tensor | None = None
        self._latest = 0
        self._running = False
        self.sight = Sight(model, settings, example, self._ranks, self._shelf, self._take)
        """Where the operators are read."""
        if settings.gradients and off:
            self.sight.note(f"gains of the gradient are left out: {off}")
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
    def forwards(self) -> int:
        """How many forward passes were seen."""
        return self.sight.forwards

    @property
    def taps(self) -> Taps | None:
        """Where the operators are read; None before the first forward pass."""
        return self.sight.taps

    @property
    def tapped(self) -> bool:
        """Whether taps are read; if not, the model is probed from time to time."""
        return self.sight.tapped

    @property
    def notes(self) -> tuple[str, ...]:
        """What went otherwise than it should, each with the number of the forward pass."""
        return self.sight.notes

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
        return self._books.history.latest() | self._gradients.latest()

    @property
    def history(self) -> list[dict[str, float]]:
        """All records since this watch began, earliest first, each with the gains of its own gradient.

        Reading it waits for the device.
        """
        self._books.settle(wait=True)
        gradients = self._gradients.by_step()
        rows = self._books.history.rows()
        return [row | gradients.get(int(row["mhc/step"]), {}) for row in rows]

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
        return [*rows[:-1], rows[-1] | self._gradients.latest()] if rows else rows

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
        stack = self.sight.stack
        assert stack is not None  # recorded together with the history
        if self._matrices is None:
            return stack
        return self.sight.told(stack, self._matrices, self._weights, self._latest)

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
        if self.sight.recorded or self.forwards:
            raise MhcDiagError(
                "the watch has seen forward passes already", hint="load its state before training begins"
            )
        self.sight.forwards = int(state["forwards"])
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
        self.sight.forwards += 1
        due = (self.forwards - 1) % self._settings.every == 0 if self._step is None else self._due
        self._due = False
        if not due:
            yield
            return
        self._running = True
        if self._shelf is not None:
            self._shelf.passed()
        try:
            self.sight.look(args, kwargs)
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

        taps, stack = self.sight.taps, self.sight.stack
        assert taps is not None and stack is not None
        mask = taps.mask
        kept = None if mask is None else mask.kept(self._model, args, kwargs)
        reading = Reading(taps, self._model, self._settings.tokens, kept)
        gradients = self._gradients.listening(self._model, taps.sites, taps.streams)
        with listening(self._model, reading.heard, taps.places, deaf=is_probed), gradients:
            yield
        matrices = reading.matrices()
        if matrices is None:
            self.sight.lose_way()
            return
        self._matrices, self._weights, self._latest = matrices, reading.weights, self.forwards
        shown = partial(self.sight.told, stack, matrices, reading.weights, self.forwards)
        tokens = reading.weights, reading.numbers
        self._books.history.add(self.step, self.forwards, matrices, *tokens, tapped=True, stack=shown)
        self.sight.recorded += 1
        sought = not self._gradients.reason
        self._gradients.expect(self.step, matrices, reading.numbers, taps.sites)
        if sought and self._gradients.reason:
            self.sight.note(f"gains of the gradient are left out: {self._gradients.reason}")

    def _take(self, stack: MixingStack, forward: int) -> None:
        self._matrices = None
        step = forward if self._step is None else self._step
        self._books.history.add(step, forward, stack.matrices, tapped=False, stack=lambda: stack)


_BACKWARD = ("backward_max", "backward_mean")
