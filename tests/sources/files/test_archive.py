"""Zip archives are read by ranges, and their directory is not believed."""

import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import archive
from mhc_diag.sources.files.archive import Archive
from mhc_diag.sources.files.bytes import LocalBytes

SMALL, LARGE = bytes(range(100)), np.arange(300_000, dtype=np.uint8).tobytes()
DIRECTORY = b"PK\x01\x02"


class Counting(LocalBytes):
    """Counts what is read."""

    count = 0

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        self.count += sum(stop - start for start, stop in ranges)
        return super().read(ranges)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        for name, content in (("x/small", SMALL), ("x/large", LARGE), ("x/last", SMALL)):
            made.writestr(name, content)
    return tmp_path / "x.zip"


def entry(content: bytes, name: bytes) -> int:
    """Where a member's entry in the directory begins."""
    return content.rindex(DIRECTORY, 0, content.rindex(name))


def refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MhcDiagError, match="compressed or overlapping members, which"):
        _ = Archive(LocalBytes(path)).members


def test_parts_of_members(path: Path) -> None:
    found = Archive(file := Counting(path))
    assert found.names == ("x/small", "x/large", "x/last") and found.whole("x/large") == LARGE
    parts = [("x/last", 3, 5), ("x/large", 200_000, 200_004), ("x/small", 0, 100), ("x/large", 0, 300_000)]
    expected = [SMALL[3:5], LARGE[200_000:200_004], SMALL, LARGE]
    assert [bytes(part) for part in found.read(parts)] == expected
    start, stop = found.span("x/large")
    assert path.read_bytes()[start:stop] == LARGE
    file.count = 0
    list(Archive(file).read([("x/large", 200_000, 200_004)]))
    assert file.count < 70_000  # the end of the file, a header and four bytes


def test_two_readers_at_once(path: Path) -> None:
    found = Archive(LocalBytes(path))
    first = found.read([("x/small", 1, 3), ("x/large", 1, 3), ("x/last", 1, 3)])
    one = [bytes(next(first))]
    assert found.span("x/last") and [bytes(part) for part in found.read([("x/small", 1, 3)])] == [SMALL[1:3]]
    assert one + [bytes(part) for part in first] == [SMALL[1:3], LARGE[1:3], SMALL[1:3]]


def test_a_member_that_lies_within_another(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = entry(content, b"x/small") + 20
    content[at : at + 8] = struct.pack("<II", 250_000, 250_000)
    refused(path, content)


def test_a_member_that_begins_behind_the_directory(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = entry(content, b"x/last") + 42
    content[at : at + 4] = struct.pack("<I", len(content) - 40)
    refused(path, content)


def test_members_of_one_name(path: Path) -> None:
    refused(path, path.read_bytes().replace(b"x/small", b"x/large"))


def test_compressed_and_encrypted_members(path: Path) -> None:
    content = path.read_bytes()
    at = entry(content, b"x/last")
    refused(path, content[: at + 10] + b"\x08" + content[at + 11 :])
    refused(path, content[: at + 8] + b"\x01" + content[at + 9 :])


def test_a_header_that_says_something_else_than_the_directory(path: Path) -> None:
    content = path.read_bytes()
    start = content.index(b"x/last") - 30
    for lie in (
        content[: start + 28] + b"\xff\xff" + content[start + 30 :],
        content[:start] + b"XX" + content[start + 2 :],
    ):
        path.write_bytes(lie)
        for read in (lambda a: a.whole("x/last"), lambda a: a.span("x/last")):
            with pytest.raises(MhcDiagError, match="not where its directory has it"):
                read(Archive(LocalBytes(path)))


def test_a_directory_larger_than_any_checkpoint_needs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LARGEST_DIRECTORY", 100)
    with pytest.raises(MhcDiagError, match="its end cannot be read"):
        Archive(LocalBytes(path))
