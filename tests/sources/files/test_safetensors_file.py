"""The safetensors format, held against its own library: what it writes, reads and refuses."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.safetensors_file import DTYPES, SafetensorsFile

FLOATS = ["float64", "float32", "float16", "bfloat16"] + [
    n for n, _ in DTYPES.values() if n.startswith("float8")
]
OTHERS = ["int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool", "complex64"]


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def written(header: Any, body: int, path: Path) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(body))
    return path


def drawn(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    kind = getattr(torch, dtype)
    draw = torch.Generator().manual_seed(sum(map(ord, dtype)))
    raw = torch.randint(0, 2 if dtype == "bool" else 256, (*shape, kind.itemsize), generator=draw)
    return raw.to(torch.uint8).view(kind)[..., 0]


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_are_those_that_the_library_reads(dtype: str, tmp_path: Path) -> None:
    tensors = {
        "a": drawn(dtype, (3, 5)),
        "b": drawn(dtype, ()),
        "none": drawn(dtype, (0, 4)),
        "c": drawn(dtype, (2,)),
    }
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    file = SafetensorsFile(LocalBytes(tmp_path / "x.safetensors"))
    read = dict(file.arrays(["c", "a", "none", "b"]))
    with safe_open(tmp_path / "x.safetensors", "pt") as library:
        assert set(file.entries) == set(library.keys())
        for name in tensors:
            expected = library.get_tensor(name)
            assert file.entries[name].shape == tuple(expected.shape)
            assert getattr(torch, file.entries[name].dtype) == expected.dtype
            np.testing.assert_array_equal(read[name], expected.double().numpy())


@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS])
def test_tensors_for_a_live_model_keep_their_bits_and_dtype(dtype: str, tmp_path: Path) -> None:
    tensors = {"b": drawn(dtype, (3, 5)), "a": drawn(dtype, ()), "none": drawn(dtype, (0, 4))}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    found = SafetensorsFile(LocalBytes(tmp_path / "x.safetensors")).state_dict()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


def test_two_float4_share_a_byte(tmp_path: Path) -> None:
    packed = torch.arange(12, dtype=torch.uint8).reshape(3, 4).view(torch.float4_e2m1fn_x2)
    safetensors.torch.save_file({"x": packed}, tmp_path / "x.safetensors")
    file = SafetensorsFile(LocalBytes(tmp_path / "x.safetensors"))
    assert file.entries["x"].shape == (3, 8)
    assert torch.equal(file.state_dict()["x"].view(torch.uint8), packed.view(torch.uint8))


ONE = {"a": entry()}
HEADERS: dict[str, tuple[Any, int]] = {
    "sound": (ONE, 4),
    "sound with spaces at its end": (json.dumps(ONE).encode() + b"   ", 4),
    "sound with more keys": ({"a": entry(more=1)}, 4),
    "sound and empty": ({}, 0),
    "sound with no axes": ({"a": entry(shape=())}, 4),
    "sound with nothing in the middle": (
        {"a": entry(shape=(2,), offsets=(0, 8)), "b": entry(shape=(0,), offsets=(8, 8))},
        8,
    ),
    "metadata": ({"__metadata__": {"format": "pt"}} | ONE, 4),
    "metadata that are numbers": ({"__metadata__": {"format": 1}} | ONE, 4),
    "metadata that are a list": ({"__metadata__": ["a"]} | ONE, 4),
    "hole": ({"a": entry(), "b": entry(offsets=(8, 12))}, 12),
    "hole at the start": ({"a": entry(offsets=(4, 8))}, 8),
    "overlap": ({"a": entry(), "b": entry()}, 4),
    "overlap by a part": ({"a": entry(shape=(2,), offsets=(0, 8)), "b": entry(offsets=(4, 8))}, 8),
    "bytes that belong to nobody": (ONE, 8),
    "bytes that are not there": (ONE, 3),
    "backwards": ({"a": entry(offsets=(4, 0))}, 4),
    "negative": ({"a": entry(offsets=(-4, 0))}, 4),
    "shape too large": ({"a": entry(shape=(2,))}, 4),
    "shape beyond 64 bits": ({"a": entry(shape=(1 << 63, 1 << 63, 0), offsets=(0, 0))}, 0),
    "shape of terabytes": ({"a": entry(shape=(10**12,), offsets=(0, 4 * 10**12))}, 4),
    "shape of fractions": ({"a": entry(shape=(1.0,))}, 4),
    "shape of truths": ({"a": entry(shape=(True,))}, 4),
    "shape that is a number": ({"a": entry(shape=1)}, 4),
    "offsets of three": ({"a": entry(offsets=(0, 4, 4))}, 4),
    "half a byte": ({"a": entry("F4", (7,), (0, 4))}, 4),
    "dtype unknown": ({"a": entry("F31")}, 4),
    "dtype that is a number": ({"a": entry(4)}, 4),
    "dtype that is a list": ({"a": entry([])}, 4),
    "no dtype": ({"a": {"shape": [1], "data_offsets": [0, 4]}}, 4),
    "a number for a tensor": ({"a": 1}, 4),
    "a list for a table": ([1], 0),
    "no JSON": (b"{" + b"x" * 9, 4),
    "zeros behind the JSON": (json.dumps(ONE).encode() + b"\0\0", 4),
    "no text": (b'{"\xff\xfe": 1}', 4),
    "half of a surrogate": (b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    "NaN": (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', 4),
    "a digit too many": (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,' + b"4" * 5000 + b"]}}", 4),
    "the same key twice in a tensor": (
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        4,
    ),
    "nested": (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", 4),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_are_judged_as_by_the_library(case: str, tmp_path: Path) -> None:
    header, body = HEADERS[case]
    path = written(header, body, tmp_path / "x.safetensors")
    try:
        with safe_open(path, "np") as library:
            expected = set(library.keys())
    except SafetensorError:
        with pytest.raises(MhcDiagError, match="truncated or malformed safetensors") as error:
            SafetensorsFile(LocalBytes(path))
        assert "\n" not in error.value.message and len(error.value.message) < 500
        return
    assert set(SafetensorsFile(LocalBytes(path)).entries) == expected


def test_a_name_that_counts_twice_is_refused_although_the_library_takes_the_last(tmp_path: Path) -> None:
    one = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    twice = b"{" + one + b"," + one + b"}"
    with pytest.raises(MhcDiagError, match="names something twice"):
        SafetensorsFile(LocalBytes(written(twice, 4, tmp_path / "x")))


@pytest.mark.parametrize(
    "unit", [b"[],", b'{"a":0},', b"0,", b'"a",', b'{"a":{"a":{}}},', b"1234567,"], ids=lambda u: u.decode()
)
def test_a_header_cannot_cost_much_more_memory_than_it_has_bytes(unit: bytes, tmp_path: Path) -> None:
    header = b'{"a":[' + unit * (40_000_000 // len(unit)) + b"0]}"
    path = written(header, 4, tmp_path / "x")
    del header
    tracemalloc.start()
    with pytest.raises(MhcDiagError, match="malformed safetensors"):
        SafetensorsFile(LocalBytes(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150_000_000


def test_a_header_longer_than_any_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", 99_000_000) + b"{")
        stream.truncate(100_000_000)
    tracemalloc.start()
    with pytest.raises(MhcDiagError, match="its header takes 99000000 bytes"):
        SafetensorsFile(LocalBytes(path))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_only_the_bytes_of_what_is_asked_for_are_read(tmp_path: Path) -> None:
    tensors = {f"{i}": torch.full((1000,), float(i)) for i in range(5)}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")

    class Watched(LocalBytes):
        asked = 0

        def read(self, ranges: Any) -> Any:
            self.asked += sum(stop - start for start, stop in ranges)
            return super().read(ranges)

    watched = Watched(tmp_path / "x.safetensors")
    file = SafetensorsFile(watched)
    assert watched.asked == watched.size - 5 * 4000
    watched.asked = 0
    assert [(name, a[0]) for name, a in file.arrays(["3", "1"])] == [("1", 1.0), ("3", 3.0)]
    assert watched.asked == 2 * 4000


def test_a_file_cut_while_it_is_read(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.ones(100)}, tmp_path / "x.safetensors")
    file = SafetensorsFile(LocalBytes(tmp_path / "x.safetensors"))
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:-8])
    with pytest.raises(MhcDiagError, match="ends inside x"):
        list(file.arrays(["x"]))
