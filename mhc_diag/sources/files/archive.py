"""A zip archive whose members are read by ranges: those of torch, which are stored and never compressed.

`zipfile` reads the directory at the end of the file; the members themselves are read here, because a member
of two gigabytes may hold the hundred bytes that are wanted.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import Bytes

TAIL = 1 << 16
"""Bytes fetched at once; a small archive's whole directory lies in its last 64 kB."""
LARGEST_DIRECTORY = 24_000_000
"""Bytes, for some 200,000 members; in memory each takes ten times as much."""
HEADER = 30
SLACK = 1 << 16
"""Bytes beside those wanted that are fetched sooner than asking twice."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member lies: its own header, then its name and padding, then its bytes."""

    header: int
    end: int
    """Where the next one begins."""
    size: int


class Archive:
    """The members of an archive.

    Raises:
        MhcDiagError: it is cut short, or its members are compressed or overlap.

    Example:
        >>> import tempfile, pathlib
        >>> from mhc_diag.sources.files.bytes import LocalBytes
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.zip"
        >>> with zipfile.ZipFile(path, "w") as archive: archive.writestr("a", "0123456789")
        >>> [bytes(part) for part in Archive(LocalBytes(path)).read([("a", 0, 2), ("a", 8, 10)])]
        [b'01', b'89']
    """

    def __init__(self, file: Bytes) -> None:
        self._file = file
        self.members: dict[str, Member] = _members(file)
        self._starts: dict[str, int] = {}

    def read(self, parts: Sequence[tuple[str, int, int]]) -> Iterator[memoryview]:
        """Parts of members (name, start, stop), in the order given.

        Raises:
            MhcDiagError: a member is not where the directory has it.
        """
        far = [name for name, start, stop in parts if not self._is_near(name, start, stop)]
        self._find(dict.fromkeys(far))
        ranges = [self._range(*part) for part in parts]
        for (name, start, stop), blob in zip(parts, self._file.read(ranges), strict=True):
            begin = 0 if name in self._starts else self._behind_header(name, blob) + start
            yield memoryview(blob)[begin : begin + stop - start]

    def whole(self, name: str) -> bytes:
        """All of a member."""
        (part,) = self.read([(name, 0, self.members[name].size)])
        return bytes(part)

    def _is_near(self, name: str, start: int, stop: int) -> bool:
        """Whether a member is so small that it is fetched with its header."""
        member = self.members[name]
        return name not in self._starts and member.end - member.header - (stop - start) <= SLACK

    def _range(self, name: str, start: int, stop: int) -> tuple[int, int]:
        if name in self._starts:
            return self._starts[name] + start, self._starts[name] + stop
        return self.members[name].header, self.members[name].end

    def _find(self, names: dict[str, None]) -> None:
        """Read the headers of members whose beginning is not known."""
        lacking = [name for name in names if name not in self._starts]
        headers = [(self.members[name].header, self.members[name].header + HEADER) for name in lacking]
        for name, blob in zip(lacking, self._file.read(headers), strict=True):
            self._starts[name] = self.members[name].header + self._behind_header(name, blob)

    def _behind_header(self, name: str, blob: bytes) -> int:
        """The length of a member's header, with name and padding."""
        member = self.members[name]
        length = HEADER + int.from_bytes(blob[26:28], "little") + int.from_bytes(blob[28:30], "little")
        if blob[:4] != b"PK\x03\x04" or member.header + length + member.size > member.end:
            raise _distrust(self._file, "a member that is not where its directory has it")
        return length


class Stream(io.RawIOBase):
    """A file as a stream, for readers that know nothing else; what lies near the last read is kept."""

    def __init__(self, file: Bytes) -> None:
        self._file, self._at = file, 0
        self._start = max(0, file.size - TAIL)
        self._kept = next(iter(file.read([(self._start, file.size)])))

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning of the file")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Bytes from here on, fewer at the end of the file."""
        left = max(0, self._file.size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        if size > LARGEST_DIRECTORY:
            raise ValueError(f"a directory of {size} bytes, at most {LARGEST_DIRECTORY} are read")
        if not self._start <= self._at <= self._at + size <= self._start + len(self._kept):
            self._start = self._at
            self._kept = next(iter(self._file.read([(self._at, self._at + max(size, TAIL))])))
        begin = self._at - self._start
        self._at += size
        return self._kept[begin : begin + size]


def _members(file: Bytes) -> dict[str, Member]:
    try:
        with zipfile.ZipFile(Stream(file)) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            directory = archive.start_dir
    except MhcDiagError:
        raise
    except Exception as e:  # whatever a damaged or hostile directory makes zipfile raise
        raise MhcDiagError(
            f"{file.name} is truncated: it begins as a zip archive, but its end cannot be read",
            hint="download or copy it again, and compare the sizes",
        ) from e
    members: dict[str, Member] = {}
    ends = [*(entry.header_offset for entry in entries[1:]), directory]
    for entry, end in zip(entries, ends, strict=False):
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        if not stored or entry.file_size != entry.compress_size or entry.filename in members:
            raise _distrust(file, "compressed or encrypted members, or two of one name")
        if entry.header_offset < 0 or entry.header_offset + HEADER + entry.file_size > end:
            raise _distrust(file, "overlapping members")
        members[entry.filename] = Member(entry.header_offset, end, entry.file_size)
    return members


def _distrust(file: Bytes, what: str) -> MhcDiagError:
    return MhcDiagError(
        f"{file.name} has {what}, which torch.save never writes",
        hint="do not trust this file; ask for one written by torch.save",
    )
