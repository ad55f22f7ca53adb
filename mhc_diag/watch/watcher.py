"""The watch: what it does around each forward pass, and what it can tell afterwards."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.records import MixingStack, Provenance, Report
from mhc_diag.sources.taps.tap import Taps
from mhc_diag.watch.door import Door, is_probed, probing
from mhc_diag.watch.history import History
from mhc_diag.watch.ranks import Ranks
from mhc_diag.watch.rehearsal import is_rehearsal
from mhc_diag.watch.whole import whole_stack

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
        self._history = History(self._ranks, settings.tokens)
        self._empty = False
        self._astray = ""
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
        self.close()
        if self._ranks is not None and exception is not None:
            self._ranks.leave(f"{type(exception).__name__}: {exception}")

    def close(self) -> None:
        """Stop watching. What was recorded stays; closing twice does nothing."""
        self._door.leave(self)

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
        rows = self.history
        if not rows:
            raise MhcDiagError(
                f"no forward pass of {self._name} was recorded, {self.forwards} were seen",
                hint="watch the very object that is called, in training mode or with evaluation=True",
            )
        return rows[-1]

    @property
    def history(self) -> list[dict[str, float]]:
        """All records, earliest first. Reading it waits for the device, and for the other ranks."""
        return self._history.rows(empty=self._empty)

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
            return whole_stack(self._ranks, None if self._empty else self._own(), self._name, self._latest)
        return self._own()

    def _own(self) -> MixingStack:
        """The operators of the latest record that this rank has itself."""
        assert self._stack is not None  # recorded together with the history
        if self._matrices is None:
            return self._stack
        matrices = self._matrices
        if self._weights is not None and len(self._weights) == matrices.shape[1]:
            matrices = matrices[:, self._weights > 0]
        return replace(self._stack, matrices=matrices, provenance=self._read_off(int(matrices.shape[1])))

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
        if (self.forwards - 1) % self._settings.every:
            yield
            return
        self._running = True
        self._history.passed()
        try:
            self._look(args, kwargs)
            if self.tapped:
                yield from self._read(args, kwargs)
            else:
                yield
        finally:
            self._running = False

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
        from mhc_diag.sources.exposed.places import listening
        from mhc_diag.sources.taps.tap import Reading

        assert self.taps is not None
        mask = self.taps.mask
        kept = None if mask is None else mask.kept(self._model, args, kwargs)
        reading = Reading(self.taps, self._model, self._settings.tokens, kept)
        with listening(self._model, reading.heard, self.taps.places, deaf=is_probed):
            yield
        matrices = reading.matrices()
        if matrices is None:
            self._lose_way()
            return
        self._matrices, self._weights, self._latest = matrices, reading.weights, self.forwards
        self._history.add(self.forwards, matrices, reading.weights, reading.numbers, tapped=True)
        self._recorded += 1

    def _lose_way(self) -> None:
        way = "it went another way than the one that the taps were found on"
        if self._ranks is None:
            self.tapped = False
            self._note(f"{way}; it is probed from now on")
            return
        if not self._astray:
            self._note(f"{way}; no rank has a record of it")
        self._astray = way
        self._recorded += 1  # the ranks compare their taps together, after as many records

    def _look(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Probe the model where it is time to."""
        try:
            if self.taps is None:
                self._discover(self._input(args, kwargs))
            elif self._empty:
                pass
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

        failure: MhcDiagError | None = None
        try:
            with probing():
                stack, taps = discover(self._model, example)
        except MhcDiagError as e:
            if self._ranks is None:
                raise
            self._empty = self._ranks.has_stages and isinstance(e, NothingToCheck)
            failure = None if self._empty else e
            stack, taps = None, NO_TAPS
        self.tapped = taps.complete
        if self._ranks is not None:
            self.tapped = not self._ranks.agreed("" if taps.complete else "has no taps", failure)
        self._stack, self.taps, self._astray = stack, taps, ""
        self._verified = (self._recorded, max((t.deviation for t in taps.found), default=0.0))
        if stack is not None and not self.tapped:
            self._take(stack)

    def _probe(self, example: Any) -> None:
        from mhc_diag.sources.probe import probe

        with probing():
            self._take(probe(self._model, example))

    def _take(self, stack: MixingStack) -> None:
        self._last_probe = self.forwards
        self._stack, self._matrices, self._latest = stack, None, self.forwards
        self._history.add(self.forwards, stack.matrices, tapped=False)

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

    def _read_off(self, tokens: int) -> Provenance:
        assert self._stack is not None
        recorded, deviation = self._verified
        compared = (
            f"the taps were last compared with a probe after {recorded} of {self._recorded} records: "
            f"largest deviation {deviation:.1e}"
        )
        return replace(
            self._stack.provenance,
            how=HOW,
            token_shape=(tokens,),
            token_numbers=(),
            certificates=None,
            settings={**self._stack.provenance.settings, "forward pass": self._latest},
            notes=(*self._stack.provenance.notes, compared, *self.notes),
        )


_BACKWARD = ("backward_max", "backward_mean")
