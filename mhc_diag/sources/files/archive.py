"""A zip archive whose members are read by ranges: those of torch, which are stored and never compressed.

`zipfile` reads the directory at the end of the file; the members themselves are read here, because a member
of two gigabytes may hold the hundred bytes that are wanted.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import Bytes, BytesStream

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
        MhcDiagError: it is cut short.

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
        entries, end = _directory(file)
        self.names: tuple[str, ...] = tuple(entry.filename for entry in entries)
        self._members = _members(entries, end)
        self._starts: dict[str, int] = {}

    @property
    def members(self) -> dict[str, Member]:
        """Members by name.

        Raises:
            MhcDiagError: they are compressed or encrypted, overlap, or share a name.
        """
        if self._members is None:
            raise _distrust(self._file, "compressed or overlapping members")
        return self._members

    def read(self, parts: Sequence[tuple[str, int, int]]) -> Iterator[memoryview]:
        """Parts of members (name, start, stop), in the order given.

        Raises:
            MhcDiagError: a member is not where the directory has it.
        """
        near = [self._is_near(*part) for part in parts]
        self._find(name for (name, _, _), together in zip(parts, near, strict=True) if not together)
        ranges = [
            (self.members[name].header, self.members[name].end)
            if together
            else (self._starts[name] + start, self._starts[name] + stop)
            for (name, start, stop), together in zip(parts, near, strict=True)
        ]
        for part, together, blob in zip(parts, near, self._file.read(ranges), strict=True):
            name, start, stop = part
            begin = self._behind_header(name, blob) + start if together else 0
            yield memoryview(blob)[begin : begin + stop - start]

    def whole(self, name: str) -> bytes:
        """All of a member."""
        (part,) = self.read([(name, 0, self.members[name].size)])
        return bytes(part)

    def span(self, name: str) -> tuple[int, int]:
        """Where in the file the bytes of a member begin and end."""
        self._find([name])
        return self._starts[name], self._starts[name] + self.members[name].size

    def _is_near(self, name: str, start: int, stop: int) -> bool:
        """Whether a member is so small that it is fetched with its header."""
        member = self.members[name]
        return name not in self._starts and member.end - member.header - (stop - start) <= SLACK

    def _find(self, names: Iterable[str]) -> None:
        """Read the headers of members whose beginning is not known."""
        lacking = [name for name in dict.fromkeys(names) if name not in self._starts]
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


def _directory(file: Bytes) -> tuple[list[zipfile.ZipInfo], int]:
    """The members by their place, and where the last one ends."""
    try:
        with zipfile.ZipFile(BytesStream(file, LARGEST_DIRECTORY)) as archive:
            return sorted(archive.infolist(), key=lambda entry: entry.header_offset), archive.start_dir
    except MhcDiagError:
        raise
    except Exception as e:  # whatever a damaged or hostile directory makes zipfile raise
        raise MhcDiagError(
            f"{file.name} is truncated: it begins as a zip archive, but its end cannot be read",
            hint="download or copy it again, and compare the sizes",
        ) from e


def _members(entries: list[zipfile.ZipInfo], directory: int) -> dict[str, Member] | None:
    """The members by name; None if they are not all stored as they are, each in a place of its own."""
    members: dict[str, Member] = {}
    ends = [*(entry.header_offset for entry in entries[1:]), directory]
    for entry, end in zip(entries, ends, strict=False):
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        fits = 0 <= entry.header_offset <= entry.header_offset + HEADER + entry.file_size <= end
        if not stored or not fits or entry.file_size != entry.compress_size or entry.filename in members:
            return None
        members[entry.filename] = Member(entry.header_offset, end, entry.file_size)
    return members


def _distrust(file: Bytes, what: str) -> MhcDiagError:
    return MhcDiagError(
        f"{file.name} has {what}, which torch.save never writes",
        hint="do not trust this file; ask for one written by torch.save",
    )
