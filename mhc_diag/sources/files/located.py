"""What a user named: a file or a folder, on this machine or elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.addresses import ADDRESS, shown
from mhc_diag.sources.files.bytes import Bytes, Folder, LocalBytes, LocalFolder
from mhc_diag.sources.files.remote import Arrived, Patience, RemoteBytes, silent
from mhc_diag.sources.printable import printable


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Where a target is."""

    target: str
    """What the user named, printable and without credentials."""
    name: str
    """The last part of it."""
    file: Bytes | None
    """None where it is a folder."""
    folder: Folder
    """The one that it lies in, or is."""
    path: Path | None = None
    """On this machine."""


def locate(
    target: str | Path,
    arrived: Arrived = silent,
    patience: Patience | None = None,
    timeout: float | None = None,
) -> Located:
    """Find out what a target is.

    Args:
        target: a path, or an address: https, file, or what fsspec knows (hf, s3, gs).
        arrived: told how many bytes will travel and how many have.
        patience: how transient failures of a server are waited out.
        timeout: seconds of silence that a web server is granted.

    Raises:
        MhcDiagError: there is no such thing, or it is not to be had.

    Example:
        >>> import tempfile
        >>> found = locate(tempfile.mkdtemp())
        >>> found.file is None, found.folder.names()
        (True, ())
    """
    address = ADDRESS.fullmatch(target) if isinstance(target, str) else None
    if address is None:
        return _local(Path(target))
    assert isinstance(target, str)
    protocol = address[1].lower()
    if protocol == "file":
        return _local(_path(target))
    if protocol in {"http", "https"}:
        return _web(target, arrived, patience, timeout)
    return _stored(target, arrived, patience)


def _local(path: Path) -> Located:
    name = printable(Path(os.path.basename(os.path.abspath(path)) or path))
    if os.path.isdir(path):
        return Located(printable(path), name, None, LocalFolder(path), path)
    return Located(printable(path), name, LocalBytes(path), LocalFolder(path.parent), path)


def _path(address: str) -> Path:
    """The path in a file:// address."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    parts = urlsplit(address)
    if parts.netloc not in {"", "localhost"}:
        raise MhcDiagError(
            f"{printable(address)} is on another machine, {printable(parts.netloc)}",
            hint="leave the machine out for a file on this one",
        )
    return Path(url2pathname(parts.path))


def _web(url: str, arrived: Arrived, patience: Patience | None, timeout: float | None) -> Located:
    from mhc_diag.sources.files.web import TIMEOUT, WebFile, web_folder

    seconds = TIMEOUT if timeout is None else timeout
    folder, target = web_folder(url, arrived, patience, seconds), shown(url)
    name = target.rstrip("/").rpartition("/")[2]
    if target.endswith("/"):
        return Located(target, name, None, folder)
    return Located(target, name, RemoteBytes(WebFile(url, seconds), arrived, patience), folder)


def _stored(url: str, arrived: Arrived, patience: Patience | None) -> Located:
    from mhc_diag.sources.files.object_store import StoredObject, find, stored_folder

    system, path, is_folder = find(url)
    target = shown(url).rstrip("/")
    around, _, name = target.rpartition("/")
    if is_folder:
        return Located(target, name, None, stored_folder(system, path, target, arrived, patience))
    folder = stored_folder(system, path.rpartition("/")[0], around, arrived, patience)
    return Located(target, name, RemoteBytes(StoredObject(system, path, target), arrived, patience), folder)
