"""Follow the tangents of the streams through every operation that a model runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mhc_diag.records import Skipped
from mhc_diag.sources.probe.branches.sites import Branches
from mhc_diag.sources.probe.call import (
    Call,
    Cut,
    Effect,
    Enter,
    Pass,
    Restart,
    Rewrite,
    Solved,
    Untouched,
    written,
)
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.lineage import Lineage
from mhc_diag.sources.probe.memory import Entry, Memory
from mhc_diag.sources.probe.opaque import look
from mhc_diag.sources.probe.rules.table import MIXINGS, RULES, SHAPES
from mhc_diag.sources.probe.space import Space
from mhc_diag.sources.probe.storages import storage_of, tensors_in
from mhc_diag.sources.probe.trace import Trace
from mhc_diag.sources.probe.unapplied import Unapplied
from mhc_diag.sources.probe.unwritten import Unwritten

SPREAD = ("DTensor", "AsyncCollectiveTensor")
"""Tensors of torch.distributed that stand for what several ranks hold."""


class Follow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode under which torch shows each operation, below autograd and whatever module it comes from."""

    def __init__(self, entry: Entry | None = None, trace: Trace | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memory = Memory(entry)
        self.trace = trace
        self.lineage = Lineage()
        self.branches = Branches(self.memory, self.lineage)
        self.modules: list[str] = []
        self.unwritten = Unwritten()
        self.unapplied = Unapplied()
        self.ends: Counter[str] = Counter()
        self._lost: list[tuple[Space, Skipped]] = []
        self._parts: list[tuple[Code, Skipped]] = []
        self.unseen: list[tuple[int, str]] = []
        """Residual updates of untracked streams: how many codes there were, and where it was."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if any(kind.__name__ in SPREAD for kind in types):
            return NotImplemented  # the tensor then runs it on what this rank holds, which is seen here
        kwargs = dict(kwargs or {})
        if _is_composite(func):
            with self:  # seen only in inference mode: look inside
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        inputs = tensors_in((args, kwargs))
        if not inputs and func._schema.name == "aten::_local_scalar_dense":
            return args[0]  # a constant of a traced program, which comes as the number that is asked for
        name = func._schema.name.removeprefix("aten::")
        if name not in SHAPES:
            for tensor in self.unwritten.read(func, args, kwargs, inputs):
                self._hidden(tensor)
        if not any(self.memory.depends(x) for x in inputs):
            out = func(*args, **kwargs)
            self.unwritten.made(name, out)
            if func._schema.name == "aten::embedding" and out.is_floating_point():
                self.memory.enter(out, self.modules[-1] if self.modules else "", "embedding")
            return out
        return self._follow(func, args, kwargs, inputs)

    def _follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Tensor]) -> Any:
        mutates = func._schema.is_mutable
        name = func._schema.name.removeprefix("aten::")
        name = name.removesuffix("_") if mutates else name
        producer = max(self.lineage.producer(x) for x in inputs)
        made_of = self.memory.made_of(inputs)
        cuts = self.lineage.made_of_cuts(inputs)
        call = Call(func, name, args, kwargs, self.memory)
        known = any(self.memory.shadow(x) is not None for x in inputs)
        self.memory.release()
        rule = RULES.get(name)
        outcome = rule.rule(call) if rule is not None else Cut(name)
        if isinstance(outcome, Rewrite):
            with self:
                return outcome.run()
        if not isinstance(outcome, Pass | Untouched):
            for tensor in inputs:
                self.memory.settle(tensor)
        unknown = look(call, inputs) if known and name not in RULES else None
        self.branches.before(call, inputs, outcome)
        out = func(*args, **kwargs)
        if isinstance(outcome, Untouched):
            self.unwritten.made(name, out)
            return out
        if not mutates and shares_memory(out, inputs):
            return self._separate(out)  # a view: its shadow is that of its memory
        if isinstance(outcome, Cut) and rule is RULES["add"]:
            self._note_unseen(inputs, out, producer)
        made = written(func, args, kwargs) if mutates else tensors_in((out,))
        for number, tensor in enumerate(x for x in made if isinstance(x, Tensor)):
            if unknown is not None:
                outcome = unknown.outcome(number, tensor)
            if self.trace is not None:
                self._explain(self.trace, tensor, outcome, name, inputs)
            self._commit(tensor, outcome, name, producer, known, inputs)
            self.memory.trace(tensor, made_of)
            if isinstance(outcome, Cut):
                self.lineage.mark_cut(tensor, cuts)
            self.branches.after(tensor, outcome)
        return out

    def _explain(
        self, trace: Trace, tensor: Tensor, outcome: Effect, name: str, inputs: list[Tensor]
    ) -> None:
        path = self.modules[-1] if self.modules else ""
        if isinstance(outcome, Pass | Solved):
            trace.passed(tensor, inputs, path, name)
            return
        for shadow in (self.memory.shadow(x) for x in inputs):
            if shadow is not None:
                trace.ended[shadow.code][f"{path or 'the model'}: {outcome.reason} ({name})"] += 1

    def _hidden(self, tensor: Tensor) -> None:
        """Take what a kernel wrote that torch does not show for something made of all streams so far."""
        if not self.memory.codes or not tensor.is_floating_point():
            return
        self.memory.write(tensor, None)
        self.memory.trace(tensor, (1 << len(self.memory.codes)) - 1)
        self.lineage.mark_cut(tensor, self.lineage.all_cuts)
        self.branches.hidden(tensor)
        path = self.modules[-1] if self.modules else ""
        self.lineage.produced(tensor, path)
        self.ends[
            f"{path or 'the model'}: a kernel that is no operation of torch (written out of sight)"
        ] += 1

    def _note_unseen(self, inputs: list[Tensor], out: Tensor, producer: tuple[int, str]) -> None:
        """Notice a residual update of streams whose path ended before: no number, but not silence either."""
        if len(inputs) == 2 and inputs[0].shape == inputs[1].shape == out.shape and out.ndim > 1:
            one, two = inputs
            if self.lineage.is_made_of(one, two) or self.lineage.is_made_of(two, one):
                path = self.modules[-1] if self.modules else ""
                label = f"{path}.{_relative(producer[1], path)}".strip(".") or "the model"
                self.unseen.append((len(self.memory.codes), label))

    def _separate(self, out: Any) -> Any:
        """A view that repeats one stream, copied, so that each copy has memory and a code of its own."""
        if not isinstance(out, Tensor) or 0 not in out.stride() or out.is_contiguous():
            return out
        signal = self.memory.read(out)
        if signal is None or (told_apart := self.memory.expand(signal)) is signal:
            return out
        copy = out.contiguous()
        if told_apart is None:
            self.ends[
                f"{self.modules[-1] if self.modules else 'the model'}: {self.memory.crowded(signal)}"
            ] += 1
        self.memory.write(copy, told_apart)
        self.memory.trace(copy, self.memory.made_of([out]))
        self.lineage.produced(copy, self.lineage.producer(out))
        return copy

    def _commit(
        self,
        tensor: Tensor,
        outcome: Effect,
        name: str,
        producer: tuple[int, str],
        known: bool,
        inputs: list[Tensor],
    ) -> None:
        path = self.modules[-1] if self.modules else ""
        kind = _relative(producer[1], path)
        if isinstance(outcome, Enter):
            if outcome.signal is not None and self.memory.holds_streams(outcome.signal, tensor.shape):
                restart = Restart(outcome.signal, outcome.reason)
                return self._commit(tensor, restart, name, producer, known, inputs)
            if outcome.parent is not None:
                self.ends[f"{path or 'the model'}: {outcome.reason} ({name})"] += 1
            self.memory.enter(
                tensor, path, kind, axis=outcome.axis, parent=outcome.parent, broken=outcome.reason
            )
        elif isinstance(outcome, Solved):
            self.memory.start(tensor, outcome.label, outcome.made(path, kind))
        elif isinstance(outcome, Restart) and tensor.shape == outcome.signal.label.shape:
            self.memory.restart(tensor, outcome.signal, path, outcome.reason)
            self.ends[f"{path or 'the model'}: {outcome.reason} ({name})"] += 1
        elif isinstance(outcome, Restart):
            self.memory.write(tensor, None, stage=2)
        elif isinstance(outcome, Cut):
            self.memory.write(tensor, None, stage=outcome.stage, blank=outcome.blank)
            if outcome.lost:
                self.memory.lose(tensor)
            if known:
                self.ends[f"{path or 'the model'}: {outcome.reason} ({name})"] += 1
        else:
            old = self.memory.shadow(tensor)
            merged = self.memory.write(tensor, outcome.signal)
            if merged and old is not None:
                across = self.memory.bases.across([outcome.signal.code, old.code])
                outcome = replace(outcome, bypass=outcome.bypass or across)
            mixes = path if name in MIXINGS else None
            self.unapplied.passed(tensor, inputs, self.memory.shadow(tensor), mixes)
            if outcome.site or merged:
                self._site(tensor, path, kind, outcome)
        self.lineage.produced(tensor, producer)

    def _site(self, tensor: Tensor, path: str, kind: str, outcome: Pass) -> None:
        shadow = self.memory.shadow(tensor)
        if shadow is None or not shadow.labels.complete:
            return  # a part of memory whose other parts are still to be filled
        label = f"{path}.{kind}".strip(".") or "the model"
        if self.memory.reseed(shadow, path, kind, site=True):
            self.branches.arrived(shadow.code, tensor, shadow.labels)
            if self.trace is not None:
                self.trace.arrived(tensor, shadow.code, shadow.labels)
            self.unapplied.arrived(tensor, shadow.code)
            if outcome.bypass:
                around = Skipped(f"path around sites into {label}", outcome.bypass)
                self._lost.append((shadow.code.space, around))
            return
        space, held = shadow.code.space, self.memory.hold(shadow, path, kind)
        reason = "a branch is added to some of the tokens, which never join the others again"
        if held is not None:
            self._parts.append((held, Skipped(label, reason)))
            return
        reason = "its elements are not a whole number of streams with the channels of the entry"
        if shadow.code.part:
            reason = "several branches are added to some of the tokens before they join the others"
        elif shadow.labels.streams:
            reason = (
                f"{space.channels} channels are too few to tell {shadow.labels.streams} streams apart twice"
            )
        self._lost.append((space, Skipped(label, reason)))
        self.memory.write(tensor, None)

    @property
    def lost(self) -> list[tuple[Space, Skipped]]:
        """Residual updates that could not be measured, and the path that they belong to."""
        apart = [(code.space, s) for code, s in self._parts if code not in self.memory.bases.resolved]
        return [*self._lost, *apart]


@cache
def _is_composite(func: Any) -> bool:
    """Whether an operation is made of others, and is seen as such in inference mode only."""
    name = func.name()
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"))


def shares_memory(out: Any, inputs: list[Tensor]) -> bool:
    """Whether all that came out is a view of what went in."""

    def number(tensor: Tensor) -> int:
        storage = storage_of(tensor)
        return id(tensor) if storage is None else storage._cdata

    known = {number(x) for x in inputs}
    made = [number(x) for x in tensors_in((out,))]
    return bool(made) and all(m in known for m in made)


def _relative(producer: str, path: str) -> str:
    """A module's path as seen from the module that is running: without what the two share."""
    of_producer, of_path = producer.split("."), path.split(".")
    shared = 0
    for one, other in zip(of_producer, of_path, strict=False):
        if one != other:
            break
        shared += 1
    return ".".join(of_producer[shared:])
