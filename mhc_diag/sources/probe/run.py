"""Run a model's own forward pass with the streams marked, and leave nothing behind."""

from __future__ import annotations

import functools
from collections import Counter, deque
from types import GeneratorType
from typing import Any

import torch
from torch import nn

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.records import MixingStack, Observation, Provenance, Skipped
from mhc_diag.sources.inputs import Arguments, as_call
from mhc_diag.sources.probe import chain, divisions, unapplied
from mhc_diag.sources.probe.arguments import copied
from mhc_diag.sources.probe.branches.rows import rows
from mhc_diag.sources.probe.explain import explanations
from mhc_diag.sources.probe.follow import Follow
from mhc_diag.sources.probe.memory import Entry
from mhc_diag.sources.probe.named_layout import NamedLayout
from mhc_diag.sources.probe.padding import without_padding
from mhc_diag.sources.probe.paths import followed
from mhc_diag.sources.probe.refusals import advice, no_entry, refuse_what_cannot_run
from mhc_diag.sources.probe.trace import Trace
from mhc_diag.sources.probe.undisturbed import undisturbed

HOW = (
    "measured on the model's own forward pass: known tangents on every stream, coefficients frozen, "
    "read again wherever a branch is added"
)


def probe(
    model: nn.Module,
    example: Any,
    *,
    name: str = "",
    target: str = "",
    streams: int | None = None,
    layout: str | None = None,
    explain: bool = False,
) -> MixingStack:
    """Measure the applied operator of every site of a model, for every token.

    Formula: x_{l+1} = M_l x_l + p_l f_l; M_l is the derivative of x_{l+1} by x_l with the coefficients and
    the branch f_l held fixed.

    Args:
        model: any torch module; it is put into evaluation mode for the measurement and back afterwards.
        example: what the model is called with: a tensor, a tuple of positional arguments, or a dictionary of
            keyword arguments.
        name: what to call the stack; the model's class if empty.
        target: where the model came from, for the report.
        streams: number of streams, a way out where they are not found by themselves.
        layout: how the tensor is laid out with which the path begins, such as `b s (n c)`; likewise.
        explain: keep how each site came to be measured, in the stack's `explanations`.

    Raises:
        MhcDiagError: no module was given, nothing has the given layout, or the model raised an exception
            before any site was measured.
        NothingToCheck: no branch is added to anything that came from the input along a linear path.

    Example:
        >>> class Residual(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.branch = nn.Linear(8, 8)
        ...     def forward(self, x):
        ...         return 0.5 * x + self.branch(x)
        >>> probe(Residual(), torch.ones(1, 3, 8)).matrices.flatten().tolist()
        [0.5, 0.5, 0.5]
    """
    if not isinstance(model, nn.Module):
        raise MhcDiagError(
            f"the model to probe is of type {type(model).__name__}, expected a torch.nn.Module",
            hint="give the module itself; for an exported program, torch.export.unflatten(program)",
        )
    call = as_call(example)

    refuse_what_cannot_run(model, call)
    run = functools.partial(_run, model, call, streams, explain)
    if layout is not None:
        best = divisions.told(run, NamedLayout.parse(layout, streams))
    else:
        best = divisions.search(run, streams=streams)
    own = type(model).__name__
    stack = _stack(best, model, call, layout is not None, name or own, target or own)
    return without_padding(stack, model, call)


def _run(
    model: nn.Module, call: Arguments, streams: int | None, explain: bool, entry: Entry
) -> divisions.Attempt:
    (args, kwargs), tensors = copied(call)
    mode = Follow(entry, Trace() if explain else None)
    failure: Exception | None = None
    with undisturbed(model), followed(model, mode):
        for tensor in tensors:
            mode.memory.enter(tensor, "", "input")
        try:
            with mode:
                out = model(*args, **kwargs)
                if isinstance(out, GeneratorType):  # nothing has run yet
                    deque(out, maxlen=0)
        except Exception as e:
            failure = e
    bases = mode.memory.bases
    return divisions.Attempt(mode, chain.longest(bases.standing(), streams, bases.inside()), failure)


def _stack(
    attempt: divisions.Attempt, model: nn.Module, call: Arguments, told: bool, name: str, target: str
) -> MixingStack:
    mode, found, failure = attempt.mode, attempt.found, attempt.failure
    message = "" if failure is None else f"{type(failure).__name__}: {_one_line(failure)}"
    if found is None or not found.sites:
        if failure is not None:
            raise MhcDiagError(f"{name} raised {message}", hint=advice(failure, call)) from failure
        raise _nothing(mode, found, name, call)
    not_applied = _unapplied(mode, found)
    branches = rows(found.codes[slice(*found.run)], mode.branches.of_site, found.space.tokens)
    return MixingStack(
        name=name,
        matrices=found.matrices,
        sites=found.sites,
        pre=branches.pre,
        post=branches.post,
        reads_from=branches.reads_from,
        provenance=Provenance(
            target=target,
            method="observed",
            how=HOW,
            orientation="observed",
            token_axis="token",
            token_shape=found.space.token_shape,
            certificates=found.certificates,
            fitted=found.fitted,
            settings={"torch": torch.__version__, "model": type(model).__name__},
            notes=(
                *_divided(mode, found, told),
                *found.notes,
                *(r.sentence for r in not_applied),
                *branches.notes,
            ),
            skipped=(*found.skipped, *_lost(mode, found)),
            failure=message,
            remarks=(*found.remarks, *not_applied),
        ),
        explanations=explanations(mode.trace, found) if mode.trace is not None else (),
    )


def _divided(mode: Follow, found: chain.Chain, told: bool) -> list[str]:
    entry = next(code for code in mode.memory.codes if code.space is found.space)
    where = f"the entry {entry.path}" if entry.path else "the input"
    return [divisions.note(found.space.divisions, where, told)] if found.space.divisions else []


def _unapplied(mode: Follow, found: chain.Chain) -> tuple[Observation, ...]:
    return unapplied.observations(mode.unapplied.found, found.codes[slice(*found.run)])


def _lost(mode: Follow, found: chain.Chain) -> list[Skipped]:
    """What was not measured of the path that was: sites, paths around them, and all after its end."""
    lost = [s for space, s in mode.lost if space is found.space]
    after = [label for codes, label in mode.unseen if codes > found.last]
    if after:
        what = f"{len(after)} residual updates after the last site, first {after[0]}"
        lost.append(Skipped(what, "the path of the streams to them could not be followed"))
    return lost


def _nothing(mode: Follow, found: chain.Chain | None, name: str, call: Arguments) -> NothingToCheck:
    entries = [c for c in mode.memory.codes if c.parent is None]
    looked = [f"entry {c.path or name} ({c.kind}), {c.space.channels} channels" for c in entries]
    looked += [f"path ended in {end}, {count} times" for end, count in mode.ends.most_common(12)]
    if found is None:  # there may be sites, of another number of streams than was asked for
        sites = Counter(code.streams for code in mode.memory.codes if code.site)
        looked += [f"{count} sites with n = {n}" for n, count in sites.items()]
    skipped = (*(found.skipped if found else ()), *(s for _, s in mode.lost))
    looked += [f"not measured: {s.what}: {s.reason}" for s in skipped[:12]]
    hint = "the probe starts at an embedding or a floating-point input and follows additions of a branch"
    if not entries:
        hint = no_entry(call)
    return NothingToCheck(f"no residual mixing was measured in {name}", hint=hint, looked_at=tuple(looked))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
