"""Which format reads what was located.

The readers of pickles are imported only where there is one: they take longer to import than most scans.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Stored
from mhc_diag.sources.files.bytes import Bytes, Folder, LocalBytes, LocalFolder
from mhc_diag.sources.files.folders import INDEX, choose, left_out
from mhc_diag.sources.files.located import Located
from mhc_diag.sources.files.remote import at_once
from mhc_diag.sources.files.safetensors_file import SafetensorsFile
from mhc_diag.sources.files.sharded import Each, Index, Open, Sharded, read_index
from mhc_diag.sources.files.sniff import sniff

if TYPE_CHECKING:
    import torch

SHARD = re.compile(r"-\d+-of-\d+\.")
SHARD_NOTE = "one shard of several: the layers in the other files are not in the composites"


def opened(located: Located, key: str | None, unsafe_pickle: bool) -> tuple[Stored, tuple[str, ...]]:
    """The tensors of a target, and notes on what was taken for it.

    Args:
        located: the target.
        key: which table of tensors inside a training checkpoint.
        unsafe_pickle: let a file run code while it is loaded.

    Raises:
        MhcDiagError: it cannot be read, or would run code.

    Example:
        >>> import tempfile, safetensors.numpy, numpy as np
        >>> from mhc_diag.sources.files.located import locate
        >>> path = Path(tempfile.mkdtemp()) / "model-00001-of-00002.safetensors"
        >>> safetensors.numpy.save_file({"mix": np.eye(4)}, path)
        >>> opened(locate(path), None, False)[1]
        ('one shard of several: the layers in the other files are not in the composites',)
    """

    def one(file: Bytes) -> Stored:
        return _file(file, key, unsafe_pickle)

    folder = located.folder
    if located.file is None:
        return _folder(folder, one, key, unsafe_pickle)
    if located.name.endswith(INDEX):
        return _sharded(folder, read_index(located.file), one), ()
    return one(located.file), (SHARD_NOTE,) * bool(SHARD.search(located.name))


def load_module(path: Path) -> torch.nn.Module | None:
    """The live module that a file holds, or None if it holds something else; runs the code that it names.

    Raises:
        MhcDiagError: the file cannot be read.
    """
    kind = sniff(LocalBytes(path))
    if kind in {"safetensors", "program"}:
        return None
    import torch

    from mhc_diag.sources.files.torch_loaded import load

    top = load(path)
    return top if isinstance(top, torch.nn.Module) else None


def _folder(
    folder: Folder, one: Open, key: str | None, unsafe_pickle: bool
) -> tuple[Stored, tuple[str, ...]]:
    choice = choose(folder.names(), folder.name)
    if choice.kind == "distributed":
        from mhc_diag.sources.files.dcp import DcpFolder

        return DcpFolder(folder, key=key, trusted=unsafe_pickle), ()
    if choice.kind == "index":
        index = read_index(folder.open(choice.names[0]))
        shards = set(index.shards.values())
        left = [name for name in choice.left if name not in shards]
        return _sharded(folder, index, one), left_out(left, choice.names[0])
    notes = left_out(choice.left, choice.names[0])
    if len(choice.names) > 1:
        return Sharded(folder, choice.names, None, one, _each(folder)), notes
    return one(folder.open(choice.names[0])), notes


def _sharded(folder: Folder, index: Index, one: Open) -> Sharded:
    return Sharded(folder, sorted(set(index.shards.values())), index, one, _each(folder))


def _each(folder: Folder) -> Each:
    """On a disk one after the other; elsewhere several at once, as opening is mostly waiting."""
    return map if isinstance(folder, LocalFolder) else at_once


def _file(file: Bytes, key: str | None, unsafe_pickle: bool) -> Stored:
    kind = sniff(file)
    if kind == "program":
        from mhc_diag.sources.files.program_file import ProgramFile

        return ProgramFile(file, key=key)
    if kind == "safetensors":
        if key is not None:
            raise MhcDiagError(
                f"--key is given, but {file.name} is a safetensors file, which has one table of tensors only",
                hint="leave out --key",
            )
        return SafetensorsFile(file)
    return _torch(file, kind == "torch-legacy", key, unsafe_pickle)


def _torch(file: Bytes, is_legacy: bool, key: str | None, unsafe_pickle: bool) -> Stored:
    if unsafe_pickle and isinstance(file, LocalBytes):
        from mhc_diag.sources.files.torch_loaded import TorchLoaded

        return TorchLoaded(file.path, key=key)
    if is_legacy:
        from mhc_diag.sources.files.torch_legacy import TorchLegacy

        return TorchLegacy(file, key=key)
    from mhc_diag.sources.files.torch_zip import TorchZip

    return TorchZip(file, key=key)
