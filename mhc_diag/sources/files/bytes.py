"""Ranges of a file, and folders of files, on disk.

A format reads what it needs by ranges and never sees a path; `remote` offers the same for files elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.printable import printable


class Bytes(Protocol):
    """A file of known size that can be read in ranges."""

    name: str
    """What to call it in a message: printable."""
    size: int

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes of each range (start, stop), in the order given; shorter where the file ends.

        Where a request costs much, ranges that lie close together are fetched with one.
        """


class Folder(Protocol):
    """Files beside each other."""

    name: str
    """What to call it in a message: printable."""

    def names(self) -> tuple[str, ...]:
        """Names of the files in it, sorted."""

    def open(self, name: str) -> Bytes:
        """One of its files; nothing outside it can be named."""


class LocalBytes:
    """A file on disk.

    Raises:
        MhcDiagError: there is no such file, or it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x"
        >>> _ = path.write_bytes(b"0123456789")
        >>> file = LocalBytes(path)
        >>> file.size, list(file.read([(0, 2), (8, 12)]))
        (10, [b'01', b'89'])
    """

    def __init__(self, path: Path) -> None:
        self.name, self.path = printable(path), path
        try:
            self.size = os.stat(path).st_size
        except OSError as e:
            raise _unreadable(self.name, e) from e

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes of each range."""
        try:
            with self.path.open("rb", buffering=0) as stream:
                for start, stop in ranges:
                    stream.seek(start)
                    yield _whole(stream, min(stop, self.size) - start)
        except OSError as e:
            raise _unreadable(self.name, e) from e


class LocalFolder:
    """A folder on disk.

    A name in an index file may come from a stranger, so it must be the name of a file in this very folder;
    that file may be a link, as in the cache of the Hugging Face hub.

    Example:
        >>> import tempfile
        >>> folder = LocalFolder(Path(tempfile.mkdtemp()))
        >>> folder.names()
        ()
    """

    def __init__(self, path: Path) -> None:
        self.name, self.path = printable(path), path

    def names(self) -> tuple[str, ...]:
        """Names of the files in it, sorted."""
        try:
            return tuple(sorted(entry.name for entry in os.scandir(self.path) if entry.is_file()))
        except OSError as e:
            raise _unreadable(self.name, e) from e

    def open(self, name: str) -> LocalBytes:
        """One of its files.

        Raises:
            MhcDiagError: the name leads out of the folder, or there is no such file.
        """
        if not is_plain(name):
            raise MhcDiagError(
                f"{self.name} names a file outside itself: {printable(name)}",
                hint="do not trust this checkpoint; ask for one written by the usual tools",
            )
        return LocalBytes(self.path / name)


def is_plain(name: str) -> bool:
    r"""Whether a name is that of a file in a folder, and leads nowhere else.

    Example:
        >>> is_plain("model-00001-of-00002.safetensors"), is_plain("../x"), is_plain("C:\\x"), is_plain("")
        (True, False, False, False)
    """
    return name not in {"", ".", ".."} and not any(c in name for c in "/\\:\0")


def _whole(stream: object, length: int) -> bytes:
    """All of a range: an unbuffered read may stop half-way."""
    parts = []
    while length > 0 and (part := stream.read(length)):  # type: ignore[attr-defined]
        parts.append(part)
        length -= len(part)
    return b"".join(parts) if len(parts) != 1 else parts[0]


def _unreadable(name: str, error: OSError) -> MhcDiagError:
    if isinstance(error, FileNotFoundError):
        return MhcDiagError(f"{name} does not exist", hint="check the path")
    return MhcDiagError(f"{name} cannot be read: {error.strerror}", hint="check the path and its permissions")
