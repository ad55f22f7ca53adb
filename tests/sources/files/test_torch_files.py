"""What torch.save writes, in both of its formats, against what torch itself reads back."""

import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.numbers import WIDTHS
from mhc_diag.sources.files.tensors import state_dict
from mhc_diag.sources.files.torch_dtypes import BYTES
from mhc_diag.sources.files.torch_file import TorchFile
from mhc_diag.sources.files.torch_legacy import TorchLegacy
from mhc_diag.sources.files.torch_zip import TorchZip

FORMATS: dict[str, type[TorchFile]] = {"zip": TorchZip, "legacy": TorchLegacy}
DTYPES = [name for name in BYTES if isinstance(getattr(torch, name, None), torch.dtype)]
PLAIN = [name for name in DTYPES if not name.startswith("q") and "float4" not in name]


class Counting(LocalBytes):
    """Keeps the ranges that were read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ranges: list[tuple[int, int]] = []

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        self.ranges += ranges
        return super().read(ranges)


def save(value: Any, path: Path, form: str) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=form == "zip")
    return path


def opened(value: Any, folder: Path, form: str, **options: Any) -> Any:
    return FORMATS[form](LocalBytes(save(value, folder / "x.pt", form)), **options)


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", PLAIN)
def test_every_dtype(dtype: str, form: str, tmp_path: Path) -> None:
    patterns = torch.arange(256, dtype=torch.uint8).repeat(16)
    whole = patterns.view(getattr(torch, dtype)) if dtype != "bool" else patterns % 3 == 0
    tensors = {"a": whole, "b": whole[3:5]}
    file = opened(tensors, tmp_path, form)
    assert file.entries["a"].dtype == dtype and file.entries["b"].shape == (2,)
    for name, own in file.state_dict().items():
        assert own.dtype == tensors[name].dtype
        assert own.contiguous().view(torch.uint8).tolist() == tensors[name].view(torch.uint8).tolist()
    if dtype in WIDTHS:
        for name, numbers in file.arrays(["a", "b"]):
            np.testing.assert_array_equal(numbers, tensors[name].double().numpy().astype(numbers.dtype))


def test_every_dtype_of_torch_is_known() -> None:
    known = {
        n for n, kind in vars(torch).items() if isinstance(kind, torch.dtype) and str(kind) == f"torch.{n}"
    }
    few_bits = {n for n in known if n.startswith(("bits", "int", "uint")) and n not in BYTES}
    assert known - few_bits == set(DTYPES)


VIEWS = {
    "whole": lambda x: x,
    "transposed": lambda x: x.transpose(0, 2),
    "rows": lambda x: x[2:4],
    "columns": lambda x: x[:, :, 1],
    "every other": lambda x: x[::2, ::3],
    "one number": lambda x: x[1, 2, 3],
    "nothing": lambda x: x[:, 2:2],
    "expanded": lambda x: x[0, 0, :2, None].expand(2, 5),
    "overlapping": lambda x: x.flatten().unfold(0, 3, 1),
    "parameter": torch.nn.Parameter,
    "channels last": lambda x: x[None].to(memory_format=torch.channels_last),
    "diagonal": lambda x: x[0].diagonal(),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_of_a_storage(view: str, form: str, tmp_path: Path) -> None:
    base = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(0))
    file = opened({"view": VIEWS[view](base), "base": base}, tmp_path, form)
    loaded = torch.load(tmp_path / "x.pt")["view"].detach()
    assert file.entries["view"].shape == tuple(loaded.shape)
    (array,) = dict(file.arrays(["view"])).values()
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, loaded.numpy())
    assert torch.equal(file.state_dict()["view"], loaded)


def test_of_a_large_storage_only_the_part_of_a_view_is_read(form: str, tmp_path: Path) -> None:
    flat = torch.arange(1_000_000.0)
    tensors = {f"layer.{i}": flat[i * 1000 : (i + 1) * 1000].view(10, 100) for i in range(1000)}
    file = Counting(save(tensors, tmp_path / "x.pt", form))
    stored = FORMATS[form](file)
    file.ranges.clear()
    for name, numbers in stored.arrays(["layer.999", "layer.3"]):
        np.testing.assert_array_equal(numbers, tensors[name].numpy())
    assert sum(stop - start for start, stop in file.ranges) < 8_300


def test_a_zip_takes_few_requests(tmp_path: Path) -> None:
    tensors = {f"layer.{i}": torch.full((100, 100), float(i)) for i in range(2000)}
    file = Counting(save({"model": tensors}, tmp_path / "x.pt", "zip"))
    stored = TorchZip(file)
    assert len(file.ranges) <= 4
    file.ranges.clear()
    arrays = dict(stored.arrays(f"layer.{i}" for i in (7, 3, 1999)))
    assert [array[0, 0] for _, array in sorted(arrays.items())] == [1999, 3, 7]
    assert sum(stop - start for start, stop in file.ranges) < 3 * 40_300 and len(file.ranges) == 3


def test_tied_tensors_and_parameters(form: str, tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(3, 3))
    weight.tag = "a tensor with attributes"  # type: ignore[attr-defined]
    file = opened({"embed": weight, "head": weight, "frozen": weight.detach()}, tmp_path, form)
    for _, numbers in file.arrays(["embed", "head", "frozen"]):
        np.testing.assert_array_equal(numbers, weight.detach().numpy())


def test_a_claim_of_terabytes_is_listed_and_not_expanded(form: str, tmp_path: Path) -> None:
    file = opened({"huge": torch.zeros(1).expand(10**12), "mix": torch.eye(2)}, tmp_path, form)
    assert (tmp_path / "x.pt").stat().st_size < 3000 and file.entries["huge"].shape == (10**12,)
    with pytest.raises(MhcDiagError, match=r"huge claims the shape \(1000000000000,\)"):
        dict(file.arrays(["mix", "huge"]))
    with pytest.raises(MhcDiagError, match="huge claims the shape"):
        file.state_dict()
    assert dict(file.arrays(["mix"]))["mix"].sum() == 2


@pytest.mark.filterwarnings("ignore")
def test_tensors_whose_numbers_are_not_plainly_there(tmp_path: Path) -> None:
    tensors = {
        "coo": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
        "meta": torch.empty(2, 5, device="meta"),
        "quantized": torch.quantize_per_tensor(torch.ones(4), 0.5, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "negated": torch._neg_view(torch.ones(3)),
        "mix": torch.eye(2),
    }
    file = opened(tensors, tmp_path, "zip")
    words = {name: entry.dtype for name, entry in file.entries.items()}
    assert words == {
        "coo": "sparse_coo float32",
        "csr": "sparse_csr float32",
        "meta": "meta float32",
        "quantized": "quantized qint8",
        "nested": "nested float32",
        "negated": "negated float32",
        "mix": "float32",
    }
    assert file.entries["coo"].shape == (3, 3) and file.entries["meta"].shape == (2, 5)
    for name in list(tensors)[:-1]:
        with pytest.raises(
            MhcDiagError, match=f"{name} is {words[name]}, whose numbers are not plainly there"
        ):
            dict(file.arrays([name]))
    assert dict(file.arrays(["mix"]))["mix"].sum() == 2


@pytest.fixture
def two_processes() -> Iterator[Any]:
    """A mesh of two processes of which only this one is there."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield dist.device_mesh.init_device_mesh("cpu", (2,))
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_one_part_of_a_distributed_tensor_is_never_the_whole(two_processes: Any, tmp_path: Path) -> None:
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

    local = torch.randn(4, 4)
    tensors = {
        "shard": DTensor.from_local(local, two_processes, [Shard(0)], run_check=False),
        "summand": DTensor.from_local(local, two_processes, [Partial()], run_check=False),
        "copy": DTensor.from_local(local, two_processes, [Replicate()], run_check=False),
        "parameter": torch.nn.Parameter(
            DTensor.from_local(local, two_processes, [Replicate()], run_check=False)
        ),
    }
    file = opened(tensors, tmp_path, "zip")
    assert file.entries["shard"].shape == (8, 4) and file.entries["copy"].shape == (4, 4)
    for name in ("shard", "summand"):
        with pytest.raises(MhcDiagError, match=f"{name} is sharded float32"):
            dict(file.arrays([name]))
    for _, numbers in file.arrays(["copy", "parameter"]):
        np.testing.assert_array_equal(numbers, local.numpy())
    assert file.notes == ()


def rewritten(path: Path, change: Any) -> Path:
    """An archive with each member (name, content) changed; torch aligns members, but reads any."""
    with zipfile.ZipFile(path) as old:
        members = [(member.filename, old.read(member)) for member in old.infolist()]
    new = path.with_name("new.pt")
    with zipfile.ZipFile(new, "w") as archive:
        for name, content in members:
            archive.writestr(name, change(name, content))
    return new


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64"])
def test_numbers_in_the_other_byte_order(dtype: str, tmp_path: Path) -> None:
    tensor = torch.arange(-3, 9).to(getattr(torch, dtype)).view(3, 4).T
    path = save({"x": tensor}, tmp_path / "x.pt", "zip")

    def swap(name: str, content: bytes) -> bytes:
        if "/data/" in name:
            return np.frombuffer(content, np.uint8).reshape(-1, BYTES[dtype])[:, ::-1].tobytes()
        return b"big" if name.endswith("/byteorder") else content

    new = rewritten(path, swap)
    file = TorchZip(LocalBytes(new))
    assert torch.equal(file.state_dict()["x"], tensor)
    assert torch.equal(torch.load(new)["x"], tensor)
    if dtype != "int64":
        np.testing.assert_array_equal(dict(file.arrays(["x"]))["x"], tensor.float().numpy())


class Part(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("dropped", torch.ones(2), persistent=False)
        self.register_parameter("absent", None)
        self.again = self.inner[0]
        self.config = {"n": 4}


def test_pickled_modules(form: str, tmp_path: Path) -> None:
    part = Part()
    file = opened({"epoch": 3, "network": part}, tmp_path, form)
    own = part.state_dict()
    assert list(file.entries) == list(own)
    for name, tensor in file.state_dict().items():
        assert torch.equal(tensor, own[name])
    assert file.config == {"n": 4} and file.metadata["epoch"] == 3


def test_a_module_within_itself_ends(form: str, tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    module._modules["self"] = module
    with pytest.raises(MhcDiagError, match="without end"):
        opened(module, tmp_path, form)
    doubled = torch.nn.Linear(2, 2)
    for _ in range(60):  # 2^60 paths
        doubled, inner = torch.nn.Module(), doubled
        doubled.a = doubled.b = inner
    with pytest.raises(MhcDiagError, match="without end"):
        opened(doubled, tmp_path, form)


def test_a_storage_that_is_too_small(tmp_path: Path) -> None:
    path = save({"x": torch.ones(100)}, tmp_path / "x.pt", "zip")
    new = rewritten(path, lambda name, content: content[:396] if name.endswith("data/0") else content)
    with pytest.raises(MhcDiagError, match="x needs 400 bytes of a storage that has 396"):
        TorchZip(LocalBytes(new))
    lacking = rewritten(path, lambda name, content: content.replace(b"\x00\x000q", b"\x00\x007q"))
    with pytest.raises(MhcDiagError, match="lacks the storage 7"):
        TorchZip(LocalBytes(lacking))


def test_a_view_outside_its_storage(form: str, tmp_path: Path) -> None:
    """Offsets and strides are numbers in the pickle: 300 as two bytes, which torch itself compares too."""
    tensor = torch.as_strided(torch.zeros(1000), (2, 3), (300, 1), 5)
    path = save({"x": tensor}, tmp_path / "x.pt", form)
    content = path.read_bytes()
    for old, new in ((b"M\x2c\x01", b"M\xe8\x03"), (b"K\x05", b"M\xff\xff")):
        path.write_bytes(content.replace(old, new, 1))
        if len(old) == len(new):
            with pytest.raises(MhcDiagError, match="x needs 4032 bytes of a storage that has 4000"):
                FORMATS[form](LocalBytes(path))


def test_members_that_are_not_where_they_should_be(tmp_path: Path) -> None:
    path = save({"x": torch.ones(100)}, tmp_path / "x.pt", "zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        header = archive.getinfo("x/data/0").header_offset
    content[header : header + 4] = b"XX\x03\x04"
    path.write_bytes(content)
    with pytest.raises(MhcDiagError, match="not where its directory has it"):
        dict(TorchZip(LocalBytes(path)).arrays(["x"]))


def test_cut_short_anywhere(form: str, tmp_path: Path) -> None:
    path = save({"x": torch.ones(100), "y": torch.ones(3)}, tmp_path / "x.pt", form)
    content = path.read_bytes()
    for length in range(0, len(content) - 1, 37):
        path.write_bytes(content[:length])
        with pytest.raises(MhcDiagError):
            FORMATS[form](LocalBytes(path))


def test_a_legacy_file_whose_storages_do_not_fit_its_list(tmp_path: Path) -> None:
    path = save({"x": torch.ones(300)}, tmp_path / "x.pt", "legacy")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"M\x2c\x01", b"M\x2d\x01"))
    with pytest.raises(MhcDiagError, match="needs"):
        TorchLegacy(LocalBytes(path))
    path.write_bytes(content.replace(struct.pack("<q", 300), struct.pack("<q", 299)))
    file = TorchLegacy(LocalBytes(path))
    with pytest.raises(MhcDiagError, match="has 299 numbers, and 300 were expected"):
        dict(file.arrays(["x"]))


def test_a_long_legacy_head_is_read_as_far_as_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mhc_diag.sources.files import torch_legacy

    monkeypatch.setattr(torch_legacy, "FIRST_READ", 100)
    tensors = {f"layer.{i}": torch.full((2,), float(i)) for i in range(100)}
    file = opened(tensors, tmp_path, "legacy")
    assert all((numbers == float(name[6:])).all() for name, numbers in file.arrays(tensors))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_version_of_pickles(protocol: int, form: str, tmp_path: Path) -> None:
    tensors = {"x": torch.arange(6.0).view(2, 3), "y": torch.ones(2, dtype=torch.int32)}
    path = tmp_path / "x.pt"
    torch.save(tensors, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in state_dict(path).items())


def test_the_format_of_torch_0_1_is_declined(tmp_path: Path) -> None:
    import tarfile

    from mhc_diag.sources.files.sniff import sniff

    (tmp_path / "sys_info").write_bytes(b"\x80\x02}.")
    with tarfile.open(tmp_path / "x.pth", "w") as archive:
        archive.add(tmp_path / "sys_info", "sys_info")
    with pytest.raises(MhcDiagError, match="tar archive"):
        sniff(LocalBytes(tmp_path / "x.pth"))
