"""Operations that nothing is known of but the values they take and give, such as fused kernels.

Where such an operation takes streams and gives streams, it is run again with other streams. If the results
follow as one M says, that is M, however much alike the streams are. If not, its coefficients may be made of
the streams inside it: then M is fitted to the values that it took and gave. Either way it is least squares,
which tells mixing from everything else: a layer over channels, an activation or attention fits no M.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mhc_diag.sources.probe.arranged import labellings
from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.call import Call, Cut, Effect, Pass, Restart, Solved
from mhc_diag.sources.probe.codes import Fit
from mhc_diag.sources.probe.fitted import Fitted, enough, fit, precision
from mhc_diag.sources.probe.layout import Labels, decode
from mhc_diag.sources.probe.levelled import normalises
from mhc_diag.sources.probe.memory import Memory
from mhc_diag.sources.probe.replay import Replay, Run, typical_size

TORCH = {"aten", "prims", "prim", "inductor", "c10d", "_c10d_functional"}
"""Libraries of known operations: what the table lacks of theirs is not linear in the streams."""
CHANGES = (16.0, -16.0, 16.0, 2.0)
"""How large the changes of the streams are against the streams. Unless all show one M, it depends on them."""
TRIED_ON = 8
"""Tokens on which an arrangement is tried before it is fitted to all."""


@dataclass(frozen=True, slots=True, eq=False)
class Opaque:
    """What an unknown operation was given: the streams, and what may be a branch."""

    name: str
    memory: Memory
    signal: Signal
    labels: Labels
    tensor: Tensor
    """The argument that holds the streams."""
    streams: Tensor
    """(T, C, n): values of the streams before the operation."""
    branches: tuple[Tensor, ...]
    """As large as one stream or as all of them, computed from the streams, without a tangent."""
    replay: Replay

    def outcome(self, number: int, out: Tensor) -> Effect:
        """What can be said of one result of the operation, given its place among the results."""
        if out.numel() != self.streams.numel() or not out.is_floating_point():
            return Cut(f"{self.name}, which gives no streams")
        return self._run_again(number, out) or self._fitted(out)

    def _run_again(self, number: int, out: Tensor) -> Effect | None:
        """M from what other streams give; None where it is not the same for all of them."""
        unit = typical_size(self.streams)
        runs = self.replay.runs(self.tensor, [change * unit for change in CHANGES])
        if not runs or not enough(self.labels.space.channels * len(runs), self.labels.streams, 0):
            return None
        given = [(self.replay.before(self.tensor), out), *((r.given, r.results[number]) for r in runs)]
        if all(torch.equal(before, after) for before, after in given):
            return Pass(self.signal)  # a copy, whatever it is called
        x = torch.cat([(gathered(run.given, self.labels) - self.streams) / run.size for run in runs], dim=1)
        found = [*self._follows(number, out, runs, x)]
        if len(found) != 1 or bool((found[0][1].matrix.isnan() & out.isfinite().all()).any()):
            return None
        laid, made = found[0]
        site = any(self._adds(number, out, laid, branch, CHANGES[0] * unit) for branch in self.branches)
        return self._solved(out, laid, made, "M was fitted to what it gives for other streams", site=site)

    def _follows(
        self, number: int, out: Tensor, runs: Sequence[Run], x: Tensor
    ) -> Iterator[tuple[Labels, Fitted]]:
        """Every arrangement of the results that changes linearly with a change x of an argument."""
        shown = precision(out)
        for laid in self._arrangements(out):
            values = gathered(out, laid)
            y = torch.cat([(gathered(r.results[number], laid) - values) / r.size for r in runs], dim=1)
            beside = torch.cat([2 * values.abs() / run.size for run in runs], dim=1)
            if self._is_linear(x, x[..., :0], y, shown, beside):
                made = fit(x, x[..., :0], y, shown, beside)
                if made.linear:
                    channels = self.labels.space.channels
                    each = (torch.stack(v.split(channels, dim=1)) for v in (x, y))  # type: ignore[no-untyped-call]
                    apart = [
                        fit(a, a[..., :0], b, shown).matrix - made.matrix for a, b in zip(*each, strict=True)
                    ]
                    yield laid, replace(made, bound=made.bound + torch.stack(apart).abs().amax(dim=0))

    def _adds(self, number: int, out: Tensor, laid: Labels, branch: Tensor, size: float) -> bool:
        """Whether the results have a multiple of an argument added to them."""
        runs = self.replay.runs(branch, [size])
        if not runs or torch.equal(runs[0].results[number], out):
            return False
        change = (runs[0].given - self.replay.before(branch)) / size
        changes = (gathered(change, one) for one in self._arrangements(branch))
        return any(laid is one for x in changes for one, _ in self._follows(number, out, runs, x))

    def _fitted(self, out: Tensor) -> Effect:
        """M from the values that the operation took and gave."""
        space, n = self.labels.space, self.labels.streams
        columns = sum(b.numel() for b in self.branches) // (space.tokens * space.channels)
        for among in dict.fromkeys((0, columns)):
            if not enough(space.channels, n, among):
                few = f"{space.channels} channels are too few to fit {n} streams and {among} branches"
                return Cut(f"{self.name}, which is opaque: {few}")
            found = [*itertools.islice(self._fits(out, self.branches if among else ()), 2)]
            if len(found) > 1:
                return Cut(f"{self.name}, whose results fit the streams in more than one layout")
            if found:
                laid, made = found[0]
                if normalises(made.matrix, gathered(out, laid)):
                    label = laid.flat.view(out.shape)
                    return Restart(Signal(label, label, self.signal.code), "a normalisation")
                return self._solved(
                    out, laid, made, "M was fitted to the streams before and after it", site=among > 0
                )
        return Cut(f"{self.name}, which is not linear in the streams")

    def _fits(self, out: Tensor, branches: Sequence[Tensor]) -> Iterator[tuple[Labels, Fitted]]:
        """Every arrangement of the results that is linear in streams and branches."""
        shown = precision(out)
        for laid in self._arrangements(out):
            y = gathered(out, laid)
            for beside in self._beside(branches):
                if self._is_linear(self.streams, beside, y, shown):
                    made = fit(self.streams, beside, y, shown)
                    if made.linear:
                        yield laid, made
                        break

    def _is_linear(
        self, x: Tensor, f: Tensor, y: Tensor, shown: torch.finfo, besides: Tensor | None = None
    ) -> bool:
        """Whether a few tokens fit, which most wrong arrangements do not."""
        few = torch.linspace(0, x.shape[0] - 1, TRIED_ON, device=x.device).long()
        return fit(x[few], f[few], y[few], shown, None if besides is None else besides[few]).linear

    def _beside(self, branches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The branches as (T, C, k), in every arrangement of each."""
        before = [self.replay.before(branch) for branch in branches]
        each = ([gathered(b, laid) for laid in self._arrangements(b)] for b in before)
        for chosen in itertools.product(*each):
            yield torch.cat([self.streams[..., :0], *chosen], dim=-1)

    def _arrangements(self, tensor: Tensor) -> Iterator[Labels]:
        """Every way in which a tensor can hold streams, first that of the streams themselves."""
        space = self.labels.space
        streams = tensor.numel() // (space.tokens * space.channels)
        own = tensor.shape == self.tensor.shape
        found = [self.signal.label] if own else []
        found += labellings(tensor.shape, space, streams)
        distinct = dict.fromkeys(self.memory.labels(label.to(tensor.device), space) for label in found)
        yield from (labels for labels in distinct if labels.streams == streams)

    def _solved(self, out: Tensor, laid: Labels, made: Fitted, how: str, *, site: bool) -> Effect:
        code = self.signal.code
        before, spread = decode(self.signal.tangent.contiguous().view(-1), self.labels, code.streams)
        fitted, bound = made.matrix.to(before.device), made.bound.to(before.device)
        rows = fitted.abs().sum(dim=-1, keepdim=True)
        error = bound @ before.abs().to(bound) + spread[:, None, None] * rows
        matrix = fitted @ before.to(fitted)
        error = error + (matrix - matrix.to(before.dtype)).abs()
        return Solved(
            label=laid.flat.view(out.shape),
            code=code,
            matrix=matrix.to(before.dtype),
            spread=error.nan_to_num(nan=math.inf, posinf=math.inf).amax(dim=(1, 2)),
            fit=Fit(self.name, how, _largest(made.residual), _largest(made.condition)),
            site=site,
        )


def look(call: Call, inputs: Sequence[Tensor]) -> Opaque | None:
    """What there is to fit to, before an operation of another library runs; None if it takes no streams."""
    if call.func.namespace in TORCH:
        return None
    distinct = [*{id(x): x for x in inputs if x.is_floating_point()}.values()]
    signals = call.signals(*distinct)
    known = [(x, signal) for x, signal in zip(distinct, signals, strict=True) if signal is not None]
    if len(known) != 1 or not known[0][1].complete:
        return None
    tensor, signal = known[0]
    labels = call.memory.labels(signal.label, signal.code.space)
    if not labels.streams:
        return None
    sizes = (labels.space.tokens * labels.space.channels, labels.flat.numel())
    others = (x for x in distinct if x is not tensor and x.numel() in sizes and call.depends(x))
    replay = Replay(call)
    return Opaque(
        name=call.func._schema.name,
        memory=call.memory,
        signal=signal,
        labels=labels,
        tensor=tensor,
        streams=gathered(tensor, labels),
        branches=tuple(others),
        replay=replay,
    )


def gathered(tensor: Tensor, labels: Labels) -> Tensor:
    """The values of a tensor with these labels, (T, C, m) in float64."""
    return labels.gather(tensor.contiguous().view(-1)).to(torch.float64, copy=True)


def _largest(values: Tensor) -> float:
    numbers = values[~values.isnan()]
    return float(numbers.amax()) if numbers.numel() else math.nan
