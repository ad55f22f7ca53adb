"""A checkpoint read as mixing stacks, without the model's code.

Each layout of `families` is shown the names and shapes in the file; the first that recognises some builds the
matrices, and only the tensors that it names are read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Caps, MixingStack, Provenance, Site, Skipped
from mhc_diag.sources.checkpoint.audit import audit
from mhc_diag.sources.checkpoint.audit.seen import Seen
from mhc_diag.sources.checkpoint.gathered import Gathered, gather
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.checkpoint.promised import promise_of
from mhc_diag.sources.checkpoint.recognised import Recognised, recognise
from mhc_diag.sources.families import Dynamic, Settings
from mhc_diag.sources.files.remote import Arrived, silent
from mhc_diag.sources.files.tensors import TensorFile, open_tensors
from mhc_diag.sources.printable import printable
from mhc_diag.sources.readings import Reading
from mhc_diag.sources.readings.zero import Zero

if TYPE_CHECKING:
    from mhc_diag.sources.readings.sampled import Sampled

AXES: dict[str, Literal["token", "sample", "none"]] = {
    "static": "none",
    "sampled": "sample",
    "activations": "token",
}
MOST_NUMBERS = 1 << 28
"""Numbers of all sampled matrices together: 2 GB of them."""


def scan_checkpoint(
    path: str | Path, options: Options | None = None, *, unsafe_pickle: bool = False
) -> MixingStack:
    """The mixing matrices in a file of tensors.

    Args:
        path: a file of tensors, an index of shards or a folder; a path or an address.
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
            f"{stacks[0].provenance.target} is read in different ways by different codes: {names}",
            hint="say which with Options(variant=...), or call scan_variants",
        )
    return stacks[0]


def scan_variants(path: str | Path, options: Options, arrived: Arrived = silent) -> list[MixingStack]:
    """One stack for each code that may have written a checkpoint, mostly one.

    Args:
        path: a file of tensors, an index of shards or a folder; a path or an address.
        options: how to read it.
        arrived: told how many more bytes will travel from elsewhere, and how many more have.

    Raises:
        MhcDiagError: the file cannot be read, or an option does not fit it.
        NothingToCheck: no layout recognises any of its tensors.
    """
    file = open_tensors(path, key=options.key, unsafe_pickle=options.unsafe_pickle, arrived=arrived)
    found = recognise(file, options)
    reading = _reading(options, found)
    seen = Seen()
    gathered = gather(file, found.sites, found.family, reading, seen.look)
    return [_stack(file, found, variant, gathered, reading, seen) for variant in found.variants]


def _reading(options: Options, found: Recognised) -> Reading:
    """At which streams dynamic sites are evaluated.

    Raises:
        MhcDiagError: streams are given, and no site reads any; or more are asked for than fit.
    """
    if not options.samples and options.activations is None:
        return Zero()
    flag = "--samples" if options.samples else "--activations"
    if not any(site.reads for site in found.sites):
        raise MhcDiagError(
            f"{flag} is given, but no mixing of {found.family.TITLE} depends on the streams here",
            hint=f"leave out {flag}: the static matrices are all there is",
        )
    if options.activations is not None:
        from mhc_diag.sources.readings import activations

        return activations.load(options.activations)
    numbers = options.samples * len(found.sites) * found.sites[0].streams ** 2
    if numbers > MOST_NUMBERS:
        raise MhcDiagError(
            f"--samples {options.samples} of {len(found.sites)} sites are {numbers:,} numbers, "
            f"at most {MOST_NUMBERS:,} fit",
            hint=f"ask for {options.samples * MOST_NUMBERS // numbers} samples or fewer",
        )
    from mhc_diag.sources.readings.sampled import Sampled

    return Sampled(options.samples, options.correlation, options.seed)


def _stack(
    file: TensorFile, found: Recognised, name: str, gathered: Gathered, reading: Reading, seen: Seen
) -> MixingStack:
    family, variant = found.family, found.family.VARIANTS[name]
    settings = family.settings(file.config, name)
    values = None if isinstance(reading, Zero) else gathered.values
    with np.errstate(all="ignore"):  # damaged numbers stay visible as NaN in the report
        mixing = family.build(found.sites, gathered.tensors, values, name, settings)
        caps = _caps(found, name, gathered, settings)
    depends = mixing.matrices.shape[1] > 1 or not isinstance(reading, Zero)
    return MixingStack(
        name=file.name + (f", {name}" if len(found.variants) > 1 else ""),
        matrices=mixing.matrices,
        sites=tuple(Site(printable(s.path), printable(s.kind), d) for d, s in enumerate(found.sites)),
        provenance=Provenance(
            target=file.target,
            method=reading.name,
            how=variant.how + (f"; {reading.how}" if gathered.values is not None else ""),
            orientation=variant.orientation,
            token_axis=AXES[reading.name] if depends else "none",
            token_shape=mixing.matrices.shape[1:2] if depends else (),
            settings={"layout": found.name, **_chosen(found, name, reading), **settings.values},
            notes=settings.notes + file.notes,
            skipped=tuple(Skipped(printable(s.what), printable(s.reason)) for s in found.skipped),
            audit=audit(file, found, name, settings, gathered.tensors, seen),
            promise=promise_of(found.name, family, name, settings, found.sites),
        ),
        pre=mixing.pre,
        post=mixing.post,
        logits=mixing.logits,
        caps=caps,
    )


def _chosen(found: Recognised, variant: str, reading: Reading) -> dict[str, str | int | float]:
    """What else is needed to repeat the reading."""
    chosen: dict[str, str | int | float] = {"variant": variant} if len(found.family.VARIANTS) > 1 else {}
    if reading.name == "sampled":
        drawn = cast("Sampled", reading)
        chosen |= {"samples": drawn.tokens, "correlation": drawn.correlation, "seed": drawn.seed}
    return chosen


def _caps(found: Recognised, variant: str, gathered: Gathered, settings: Settings) -> Caps | None:
    """What no input can exceed, where the layout knows and the sites depend on their input."""
    if gathered.reach is None:
        return None
    family = cast(Dynamic, found.family)
    return family.caps(found.sites, gathered.tensors, gathered.reach, variant, settings)
