"""Every way in which a file can be no checkpoint gets its own plain words, before a parser sees it."""

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.sniff import sniff
from mhc_diag.sources.printable import printable


def torch_bytes(**options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"mix": torch.eye(4)}, buffer, **options)
    return buffer.getvalue()


def zipped(compression: int, members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def overlapping() -> bytes:
    """A directory that lists one stored member three times."""
    plain = zipped(zipfile.ZIP_STORED, {"a/data.pkl": b"x" * 1000})
    start = plain.index(b"PK\x01\x02")
    end = plain.index(b"PK\x05\x06")
    entry, tail = plain[start:end], bytearray(plain[end:])
    struct.pack_into("<HHI", tail, 8, 3, 3, 3 * len(entry))
    return plain[:start] + entry * 3 + bytes(tail)


def tarred(*members: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in members:
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def an_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.eye(4))
    return buffer.getvalue()


SAFE = safetensors.numpy.save({"mix": np.eye(4)})
BAD = {
    "empty": (b"", "is empty", "download"),
    "git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "git-lfs pointer",
        "git lfs pull",
    ),
    "html": (b"\n<!DOCTYPE html><html>Not found</html>", "web page", "download"),
    "html in capitals": (b"<HTML><body>login</body>", "web page", "download"),
    "zip cut in half": (torch_bytes()[: len(torch_bytes()) // 2], "is truncated", "compare the sizes"),
    "zip without its last bytes": (torch_bytes()[:-4], "is truncated", "compare the sizes"),
    "compressed zip": (
        zipped(zipfile.ZIP_DEFLATED, {"a/data.pkl": b"\0" * 100_000}),
        "compressed or overlapping",
        "do not trust",
    ),
    "compressed zip that does not grow": (
        zipped(zipfile.ZIP_DEFLATED, {"a/data.pkl": b"x"}),
        "compressed or overlapping",
        "do not trust",
    ),
    "zip that counts a member thrice": (overlapping(), "compressed or overlapping", "do not trust"),
    "npz": (zipped(zipfile.ZIP_STORED, {"a.npy": b"x"}), "not a torch checkpoint", "torch.save"),
    "TorchScript": (
        zipped(zipfile.ZIP_STORED, {"a/data.pkl": b"x", "a/constants.pkl": b"x"}),
        "TorchScript",
        "state_dict",
    ),
    "header longer than the file": (SAFE[:40], "is truncated", "compare the sizes"),
    "plain pickle": (b"\x80\x04}\x94.", "neither a torch checkpoint nor safetensors", "torch.save"),
    "GGUF": (b"GGUF\x03\0\0\0", "is a GGUF file", "converted from"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file", "safetensors"),
    "one array": (an_array(), "is an array of numpy", "safetensors.numpy"),
    "gzip": (gzip.compress(SAFE), "compressed by gzip", "unpack"),
    "xz": (lzma.compress(SAFE), "compressed by xz", "unpack"),
    "bzip2": (bz2.compress(SAFE), "compressed by bzip2", "unpack"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00", "compressed by zstd", "unpack"),
    "tar of something else": (tarred("model_config.yaml", "weights.ckpt"), "is a tar archive", "unpack"),
    "tar of torch": (tarred("sys_info", "pickle", "storages", "tensors"), "before 0.1.10", "torch 1.x"),
    "text": (b'{"error": "not found"}', "neither a torch checkpoint nor safetensors", "torch.save"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_line(case: str, tmp_path: Path) -> None:
    content, message, hint = BAD[case]
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(MhcDiagError) as error:
        sniff(LocalBytes(path))
    assert message in error.value.message and str(path) in error.value.message
    assert hint in error.value.hint
    assert "\n" not in error.value.message + error.value.hint


@pytest.mark.parametrize("content", [b"no header", struct.pack("<Q", 2**40) + b"{}" + b" " * 99])
def test_the_name_safetensors_demands_a_header(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(MhcDiagError, match="malformed"):
        sniff(LocalBytes(path))


def test_missing_folder_and_device(tmp_path: Path) -> None:
    with pytest.raises(MhcDiagError, match="does not exist"):
        sniff(LocalBytes(tmp_path / "nowhere.pt"))
    with pytest.raises(MhcDiagError, match="is a folder") as error:
        sniff(LocalBytes(tmp_path))
    assert "inside it" in error.value.hint
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MhcDiagError, match="not a regular file"):
        sniff(LocalBytes(tmp_path / "pipe"))


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"x")

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no mode bits stop
    with pytest.raises(MhcDiagError, match=r"cannot be read: Permission denied") as error:
        sniff(LocalBytes(path))
    assert "permissions" in error.value.hint


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    for content, kind in (
        (torch_bytes(), "torch-zip"),
        (torch_bytes(_use_new_zipfile_serialization=False), "torch-legacy"),
        (SAFE, "safetensors"),
    ):
        path.write_bytes(content)
        assert sniff(LocalBytes(path)) == kind


def test_names_cannot_drive_the_terminal(tmp_path: Path) -> None:
    assert printable("a\x1b[2J\nb\u202ec é") == r"a\x1b[2J\nb\u202ec é"
    assert len(printable("x" * 10_000)) < 300
    assert printable(Path("x" * 999)) == "x" * 999
    with pytest.raises(MhcDiagError) as error:
        sniff(LocalBytes(tmp_path / "\x1b[31m.pt"))
    assert "\x1b" not in error.value.message
