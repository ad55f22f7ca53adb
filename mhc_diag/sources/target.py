"""From what the user named to stacks: a live model where one can be run, else its parameters."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.records import MixingStack, Skipped
from mhc_diag.sources import placed
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.files.addresses import named
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.folders import INDEX
from mhc_diag.sources.files.remote import Arrived, silent
from mhc_diag.sources.files.sniff import sniff
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    from torch import nn

    from mhc_diag.sources.inputs import Arguments


@dataclass(frozen=True, slots=True)
class Request:
    """What to scan, and with which input."""

    target: str
    model: str | None = None
    input: Path | None = None
    tokens: int = 64
    batch: int = 2
    seed: int = 0
    allow_code: bool = False
    streams: int | None = None
    layout: str | None = None
    explain: bool = False
    device: str | None = None
    """Where a live model runs: `cuda:1`, or `auto`; where it is if None."""
    dtype: str | None = None
    """What its weights are converted to: fp64, fp32, bf16 or fp16; nothing if None."""
    static: bool = False
    """Read parameters even where a model could be run."""
    checkpoint: Options = field(default_factory=Options)
    """How parameters are read where no model is run."""

    def __post_init__(self) -> None:
        for name in ("tokens", "batch"):
            if getattr(self, name) < 1:
                raise MhcDiagError(f"--{name} is {getattr(self, name)}", hint="give 1 or more")
        if self.streams is not None and not 1 <= self.streams <= 64:
            raise MhcDiagError(f"--streams is {self.streams}", hint="give a number from 1 to 64")
        if not 0 <= self.seed < 2**63:
            raise MhcDiagError(f"--seed is {self.seed}", hint="give a seed from 0 to 2**63 - 1")
        if self.static and (flag := self._live_flag()):
            raise MhcDiagError(
                f"{flag} is given, but --static says that no model is run", hint="leave out one of them"
            )
        if self._live_flag() and (flag := self.checkpoint.flag):
            raise MhcDiagError(
                f"{flag} says how to read parameters, but {self._live_flag()} asks for a live model",
                hint="leave out one of them",
            )
        if self.device is not None:
            placed.checked_device(self.device)
        if self.dtype is not None:
            placed.dtype(self.dtype)

    def _live_flag(self) -> str:
        """An option that only makes sense where a model is run, if one is given."""
        given = {
            "--model": self.model,
            "--input": self.input,
            "--device": self.device,
            "--dtype": self.dtype,
            "--allow-code": self.allow_code,
        }
        return next((flag for flag, value in given.items() if value), "")


def scan(request: Request, arrived: Arrived = silent) -> list[MixingStack]:
    """Measure or read what a target holds.

    A factory, an exported program that may be run, and anything with `model` are measured live, and so is a
    model folder that transformers can build in memory. Everything else is read for its mixing parameters:
    one stack, or one for each code that may have written them.

    Args:
        request: what to scan.
        arrived: told how many more bytes will travel from elsewhere, and how many more have.

    Raises:
        MhcDiagError: the target, the code or the input is at fault.
        NothingToCheck: the target holds no mixing.
    """
    from mhc_diag.sources import factory

    target = request.target
    if not os.path.exists(target) and factory.is_spec(target):
        return [_factory(request)]
    if request.model is not None:
        made = factory.make(request.model, seed=request.seed)
        _load(made.module, request, arrived)
        return [_measure(made.module, made.example, request)]
    live = None if request.static or request.checkpoint.flag else _live(request)
    if isinstance(live, MixingStack):
        return [live]
    asked = {"--input": request.input, "--device": request.device, "--dtype": request.dtype}
    for flag in (flag for flag, value in asked.items() if value is not None):
        why = f": {live}" if isinstance(live, str) else ""
        raise MhcDiagError(
            f"{flag} is given, but {named(target)} alone is read without running a model{why}",
            hint="give the code too, with --model package.module:factory",
        )
    return _read(request, live, arrived)


def _factory(request: Request) -> MixingStack:
    from mhc_diag.sources import factory

    keyed = "--key" if request.checkpoint.key else ""
    if flag := "--static" if request.static else request.checkpoint.flag or keyed:
        raise MhcDiagError(
            f"{flag} says how to read parameters, but {request.target} is a live model",
            hint=f"leave out {flag}, or name a checkpoint",
        )
    if request.model is not None:
        raise MhcDiagError(
            f"--model is given although the target {request.target} is a factory itself",
            hint="give --model together with a file of tensors",
        )
    made = factory.make(request.target, seed=request.seed)
    return _measure(made.module, made.example, request)


def _live(request: Request) -> MixingStack | str | None:
    """The model in a target measured, or why it cannot be run, or None where it is no model."""
    path = Path(request.target)
    if path.is_dir() and (path / "config.json").exists():
        from mhc_diag.sources import pretrained

        spread = request.device == placed.AUTO
        if reason := pretrained.unbuildable(path, spread=spread):
            return reason
        with tempfile.TemporaryDirectory(prefix="mhc-diag-") as spill:
            loaded = pretrained.load(path, dtype=request.dtype, spill=Path(spill) if spread else None)
            return _measure(loaded[0], None, request, *loaded[1:], converted=True)
    if not path.is_file() or path.name.endswith(INDEX):
        return None
    if sniff(LocalBytes(path)) == "program":
        return _program(path, request) if request.allow_code else "--allow-code, which runs it, is not given"
    if request.checkpoint.unsafe_pickle:
        from mhc_diag.sources import factory
        from mhc_diag.sources.files import tensors

        factory.search_here()  # for the classes that the file names
        pickled = tensors.load_pickled_module(path)
        if pickled is not None:
            return _measure(pickled, None, request)
    return None


def _read(request: Request, why_not_live: str | None, arrived: Arrived) -> list[MixingStack]:
    """The mixing parameters of a checkpoint."""
    from mhc_diag.sources.checkpoint import scan_variants

    try:
        stacks = scan_variants(request.target, replace(request.checkpoint, seed=request.seed), arrived)
    except NothingToCheck as e:
        if why_not_live is None:
            raise
        raise NothingToCheck(
            f"{e.message}, and no model can be run: {why_not_live}", hint=e.hint, looked_at=e.looked_at
        ) from e
    if why_not_live is None:
        return stacks
    note = f"parameters were read, and no model was run: {why_not_live}"
    return [replace(s, provenance=replace(s.provenance, notes=(note, *s.provenance.notes))) for s in stacks]


def _program(path: Path, request: Request) -> MixingStack:
    from mhc_diag.sources import program

    module, example = program.load(path)
    if example is None and request.input is None:
        raise MhcDiagError(
            f"{printable(path)} carries no example input",
            hint="give --input FILE, with the shapes that the program was exported for",
        )
    return _measure(module, example, request, origin="the program's own example")


def _load(module: nn.Module, request: Request, arrived: Arrived) -> None:
    from mhc_diag.sources.files import tensors

    own, how = module.state_dict(), request.checkpoint
    stored = tensors.state_dict(
        request.target, expected=own, key=how.key, unsafe_pickle=how.unsafe_pickle, arrived=arrived
    )
    try:
        module.load_state_dict(stored, strict=True)
    except RuntimeError as e:
        lacking = sorted(own.keys() - stored.keys())
        foreign = sorted(stored.keys() - own.keys())
        shapes = [
            f"{k} is {tuple(stored[k].shape)}, the model's {tuple(own[k].shape)}"
            for k in own
            if k in stored and own[k].shape != stored[k].shape
        ]
        found = [f"{len(lacking)} tensors missing, first {lacking[0]}"] if lacking else []
        found += [f"{len(foreign)} unknown to the model, first {foreign[0]}"] if foreign else []
        what = "; ".join([*found, *shapes[:1]]) or str(e)
        raise MhcDiagError(
            f"{named(request.target)} does not fit {request.model}: {printable(what)}",
            hint="give the factory of the model that the file was saved from",
        ) from e


def _measure(
    module: nn.Module,
    example: Arguments | None,
    request: Request,
    notes: tuple[str, ...] = (),
    skipped: tuple[Skipped, ...] = (),
    origin: str = "the factory's example",
    converted: bool = False,
) -> MixingStack:
    from mhc_diag.sources import inputs
    from mhc_diag.sources.checkpoint.promised import of_module
    from mhc_diag.sources.exposed.capture import capture
    from mhc_diag.sources.exposed.findings import told
    from mhc_diag.sources.probe import probe

    settings: dict[str, str | int | float] = {}
    if request.input is not None:
        arguments = inputs.from_file(request.input)
        settings["input"] = printable(request.input)
    elif example is not None:
        arguments = example
        settings["input"] = origin
    else:
        drawn, vocabulary = inputs.random_tokens(
            module, tokens=request.tokens, batch=request.batch, seed=request.seed
        )
        arguments = ((drawn,), {})
        settings |= {"input": "random tokens", "seed": request.seed, "vocabulary": vocabulary}
    module, arguments = placed.place(
        module, arguments, request.device, None if converted else request.dtype, spread=converted
    )
    settings |= {k: v for k, v in (("device", request.device), ("dtype", request.dtype)) if v is not None}
    with capture(module) as seen:
        stack = probe(
            module,
            arguments,
            name=printable(Path(named(request.target)).name),
            target=named(request.target),
            streams=request.streams,
            layout=request.layout,
            explain=request.explain,
        )
    stack = told(stack, seen)
    provenance = stack.provenance
    return replace(
        stack,
        provenance=replace(
            provenance,
            settings={**provenance.settings, **settings},
            notes=(*notes, *provenance.notes),
            skipped=(*skipped, *provenance.skipped),
            promise=of_module(module, stack.streams),
        ),
    )
