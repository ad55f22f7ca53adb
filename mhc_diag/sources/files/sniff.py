"""Say what a file is from its first bytes, before any parser sees it.

A failed download, a pointer left by git-lfs or a file cut short each make parsers fail in an obscure way of
its own, and a hostile file may do harm. So the door looks first, and says in one line what it sees.
"""

from __future__ import annotations

from typing import Literal

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import Bytes

Kind = Literal["torch-zip", "torch-legacy", "safetensors", "program"]

MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization.MAGIC_NUMBER, pickled
HEAD = 11  # bytes before it, at most: the version of the pickle and the length of its frame
PROGRAM = {
    "archive_format",
    "serialized_exported_program.json",
}  # what torch.export.save writes, now and before
TAR, TAR_AT = b"ustar", 257
LFS = b"version https://git-lfs.github.com/spec/"
MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml")
START = 512
"""Bytes that are looked at."""
UNPACK = "unpack it, and give what is inside"
OTHERS = {
    b"GGUF": ("a GGUF file, which is not read", "give the checkpoint that it was converted from"),
    b"\x89HDF\r\n": ("an HDF5 file, as Keras writes, which is not read", "save it with torch or safetensors"),
    b"\x93NUMPY": ("an array of numpy, expected tensors with names", "save them with safetensors.numpy"),
    b"\x1f\x8b": ("compressed by gzip", UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", UNPACK),
    b"\xfd7zXZ\x00": ("compressed by xz", UNPACK),
    b"BZh": ("compressed by bzip2", UNPACK),
}
"""How files begin that are taken for checkpoints, what they are, and what helps."""
TORCH_TAR = (b"sys_info", b"pickle", b"storages", b"tensors")  # members that torch wrote before 0.1.10
LONGEST_HEADER = 100_000_000  # the safetensors library's own limit


def sniff(file: Bytes) -> Kind:
    """What kind of file of tensors it is, decided by its content and never by its suffix.

    Raises:
        MhcDiagError: unreadable, empty, a git-lfs pointer, a web page, cut short, or something else.

    Example:
        >>> import tempfile, safetensors.numpy, numpy as np
        >>> from pathlib import Path
        >>> from mhc_diag.sources.files.bytes import LocalBytes
        >>> path = Path(tempfile.mkdtemp()) / "tiny.safetensors"
        >>> safetensors.numpy.save_file({"mix": np.eye(4)}, path)
        >>> sniff(LocalBytes(path))
        'safetensors'
    """
    start = next(file.read([(0, START)]))
    if not start:
        raise MhcDiagError(f"{file.name} is empty", hint="check the download, or save the checkpoint again")
    if start.startswith(LFS):
        raise MhcDiagError(
            f"{file.name} is a git-lfs pointer of {file.size} bytes, not the file itself",
            hint="fetch the content with `git lfs pull`",
        )
    if is_markup(start):
        raise MhcDiagError(
            f"{file.name} is a web page, saved in place of the file",
            hint="download it again; the address may need a login or point to the file's page",
        )
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _archive(file)
    if start.startswith(b"\x80") and MAGIC in start[: HEAD + len(MAGIC)]:
        return "torch-legacy"
    if start[TAR_AT:].startswith(TAR):
        old = start.removeprefix(b"./").startswith(TORCH_TAR)
        what = "as torch wrote before 0.1.10, which is not read" if old else "which is not read"
        raise MhcDiagError(
            f"{file.name} is a tar archive, {what}",
            hint="load it with torch 1.x and save it again" if old else UNPACK,
        )
    for magic, (what, hint) in OTHERS.items():
        if start.startswith(magic):
            raise MhcDiagError(f"{file.name} is {what}", hint=hint)
    if _has_header(start):
        _check_header(file, start)
        return "safetensors"
    if file.name.endswith(".safetensors"):
        raise MhcDiagError(
            f"{file.name} is malformed: no safetensors header at its start",
            hint="download it again, or save it again with safetensors",
        )
    raise MhcDiagError(
        f"{file.name} is neither a torch checkpoint nor safetensors: it begins with {start[:8]!r}",
        hint="expected a file written by torch.save or safetensors",
    )


def is_markup(start: bytes) -> bool:
    """Whether a file begins as a web page does.

    Example:
        >>> is_markup(b" <!DOCTYPE html>"), is_markup(b"{}")
        (True, False)
    """
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(MARKUP)


def _archive(file: Bytes) -> Kind:
    """What a zip is; refuses one that is none of torch's."""
    from mhc_diag.sources.files.archive import Archive

    name, archive = file.name, Archive(file)
    inside = {member.partition("/")[2] for member in archive.names}
    if "constants.pkl" in inside:
        raise MhcDiagError(
            f"{name} is a TorchScript program, expected a checkpoint of tensors",
            hint="save the state_dict of the model it was made from",
        )
    is_program = not PROGRAM.isdisjoint({*inside, *archive.names})
    if "data.pkl" not in inside and not is_program:
        raise MhcDiagError(
            f"{name} is a zip archive, but not a torch checkpoint: it has no data.pkl",
            hint="expected a file written by torch.save",
        )
    return "program" if archive.members and is_program else "torch-zip"


def _has_header(start: bytes) -> bool:
    """A plausible length, then the brace that the format demands."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def _check_header(file: Bytes, start: bytes) -> None:
    end = 8 + int.from_bytes(start[:8], "little")
    if end > file.size:
        raise MhcDiagError(
            f"{file.name} is truncated: it has {file.size} bytes, and its header alone takes {end}",
            hint="download or copy it again, and compare the sizes",
        )
