"""A checkpoint read as mixing stacks, without the model's code.

Each layout of `families` is shown the names and shapes in the file; the first that recognises some builds the
matrices, and only the tensors that it names are read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack, Provenance, Site, Skipped
from mhc_diag.sources.checkpoint.gathered import Gathered, gather
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.checkpoint.recognised import Recognised, recognise
from mhc_diag.sources.files.tensors import TensorFile, open_tensors
from mhc_diag.sources.printable import printable
from mhc_diag.sources.readings import Reading
from mhc_diag.sources.readings.zero import Zero


def scan_checkpoint(
    path: Path, options: Options | None = None, *, unsafe_pickle: bool = False
) -> MixingStack:
    """The mixing matrices in a file of tensors.

    Args:
        path: a file written by torch.save or safetensors.
        options: how to read it.
        unsafe_pickle: let the file run code while it is loaded.

    Returns:
        Matrices (L, T, n, n) float64, labelled as read from tensors; T = 1 unless inputs are asked for.

    Raises:
        MhcDiagError: the file cannot be read, or the code that reads its tensors is not known.
        NothingToCheck: no layout recognises any of its tensors.

    Example:
        >>> import tempfile, safetensors.numpy
        >>> path = Path(tempfile.mkdtemp()) / "tiny.safetensors"
        >>> safetensors.numpy.save_file({f"layers.{i}.mixing": np.eye(4) for i in range(3)}, path)
        >>> stack = scan_checkpoint(path)
        >>> stack.matrices.shape, stack.sites[2].label
        ((3, 1, 4, 4), 'layers.2.mixing')
    """
    options = options or Options()
    options = replace(options, unsafe_pickle=options.unsafe_pickle or unsafe_pickle)
    stacks = scan_variants(path, options)
    if len(stacks) > 1:
        names = ", ".join(str(stack.provenance.settings["variant"]) for stack in stacks)
        raise MhcDiagError(
            f"{printable(path)} is read in different ways by different codes: {names}",
            hint="say which with Options(variant=...), or call scan_variants",
        )
    return stacks[0]


def scan_variants(path: Path, options: Options) -> list[MixingStack]:
    """One stack for each code that may have written a checkpoint, mostly one.

    Raises:
        MhcDiagError: the file cannot be read, or an option does not fit it.
        NothingToCheck: no layout recognises any of its tensors.
    """
    file = open_tensors(path, unsafe_pickle=options.unsafe_pickle)
    found = recognise(file, options)
    reading: Reading = Zero()
    gathered = gather(file, found.sites, found.family, reading, lambda name, numbers: None)
    return [_stack(file, found, variant, gathered, reading) for variant in found.variants]


def _stack(
    file: TensorFile, found: Recognised, name: str, gathered: Gathered, reading: Reading
) -> MixingStack:
    family, variant = found.family, found.family.VARIANTS[name]
    settings = family.settings(file.config, name)
    with np.errstate(all="ignore"):  # damaged numbers stay visible as NaN in the report
        mixing = family.build(found.sites, gathered.tensors, gathered.values, name, settings)
    several = {"variant": name} if len(family.VARIANTS) > 1 else {}
    dynamic = f", {reading.how}" if gathered.values is not None else ""
    return MixingStack(
        name=printable(Path(file.path.name)) + (f", {name}" if len(found.variants) > 1 else ""),
        matrices=mixing.matrices,
        sites=tuple(Site(printable(s.path), printable(s.kind), d) for d, s in enumerate(found.sites)),
        provenance=Provenance(
            target=printable(file.path),
            method="static",
            how=variant.how + dynamic,
            orientation=variant.orientation,
            token_axis="none",
            settings={"layout": found.name, **several, **settings.values},
            notes=settings.notes + found.notes,
            skipped=tuple(Skipped(printable(s.what), printable(s.reason)) for s in found.skipped),
        ),
        pre=mixing.pre,
        post=mixing.post,
        logits=mixing.logits,
    )
