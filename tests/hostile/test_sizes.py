"""Files of a few bytes that claim, or unpack to, more than any machine has."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Write = Callable[..., Path]
ENTRY = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}
NAMED = {"fn": [8, 4], "base": [8], "scale": [3]}


@pytest.mark.parametrize("length", [100_000_000, 100_000_001, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_header_that_claims_more_than_there_is(
    scan: Callable[..., Any], safetensors_file: Write, length: int
) -> None:
    safetensors_file(b'{"x":', length=length)
    assert scan("x.safetensors").refused()


@pytest.mark.parametrize(
    "unit", [b"[", b'{"a":', b"{},", b"[],", b"0,", b'"",', b'"k":{"shape":[]},', b" ", b'"a":1,'], ids=str
)
@pytest.mark.parametrize(
    "place",
    ["header", pytest.param("index", marks=pytest.mark.slow), pytest.param("config", marks=pytest.mark.slow)],
)
def test_a_text_of_forty_five_megabytes(
    scan: Callable[..., Any],
    folder: Path,
    safetensors_file: Write,
    mixing: tuple[Any, bytes],
    unit: bytes,
    place: str,
) -> None:
    text = b'{"a":[' + unit * (45_000_000 // len(unit))
    if place == "header":
        safetensors_file(text)
        assert scan("x.safetensors").refused()
    elif place == "index":
        (folder / "model.safetensors.index.json").write_bytes(text)
        assert scan(".").refused()
    else:
        safetensors_file(*mixing, name="model.safetensors")
        (folder / "config.json").write_bytes(text)
        assert scan("model.safetensors").refused()


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors.index.json", "x.safetensors", "x.pt", ".metadata"]
)
def test_files_of_gigabytes_without_content(
    scan: Callable[..., Any], folder: Path, safetensors_file: Write, mixing: tuple[Any, bytes], name: str
) -> None:
    if name == "config.json":
        safetensors_file(*mixing, name="model.safetensors")
    with (folder / name).open("wb") as stream:
        stream.write(b"\x80\x02}" if name == ".metadata" else b'{"a": "')
        stream.truncate(3 << 30)  # sparse: it takes no disk
    assert scan(name if name.startswith("x") else ".").refused()


@pytest.mark.parametrize("depth", [900, 5_000, 1_000_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_texts_that_are_nested_deep(
    scan: Callable[..., Any],
    folder: Path,
    safetensors_file: Write,
    mixing: tuple[Any, bytes],
    opening: str,
    depth: int,
) -> None:
    nested = opening * depth + "1" + ("]" if opening == "[" else "}") * depth
    entries, data = mixing
    safetensors_file(f'{{"__metadata__":{nested}}}'.encode())
    assert scan("x.safetensors").refused()
    (folder / "model.safetensors.index.json").write_text(f'{{"weight_map":{nested}}}')
    assert scan(".").refused()
    (folder / "model.safetensors.index.json").unlink()
    safetensors_file(entries, data, name="model.safetensors")
    (folder / "config.json").write_text(f'{{"text_config":{nested}}}')
    assert scan(".").code in ((0, 2) if depth == 900 else (2,))


@pytest.mark.parametrize(
    "shape",
    [
        [1 << 62],
        [1 << 31, 1 << 31],
        [1 << 32] * 4,
        [1 << 40, 0],
        [1] * 70,
        [4, 4, 0],
        [-4, -4],
        [4.0, 4],
        [10**400],
        [True],
        ["4"],
    ],
)
def test_shapes_that_cannot_be(scan: Callable[..., Any], safetensors_file: Write, shape: list[Any]) -> None:
    safetensors_file({f"blocks.{i}.mixing": ENTRY | {"shape": shape} for i in range(3)}, bytes(64))
    assert scan("x.safetensors").code in (2, 3)


@pytest.mark.parametrize(
    "offsets",
    [
        [0, 1 << 62],
        [-64, 0],
        [64, 0],
        [0, 64.0],
        [0],
        [0, 32, 64],
        ["0", "64"],
        [None, 64],
        [1 << 80, 1 << 81],
    ],
)
def test_offsets_that_cannot_be(
    scan: Callable[..., Any], safetensors_file: Write, offsets: list[Any]
) -> None:
    safetensors_file({f"blocks.{i}.mixing": ENTRY | {"data_offsets": offsets} for i in range(2)}, bytes(64))
    assert scan("x.safetensors").refused()


def test_tensors_that_overlap(scan: Callable[..., Any], safetensors_file: Write) -> None:
    safetensors_file({f"blocks.{i}.mixing": ENTRY for i in range(5_000)}, bytes(64))
    assert scan("x.safetensors").refused()


def test_numbers_of_layers_without_end(scan: Callable[..., Any], safetensors_file: Write) -> None:
    for number in ("9" * 20, "9" * 5000, "٣", "0" * 300):
        header, at = {}, 0
        for layer in (number, "1"):
            for part, shape in NAMED.items():
                size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
                entry = {"dtype": "F32", "shape": shape, "data_offsets": [at, at := at + size]}
                header[f"layers.{layer}.hc_attn_{part}"] = entry
        safetensors_file(header, bytes(at))
        assert scan("x.safetensors").code in (0, 2, 3)


def test_names_without_end(scan: Callable[..., Any], safetensors_file: Write) -> None:
    for name in (
        "a." * 500_000 + "0.mixing",
        "0." * 200_000,
        "module." * 300_000 + "blocks.0.mixing",
        "(" * 10**6,
    ):
        header = {
            name + tail: ENTRY | {"data_offsets": [64 * i, 64 * i + 64]} for i, tail in enumerate(("", "x"))
        }
        safetensors_file(header, bytes(128))
        assert scan("x.safetensors").code in (0, 2, 3)


def test_a_stack_of_layers_without_end(
    scan: Callable[..., Any], folder: Path, safetensors_file: Write
) -> None:
    """The file is as large as it says, and sparse: only what is plausible may be read."""
    layers = 1 << 24
    path = safetensors_file(
        {"mixing": {"dtype": "F32", "shape": [layers, 4, 4], "data_offsets": [0, layers * 64]}}
    )
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + layers * 64)
    assert scan("x.safetensors").code == 3


@pytest.mark.parametrize("part", ["fn", "base", "scale"])
def test_mixing_parameters_without_end(scan: Callable[..., Any], safetensors_file: Write, part: str) -> None:
    """Sparse tensors of 16 GB under the names of mixing parameters."""
    header, at = {}, 0
    for layer in range(2):
        for name, small in NAMED.items():
            shape = [8, 1 << 29] if name == part == "fn" else [1 << 32] if name == part else small
            size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            entry = {"dtype": "F32", "shape": shape, "data_offsets": [at, at := at + size]}
            header[f"layers.{layer}.hc_attn_{name}"] = entry
    path = safetensors_file(header)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + at)
    assert scan("x.safetensors").code in (2, 3)


WIDE = {"fn": (64 * 66, 1 << 22), "base": (64 * 66,), "scale": (3,)}
"""Of 64 streams and 65,536 channels each: a shape that could be, of 71 GB."""


def test_mixing_parameters_of_gigabytes_that_could_be(
    scan: Callable[..., Any], folder: Path, safetensors_file: Write
) -> None:
    header, at = {}, 0
    for layer in range(2):
        for name, shape in WIDE.items():
            size = 4 * math.prod(shape)
            entry = {"dtype": "F32", "shape": shape, "data_offsets": [at, at := at + size]}
            header[f"layers.{layer}.hc_attn_{name}"] = entry
    path = safetensors_file(header)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size + at)
    assert "in a mixing parameter" in scan("x.safetensors").refused()


@pytest.mark.parametrize("zipped", [True, False])
def test_the_same_in_a_few_bytes(scan: Callable[..., Any], folder: Path, zipped: bool) -> None:
    """Stride 0: every number of the tensor is the same one number of the file."""
    one = torch.ones(1)
    shapes = WIDE | {"fn": (64 * 66, 1 << 14)}
    table = {f"layers.{i}.hc_attn_{name}": one.expand(shapes[name]) for i in range(2) for name in shapes}
    torch.save(table, folder / "x.pt", _use_new_zipfile_serialization=zipped)
    assert (folder / "x.pt").stat().st_size < 10_000
    assert scan("x.pt").code in (2, 3)


def archive(members: dict[str, bytes], packed: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


def saved(tensors: object) -> dict[str, bytes]:
    """The members of what torch.save writes."""
    stream = io.BytesIO()
    torch.save(tensors, stream)
    with zipfile.ZipFile(stream) as file:
        return {name: file.read(name) for name in file.namelist()}


TABLE = {f"blocks.{i}.mixing": torch.eye(4) for i in range(3)}


def test_a_small_archive_that_expands(scan: Callable[..., Any], folder: Path) -> None:
    members = saved(TABLE)
    storage = next(name for name in members if "/data/" in name)
    (folder / "x.pt").write_bytes(archive(members | {storage: bytes(200 << 20)}, zipfile.ZIP_DEFLATED))
    assert (folder / "x.pt").stat().st_size < 1 << 19
    assert "compressed" in scan("x.pt").refused()


def test_members_that_overlap(scan: Callable[..., Any], folder: Path) -> None:
    """A directory whose entries all name the same bytes: a thousand times the size of the file."""
    data = archive({f"x/data/{i}": b"" for i in range(1000)} | {"x/data.pkl": bytes(1 << 20)})
    at = data.index(b"PK\x01\x02")
    work = bytearray(data)
    last = data.rindex(b"PK\x01\x02")
    while (at := work.find(b"PK\x01\x02", at)) >= 0 and at < last:
        work[at + 20 : at + 28] = struct.pack("<II", 1 << 20, 1 << 20)
        work[at + 42 : at + 46] = work[last + 42 : last + 46]
        at += 4
    (folder / "x.pt").write_bytes(work)
    assert scan("x.pt").refused()


def test_an_archive_of_very_many_members(scan: Callable[..., Any], folder: Path) -> None:
    members = saved(TABLE) | {f"archive/{i}": b"" for i in range(50_000)}
    (folder / "x.pt").write_bytes(archive(members))
    assert scan("x.pt").code in (0, 2)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("shape", [(1 << 20, 1 << 20), (1 << 40,), (64, 1 << 34), (4, 4)])
def test_tensors_of_terabytes_in_a_few_bytes(
    scan: Callable[..., Any], folder: Path, shape: tuple[int, ...], zipped: bool
) -> None:
    """Stride 0: every number of the tensor is the same one number of the file."""
    table = {f"layers.{i}.hc_attn_{part}": torch.ones(1).expand(shape) for i in range(2) for part in NAMED}
    table |= {f"blocks.{i}.mixing": torch.ones(1).expand(shape) for i in range(2)}
    table |= {"mixing": torch.ones(1).expand(*shape[:1], 4, 4)}
    torch.save(table, folder / "x.pt", _use_new_zipfile_serialization=zipped)
    assert (folder / "x.pt").stat().st_size < 10_000
    assert scan("x.pt").code in ((0, 2) if shape[0] <= 64 else (2, 3))


def patched(members: dict[str, bytes], old: bytes, new: bytes) -> bytes:
    pickle_ = next(name for name in members if name.endswith("data.pkl"))
    assert old in members[pickle_]
    return archive(members | {pickle_: members[pickle_].replace(old, new)})


@pytest.mark.parametrize("number", [1 << 31, 1 << 62, 10**300, -1, -(1 << 40)])
def test_shapes_strides_and_offsets_that_leave_the_storage(
    scan: Callable[..., Any], folder: Path, number: int
) -> None:
    size = (number.bit_length() + 8) // 8
    long = b"\x8a" + bytes([size]) + number.to_bytes(size, "little", signed=True)
    for old, new in (
        (b"K\x04K\x04\x86", b"K\x04" + long + b"\x86"),
        (b"K\x04K\x01\x86", long + b"K\x01\x86"),
        (b"K\x04K\x01\x86", b"K\x04" + long + b"\x86"),
        (b"QK\x00", b"Q" + long),
        (b"K\x10t", long + b"t"),
    ):
        (folder / "x.pt").write_bytes(patched(saved(TABLE), old, new))
        assert scan("x.pt").code in (2, 3) or new.startswith((b"K\x04" + long, long)), (old, new)


BOMBS = {
    "text": b"X\xff\xff\xff\x7f",
    "text 8": b"\x8d" + (1 << 60).to_bytes(8, "little"),
    "bytes": b"B\xff\xff\xff\x7f",
    "bytes 8": b"\x8e" + (1 << 60).to_bytes(8, "little"),
    "bytearray": b"\x96" + (1 << 40).to_bytes(8, "little"),
    "long": b"\x8b\xff\xff\xff\x7f",
    "frame": b"\x95" + (1 << 62).to_bytes(8, "little"),
    "memo": b"}r\xff\xff\xff\xff",
    "digits": b"I" + b"9" * 3_000_000 + b"\n.",
    "long digits": b"L" + b"9" * 3_000_000 + b"L\n.",
    "doubling": b"]" + b"2\x86" * 60 + b".",
    "doubling as a key": b"})" + b"2\x86" * 60 + b"Ns.",
    "doubling lists": b"]" + b"(2e2a" * 60 + b".",
    "laughter": b"]q\x00"
    + b"".join(
        b"](" + b"h" + bytes([i]) * 1 + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1]) for i in range(40)
    )
    + b".",
    "itself": b"}q\x00X\x05\x00\x00\x00modelh\x00s.",
    "itself in a list": b"]q\x00h\x00a.",
}


LARGE = {
    "marks": b"(" * 20_000_000,
    "lists": b"]" * 20_000_000 + b".",
    "sets": b"\x8f" * 20_000_000 + b".",
    "tables": b"}" * 20_000_000 + b".",
    "numbers": b"(" + b"J\x01\x02\x03\x04" * 5_000_000 + b"t.",
    "memos": b"N" + b"\x94" * 20_000_000 + b".",
    "globals": b"ca\nb\n" * 4_000_000 + b".",
    "calls": b"ca\nb\n" + b")R" * 10_000_000 + b".",
    "nothing": b"N0" * 20_000_000 + b".",
    "deep tuples": b")" + b"\x85" * 10_000_000 + b".",
    "deep lists": b"]" * 1_000_000 + b"a" * 999_999 + b".",
}
"""Each fills the memory, or takes minutes, where nothing counts along."""


def planted(folder: Path, place: str, pickled: bytes) -> None:
    """Write a file, or a folder, whose pickle is this one."""
    if place == "zip":
        (folder / "x").write_bytes(archive({"x/data.pkl": b"\x80\x02" + pickled, "x/version": b"3"}))
    elif place == "legacy":
        stream = io.BytesIO()
        torch.save({}, stream, _use_new_zipfile_serialization=False)
        head = stream.getvalue()
        (folder / "x").write_bytes(head[: head.index(b"}q\x00.")] + pickled)
    else:
        (folder / "x").mkdir()
        (folder / "x" / ".metadata").write_bytes(b"\x80\x04" + pickled)
        (folder / "x" / "__0_0.distcp").write_bytes(b"")


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("place", ["zip", "legacy", "metadata"])
def test_pickles_that_grow(scan: Callable[..., Any], folder: Path, place: str, bomb: bytes) -> None:
    planted(folder, place, bomb)
    assert scan("x").refused()


@pytest.mark.slow
@pytest.mark.parametrize("bomb", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("place", ["zip", "legacy", "metadata"])
def test_pickles_of_very_many_objects(
    scan: Callable[..., Any], folder: Path, place: str, bomb: bytes
) -> None:
    planted(folder, place, bomb)
    assert scan("x").refused()


def test_a_pickle_of_very_many_lists(scan: Callable[..., Any], folder: Path) -> None:
    planted(folder, "zip", LARGE["lists"])
    assert "too many objects" in scan("x").refused()


BELOW = {
    "lists": b"](" + b"]" * 1_400_000 + b"e.",
    "tuples": b"(" + b")" * 2_200_000 + b"t.",
    "objects": b"ca\nb\nq\x000](" + b"h\x00)R" * 500_000 + b"e.",
    "halves of characters": b"X" + struct.pack("<I", 90_000_000) + b"\xed\xa0\x80" * 30_000_000 + b".",
}
"""As much as is read at all, or decoded: what is made of it afterwards must not take long either."""


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BELOW.values(), ids=BELOW)
def test_pickles_of_as_many_objects_as_are_read(scan: Callable[..., Any], folder: Path, bomb: bytes) -> None:
    planted(folder, "zip", bomb)
    assert "too many objects" not in scan("x").refused()


def test_more_sites_than_any_model_has(
    scan: Callable[..., Any], folder: Path, safetensors_file: Write
) -> None:
    entries = {f"blocks.{i}.mixing": ENTRY | {"data_offsets": [64 * i, 64 * i + 64]} for i in range(10_001)}
    safetensors_file(entries, bytes(64 * 10_001))
    assert "of 10,001 sites; at most 10,000" in scan("x.safetensors").refused()


def test_a_configuration_of_absurd_settings(
    scan: Callable[..., Any], folder: Path, safetensors_file: Write
) -> None:
    header, at = {}, 0
    for layer in range(2):
        for name, shape in NAMED.items():
            size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            entry = {"dtype": "F32", "shape": shape, "data_offsets": [at, at := at + size]}
            header[f"layers.{layer}.hc_attn_{name}"] = entry
    safetensors_file(header, bytes(at), name="model.safetensors")
    assert scan(".").reported()
    for number in (
        "1000000000",
        "-1",
        "1e308",
        "NaN",
        "Infinity",
        "1e9999",
        "true",
        '"20"',
        "[20]",
        "9" * 5000,
        "null",
    ):
        for setting in ("hc_sinkhorn_iters", "hc_eps"):
            (folder / "config.json").write_text(f'{{"{setting}": {number}}}')
            assert setting in scan(".").refused() or number in ("NaN", "Infinity", "9" * 5000), number
    for text in ("[]", "3", '"x"', "null", '{"text_config": [1]}', '{"text_config": {"text_config": {}}}'):
        (folder / "config.json").write_text(text)
        assert scan(".").code in (0, 2)


@pytest.mark.parametrize(
    "asked",
    [
        {"num_hidden_layers": 10**9},
        {"vocab_size": 10**9},
        {"text_config": {"hidden_size": 50_000_000, "num_hidden_layers": 90}},
        {"num_attention_heads": 10**4000},
        {"layer_types": [1, 10**12]},
        {
            "hidden_size": 90_000,
            "intermediate_size": 400_000,
            "n_routed_experts": 4096,
            "num_hidden_layers": 99,
        },
    ],
    ids="-".join,
)
def test_a_configuration_of_a_model_that_no_machine_can_build(
    scan: Callable[..., Any],
    folder: Path,
    safetensors_file: Write,
    mixing: tuple[Any, bytes],
    asked: dict[str, Any],
) -> None:
    """The folder is read, and transformers, which would build the model, is not even imported."""
    safetensors_file(*mixing, name="model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **asked}))
    assert "no model was run" in " ".join(scan(".").reported().split())
