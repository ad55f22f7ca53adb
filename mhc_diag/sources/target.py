"""From what the user named to a stack: a factory, a folder, a program, or a file with or without its code."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack, Skipped
from mhc_diag.sources.files.bytes import LocalBytes
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
    unsafe_pickle: bool = False
    allow_code: bool = False
    streams: int | None = None
    layout: str | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        for name in ("tokens", "batch"):
            if getattr(self, name) < 1:
                raise MhcDiagError(f"--{name} is {getattr(self, name)}", hint="give 1 or more")
        if self.streams is not None and not 1 <= self.streams <= 64:
            raise MhcDiagError(f"--streams is {self.streams}", hint="give a number from 1 to 64")
        if not 0 <= self.seed < 2**63:
            raise MhcDiagError(f"--seed is {self.seed}", hint="give a seed from 0 to 2**63 - 1")


def scan(request: Request) -> MixingStack:
    """Measure or read what a target holds.

    A factory, a model folder, an exported program and a file with `model` are measured live; a file of
    tensors alone is read for the static part of its mixing.

    Raises:
        MhcDiagError: the target, the code or the input is at fault.
        NothingToCheck: the target holds no mixing.
    """
    from mhc_diag.sources import factory

    path = Path(request.target)
    if not os.path.exists(path) and factory.is_spec(request.target):
        if request.model is not None:
            raise MhcDiagError(
                f"--model is given although the target {request.target} is a factory itself",
                hint="give --model together with a file of tensors",
            )
        made = factory.make(request.target, seed=request.seed)
        return _measure(made.module, made.example, request)
    if os.path.isdir(path) and request.model is None:
        from mhc_diag.sources import pretrained

        module, notes, skipped = pretrained.load(path)
        return _measure(module, None, request, notes, skipped)
    if request.model is not None:
        made = factory.make(request.model, seed=request.seed)
        _load(made.module, path, request)
        return _measure(made.module, made.example, request)
    return _file(path, request)


def _file(path: Path, request: Request) -> MixingStack:
    from mhc_diag.sources import checkpoint, factory
    from mhc_diag.sources.files import tensors

    if sniff(LocalBytes(path)) == "program":
        return _program(path, request)
    module = None
    if request.unsafe_pickle:
        factory.search_here()  # for the classes that the file names
        module = tensors.load_pickled_module(path)
    if module is not None:
        return _measure(module, None, request)
    if request.input is not None:
        raise MhcDiagError(
            f"--input is given, but {printable(path)} alone is read without running a model",
            hint="give the code too, with --model package.module:factory",
        )
    return checkpoint.scan_checkpoint(path, unsafe_pickle=request.unsafe_pickle)


def _program(path: Path, request: Request) -> MixingStack:
    from mhc_diag.sources import program

    if not request.allow_code:
        raise MhcDiagError(
            f"{printable(path)} is an exported program, which has to be run to be measured",
            hint="if you trust it, give --allow-code",
        )
    module, example = program.load(path)
    if example is None and request.input is None:
        raise MhcDiagError(
            f"{printable(path)} carries no example input",
            hint="give --input FILE, with the shapes that the program was exported for",
        )
    return _measure(module, example, request, origin="the program's own example")


def _load(module: nn.Module, path: Path, request: Request) -> None:
    from mhc_diag.sources.files import tensors

    own = module.state_dict()
    stored = tensors.state_dict(path, expected=own, unsafe_pickle=request.unsafe_pickle)
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
            f"{printable(path)} does not fit {request.model}: {printable(what)}",
            hint="give the factory of the model that the file was saved from",
        ) from e


def _measure(
    module: nn.Module,
    example: Arguments | None,
    request: Request,
    notes: tuple[str, ...] = (),
    skipped: tuple[Skipped, ...] = (),
    origin: str = "the factory's example",
) -> MixingStack:
    from mhc_diag.sources import inputs
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
    name = Path(request.target).name if os.path.exists(request.target) else request.target
    with capture(module) as seen:
        stack = probe(
            module,
            arguments,
            name=printable(name),
            target=printable(request.target),
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
        ),
    )
