"""Run a model's own forward pass with the streams marked, and leave nothing behind."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.records import MixingStack, Provenance, Skipped
from mhc_diag.sources.inputs import Arguments, as_call
from mhc_diag.sources.probe import chain, divisions
from mhc_diag.sources.probe.branch_rows import branch_rows
from mhc_diag.sources.probe.explain import explanations
from mhc_diag.sources.probe.follow import Follow, shares_memory
from mhc_diag.sources.probe.memory import Entry
from mhc_diag.sources.probe.named_layout import NamedLayout
from mhc_diag.sources.probe.padding import without_padding
from mhc_diag.sources.probe.trace import Trace

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
        MhcDiagError: nothing has the given layout, or the model raised an exception before any site was
            measured.
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
    call = as_call(example)

    run = functools.partial(_run, model, call, streams, explain)
    if layout is not None:
        best = divisions.told(run, NamedLayout.parse(layout, streams))
    else:
        best = divisions.search(run, streams=streams)
    own = type(model).__name__
    stack = _stack(best, model, layout is not None, name or own, target or own)
    return without_padding(stack, model, call)


def _run(
    model: nn.Module, call: Arguments, streams: int | None, explain: bool, entry: Entry
) -> divisions.Attempt:
    args, kwargs = tree_map_only(Tensor, lambda t: t.detach().clone(), call)
    mode = Follow(entry, Trace() if explain else None)
    failure: Exception | None = None
    with _undisturbed(model), _paths(model, mode), torch.no_grad():
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim > 1:
                mode.memory.enter(tensor, "", "input")
        try:
            with mode:
                model(*args, **kwargs)
        except Exception as e:
            failure = e
    return divisions.Attempt(mode, chain.longest(mode.memory.codes, streams), failure)


def _stack(attempt: divisions.Attempt, model: nn.Module, told: bool, name: str, target: str) -> MixingStack:
    mode, found, failure = attempt.mode, attempt.found, attempt.failure
    message = "" if failure is None else f"{type(failure).__name__}: {_one_line(failure)}"
    if found is None or not found.sites:
        if failure is not None:
            raise MhcDiagError(
                f"{name} raised {message}",
                hint="check that the input has the shape and dtype the model expects",
            ) from failure
        raise _nothing(mode, found, name)
    branches = branch_rows(mode.branches.found, found)
    return MixingStack(
        name=name,
        matrices=found.matrices,
        pre=branches.pre,
        post=branches.post,
        reads_from=branches.reads_from,
        sites=found.sites,
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
            notes=(*_divided(mode, found, told), *found.notes, *branches.notes),
            skipped=(*found.skipped, *_lost(mode, found)),
            failure=message,
        ),
        explanations=explanations(mode.trace, found) if mode.trace is not None else (),
    )


def _divided(mode: Follow, found: chain.Chain, told: bool) -> list[str]:
    entry = next(code for code in mode.memory.codes if code.space is found.space)
    where = f"the entry {entry.path}" if entry.path else "the input"
    return [divisions.note(found.space.divisions, where, told)] if found.space.divisions else []


def _lost(mode: Follow, found: chain.Chain) -> list[Skipped]:
    """What was not measured of the path that was: sites, paths around them, and all after its end."""
    lost = [s for space, s in mode.lost if space is found.space]
    after = [label for codes, label in mode.unseen if codes > found.last]
    if after:
        what = f"{len(after)} residual updates after the last site, first {after[0]}"
        lost.append(Skipped(what, "the path of the streams to them could not be followed"))
    return lost


def _nothing(mode: Follow, found: chain.Chain | None, name: str) -> NothingToCheck:
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
        hint = "the model was given no floating-point input and looked nothing up in an embedding"
    return NothingToCheck(f"no residual mixing was measured in {name}", hint=hint, looked_at=tuple(looked))


@contextlib.contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for all modules, and the state of training flags and random numbers as it was."""
    training = {module: module.training for module in model.modules()}
    stance = contextlib.nullcontext()
    if "torch._dynamo" in sys.modules:
        stance = torch.compiler.set_stance("force_eager")
    with torch.random.fork_rng(), stance:
        try:
            model.eval()
            yield
        finally:
            for module, flag in training.items():
                module.training = flag


@contextlib.contextmanager
def _paths(model: nn.Module, mode: Follow) -> Iterator[None]:
    """Keep `mode.modules` at the path of the modules that are running, and note what comes out of each."""
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue

        def enter(_module: nn.Module, _args: Any, path: str = path) -> None:
            mode.modules.append(path)

        def leave(_module: nn.Module, args: Any, out: Any, path: str = path) -> None:
            mode.modules.pop()
            given = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
            for tensor in tree_leaves(out):
                fresh = isinstance(tensor, Tensor) and not shares_memory(tensor, given)
                if fresh and mode.memory.depends(tensor):
                    mode.lineage.produced(tensor, path)
                    mode.branches.came_out(tensor)

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
