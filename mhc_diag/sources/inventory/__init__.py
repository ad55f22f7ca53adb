"""What is in a file of tensors, told by names, shapes and dtypes: no numbers are read and no code is run.

    records      what an inventory holds
    patterns     names that differ by numbers only, and the square ones among them
    told         configuration, metadata and prefixes in the file's own words
    layouts      which layouts find sites, and which of them a scan takes
    tables       of a training checkpoint with several tables, each

Every text in it is printable, and it ends in the commands to type next.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mhc_diag.errors import SeveralTables
from mhc_diag.records import Skipped
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.files.located import locate
from mhc_diag.sources.files.numbers import bits
from mhc_diag.sources.files.remote import Arrived, silent
from mhc_diag.sources.files.tensors import TensorFile, open_tensors
from mhc_diag.sources.inventory import told
from mhc_diag.sources.inventory.layouts import Layouts, layouts
from mhc_diag.sources.inventory.patterns import candidates, patterns
from mhc_diag.sources.inventory.records import Dtype, Inventory, Pattern
from mhc_diag.sources.inventory.tables import several
from mhc_diag.sources.printable import printable

SHOWN_COMMANDS = 3
LONGEST_NOTE = 2000


def take(target: str | Path, *, key: str | None = None, arrived: Arrived = silent) -> Inventory:
    """The inventory of a file of tensors.

    Args:
        target: a path or an address.
        key: which table of a training checkpoint; where several could be meant and none is named, they are
            listed.
        arrived: told how many more bytes will travel from elsewhere, and how many more have.

    Raises:
        MhcDiagError: it cannot be read.

    Example:
        >>> import tempfile, safetensors.numpy, numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "tiny.safetensors"
        >>> safetensors.numpy.save_file({f"module.layers.{i}.mix": np.eye(4) for i in range(3)}, path)
        >>> inventory = take(path)
        >>> inventory.parameters, inventory.prefixes, inventory.layouts[0].sites
        (48, ('module.',), 3)
    """
    try:
        file = open_tensors(target, key=key, arrived=arrived)
    except SeveralTables as e:
        return several(e, target, locate(target).target, arrived)
    found = layouts(file, Options())
    dtypes = _dtypes(file)
    every = patterns(file)
    squares = () if found.layouts else tuple(candidates(file, every))
    return Inventory(
        target=file.target,
        format=printable(file.format),
        files=tuple(map(printable, file.files)),
        tensors=len(file.names),
        parameters=sum(d.parameters for d in dtypes),
        size=_size(dtypes),
        dtypes=dtypes,
        metadata=told.metadata(file.metadata),
        config=told.config(file.config),
        prefixes=told.prefixes(file),
        layouts=found.layouts,
        sites=found.sites,
        skipped=tuple(Skipped(printable(s.what), printable(s.reason)) for s in found.skipped),
        unused=tuple(map(printable, found.unused)),
        patterns=every,
        candidates=squares,
        notes=tuple(printable(note, LONGEST_NOTE) for note in (*file.notes, *found.notes)),
        commands=tuple(_commands(file.target, key, found, squares)),
    )


def _dtypes(file: TensorFile) -> tuple[Dtype, ...]:
    """By dtype, the one with most parameters first."""
    tensors: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for name in file.names:
        dtype = file.dtype(name)
        tensors[dtype] += 1
        parameters[dtype] += math.prod(file.shape(name))
    return tuple(Dtype(printable(d), tensors[d], count) for d, count in parameters.most_common())


def _size(dtypes: tuple[Dtype, ...]) -> int | None:
    """Bytes of all numbers; None where a dtype is of no known width."""
    widths = [bits(d.name) for d in dtypes]
    known = [w for w in widths if w is not None]
    if len(known) < len(widths):
        return None
    return sum(w * d.parameters for w, d in zip(known, dtypes, strict=True)) // 8


def _commands(target: str, key: str | None, found: Layouts, squares: tuple[Pattern, ...]) -> Iterator[str]:
    """What to type next, the likeliest first."""
    scan = f"mhc-diag scan {shlex.quote(target)}"
    live = f"{scan} --model package.module:factory"
    scan += "" if key is None else f" --key {shlex.quote(printable(key))}"
    if found.sites:
        yield scan
        for layout in found.layouts[:1]:
            if len(layout.variants) > 1:
                yield from (f"{scan} --variant {variant.name}" for variant in layout.variants)
    for pattern in squares[:SHOWN_COMMANDS]:
        yield f"{scan} --select {shlex.quote(pattern.select)}"
    if not found.sites:
        yield live
