"""config.json, where a model's code keeps what its tensors do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bounded_json import LONGEST, parsed
from mhc_diag.sources.files.bytes import Bytes, Folder
from mhc_diag.sources.files.remote import Denied, RemoteBytes
from mhc_diag.sources.files.sniff import START, is_markup
from mhc_diag.sources.printable import printable


def configuration(folder: Folder, beside: str) -> Mapping[str, Any] | None:
    """What config.json in a folder says, or None where there is none.

    A web server may answer with a page of its own, or refuse, where there is no such file.

    Args:
        folder: where to look.
        beside: what it lies beside, for messages.

    Raises:
        MhcDiagError: there is one, and it is damaged.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhc_diag.sources.files.bytes import LocalFolder
        >>> path = Path(tempfile.mkdtemp())
        >>> _ = (path / "config.json").write_text('{"hc_eps": 1e-6}')
        >>> configuration(LocalFolder(path), "model.pt")
        {'hc_eps': 1e-06}
    """
    try:
        file = folder.find("config.json")
    except Denied:
        return None
    if file is None or (isinstance(file, RemoteBytes) and is_markup(next(file.read([(0, START)])))):
        return None
    said = _said(file, beside)
    return said if isinstance(said, Mapping) else None


def _said(file: Bytes, beside: str) -> Any:
    try:
        if file.size > LONGEST:
            raise ValueError(f"{file.size} bytes, expected at most {LONGEST}")
        return parsed(next(file.read([(0, file.size)])))
    except ValueError as e:
        raise MhcDiagError(
            f"{file.name}, the configuration beside {beside}, cannot be read: {printable(e)}",
            hint="repair it, or move the checkpoint to a folder of its own",
        ) from e
