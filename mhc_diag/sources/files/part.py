"""A range of a file, read as a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mhc_diag.sources.files.bytes import Bytes


class Part:
    """The bytes from `start` to `stop` of a file; nothing outside them can be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhc_diag.sources.files.bytes import LocalBytes
        >>> path = Path(tempfile.mkdtemp()) / "x"
        >>> _ = path.write_bytes(b"0123456789")
        >>> part = Part(LocalBytes(path), 3, 7)
        >>> part.size, list(part.read([(0, 2), (2, 100), (8, 9)]))
        (4, [b'34', b'56', b''])
    """

    def __init__(self, file: Bytes, start: int, stop: int, name: str = "") -> None:
        self.name = name or file.name
        self._file = file
        self._start = min(max(start, 0), file.size)
        self.size = min(max(stop, self._start), file.size) - self._start

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes of each range."""
        inside = [(min(max(a, 0), self.size), min(max(b, 0), self.size)) for a, b in ranges]
        return self._file.read([(self._start + a, self._start + max(a, b)) for a, b in inside])
