"""Ranges of a file, and folders of files, on disk.

A format reads what it needs by ranges and never sees a path; `remote` offers the same for files elsewhere.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.printable import printable

TAIL = 1 << 16
"""Bytes that a parser gets at once: most look at the end of a file, piece by piece."""


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

    def find(self, name: str) -> Bytes | None:
        """The same, or None where there is no such file."""


class LocalBytes:
    """A file on disk.

    Raises:
        MhcDiagError: there is no such file, it is no regular file, or it cannot be read.

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
            status = os.stat(path)
        except OSError as e:
            raise _unreadable(self.name, e) from e
        if stat.S_ISDIR(status.st_mode):
            raise MhcDiagError(f"{self.name} is a folder, expected a file", hint="name one file inside it")
        if not stat.S_ISREG(status.st_mode):
            raise MhcDiagError(f"{self.name} is not a regular file", hint="name a file on disk")
        self.size = status.st_size

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
            with os.scandir(self.path) as entries:
                return tuple(sorted(entry.name for entry in entries if _is_file(entry)))
        except OSError as e:
            raise _unreadable(self.name, e) from e

    def open(self, name: str) -> LocalBytes:
        """One of its files.

        Raises:
            MhcDiagError: the name leads out of the folder, or there is no such file.
        """
        check_plain(self.name, name)
        return LocalBytes(self.path / name)

    def find(self, name: str) -> LocalBytes | None:
        """The same, or None where there is no such file."""
        check_plain(self.name, name)
        return LocalBytes(self.path / name) if os.path.isfile(self.path / name) else None


class BytesStream(io.RawIOBase):
    """A file to be read and sought in, for parsers that know no ranges.

    Args:
        file: what to read.
        most: bytes that one read may ask for: a parser believes the file about how much there is.

    Example:
        >>> import tempfile, zipfile
        >>> path = Path(tempfile.mkdtemp()) / "x.zip"
        >>> with zipfile.ZipFile(path, "w") as archive:
        ...     archive.writestr("a", "b")
        >>> zipfile.ZipFile(BytesStream(LocalBytes(path))).namelist()
        ['a']
    """

    def __init__(self, file: Bytes, most: int = 32 << 20) -> None:
        self._file, self._most, self._at = file, most, 0
        self._kept, self._kept_from = b"", 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place counted from the start, from here or from the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise ValueError(f"a place {-base - offset} bytes before the start")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """That many bytes, or all that are left; fewer where the file ends.

        Raises:
            ValueError: that would be too many.
        """
        left = max(0, self._file.size - self._at)
        length = left if size is None or size < 0 else min(size, left)
        if length > self._most:
            raise ValueError(f"{length} bytes at once, expected at most {self._most}")
        start = self._at
        if not self._kept_from <= start <= start + length <= self._kept_from + len(self._kept):
            self._kept_from = max(0, min(start, self._file.size - TAIL))
            self._kept = next(
                self._file.read([(self._kept_from, max(start + length, self._kept_from + TAIL))])
            )
        content = self._kept[start - self._kept_from : start - self._kept_from + length]
        self._at += len(content)
        return content


def check_plain(folder: str, name: str) -> None:
    """Let only names of files in the very folder pass.

    Raises:
        MhcDiagError: the name leads elsewhere.
    """
    if not is_plain(name):
        raise MhcDiagError(
            f"{folder} names a file outside itself: {printable(name)}",
            hint="do not trust this checkpoint; ask for one written by the usual tools",
        )


def is_plain(name: str) -> bool:
    r"""Whether a name is that of a file in a folder, and leads nowhere else.

    Example:
        >>> is_plain("model-00001-of-00002.safetensors"), is_plain("../x"), is_plain("C:\\x"), is_plain("")
        (True, False, False, False)
    """
    return name not in {"", ".", ".."} and not any(c in name for c in "/\\:\0")


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:  # a link that leads back to itself
        return False


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
