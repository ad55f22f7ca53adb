"""Files of tensors: same names, shapes and numbers whatever wrote them, and no code run."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.tensors import load_pickled_module, open_tensors, state_dict
from mhc_diag.sources.files.torch_tables import NESTS

TENSORS = {
    "layers.1.mix": torch.tensor([[0.1, -2.5], [3e-5, 7.0]]),
    "layers.1.bf16": torch.tensor([1.0, -2.5, 3.1415926, 1e38]).bfloat16(),
    "layers.1.f16": torch.tensor([1.0, -2.5, 6e-8]).half(),
    "layers.1.f64": torch.tensor([[1 / 3]], dtype=torch.float64),
    "layers.1.count": torch.tensor([7]),
}
WRITERS: dict[str, Callable[[dict[str, torch.Tensor], Path], Any]] = {
    "zip": torch.save,
    "legacy": lambda t, p: torch.save(t, p, _use_new_zipfile_serialization=False),
    "safetensors": safetensors.torch.save_file,
}


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(3, 3)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("writer", WRITERS)
def test_same_names_shapes_and_numbers_from_every_format(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "any.file"
    WRITERS[writer](TENSORS, path)
    file = open_tensors(path)
    assert set(file.names) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert file.shape(name) == tuple(tensor.shape)
        assert file.dtype(name) == str(tensor.dtype).removeprefix("torch.")
    floats = [n for n in TENSORS if n != "layers.1.count"]
    for name, array in file.read(floats):
        assert array.dtype == (np.float64 if name == "layers.1.f64" else np.float32)
        np.testing.assert_array_equal(array, TENSORS[name].double().numpy().astype(array.dtype))
    for name, tensor in state_dict(path).items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor.double(), TENSORS[name].double())


@pytest.mark.parametrize(
    ("writer", "dtype"),
    [(writer, dtype) for writer in WRITERS for dtype in (torch.int64, torch.bool)],
)
def test_numbers_that_mean_nothing_by_themselves_are_refused(
    writer: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    WRITERS[writer]({"exotic": torch.ones(2).to(dtype), "mix": torch.eye(2)}, path)
    file = open_tensors(path)
    assert dict(file.read(["mix"]))["mix"].sum() == 2
    with pytest.raises(MhcDiagError, match="exotic is (int64|bool)") as error:
        dict(file.read(["exotic"]))
    assert "float32" in error.value.hint


def test_tensors_without_plain_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"sparse": torch.eye(3).to_sparse(), "nowhere": torch.empty(2, device="meta")}, path)
    file = open_tensors(path)
    for name, dtype in (("sparse", "sparse_coo float32"), ("nowhere", "meta float32")):
        with pytest.raises(MhcDiagError, match=f"{name} is {dtype}"):
            dict(file.read([name]))


def test_file_order_is_kept(tmp_path: Path) -> None:
    torch.save({"z": torch.ones(1), "a": torch.ones(1), "m": torch.ones(1)}, tmp_path / "x.pt")
    assert open_tensors(tmp_path / "x.pt").names == ("z", "a", "m")


@pytest.mark.parametrize("wrapped", [True, False])
def test_only_what_is_asked_for_is_read(
    wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"large": torch.ones(1_000_000), "mix": torch.eye(2), "larger": torch.ones(2_000_000)}
    torch.save(tensors, tmp_path / "x.pt", _use_new_zipfile_serialization=wrapped)
    read: list[int] = []
    original = LocalBytes.read

    def spy(self: LocalBytes, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        for part in original(self, ranges):
            read.append(len(part))
            yield part

    monkeypatch.setattr(LocalBytes, "read", spy)
    file = open_tensors(tmp_path / "x.pt")
    np.testing.assert_array_equal(dict(file.read(["mix"]))["mix"], np.eye(2))
    assert sum(read) < (400_000 if wrapped else 1_200_000)


def test_a_claim_of_terabytes_costs_nothing(tmp_path: Path) -> None:
    torch.save({"huge": torch.zeros(1).expand(10**12), "mix": torch.eye(2)}, tmp_path / "x.pt")
    file = open_tensors(tmp_path / "x.pt")
    assert file.shape("huge") == (10**12,)
    np.testing.assert_array_equal(dict(file.read(["mix"]))["mix"], np.eye(2))


@pytest.mark.parametrize("nest", NESTS)
def test_training_checkpoints_are_descended(nest: str, tmp_path: Path) -> None:
    inner = {"mix": torch.eye(2)}
    top = {"step": 3, "config": {"hc_eps": 0.5}, "epoch": torch.tensor(1), nest: {"state_dict": inner}}
    torch.save({**top, "optimizer": {"state": {0: torch.ones(2)}}}, tmp_path / "x.ckpt")
    file = open_tensors(tmp_path / "x.ckpt")
    assert file.names == ("mix",)
    assert file.config == {"hc_eps": 0.5}
    assert file.metadata["step"] == 3


def test_a_nest_without_tensors_is_no_candidate_and_two_with_tensors_are_ambiguous(tmp_path: Path) -> None:
    inner = {"mix": torch.eye(2)}
    torch.save({"model": {"depth": 3}, "state_dict": inner}, tmp_path / "x.pt")
    assert open_tensors(tmp_path / "x.pt").names == ("mix",)
    torch.save({"model": inner, "state_dict": inner}, tmp_path / "y.pt")
    assert open_tensors(tmp_path / "y.pt").names == ("mix",)  # one table by two names
    torch.save({"model": inner, "state_dict": {"mix": torch.eye(3)}}, tmp_path / "z.pt")
    with pytest.raises(MhcDiagError, match=r"model \(1 tensor\), state_dict \(1 tensor\)") as error:
        open_tensors(tmp_path / "z.pt")
    assert "--key" in error.value.hint
    assert open_tensors(tmp_path / "z.pt", key="state_dict").shape("mix") == (3, 3)
    assert state_dict(tmp_path / "z.pt", key="state_dict")["mix"].shape == (3, 3)


@pytest.mark.parametrize(
    ("content", "found"),
    [([torch.ones(2)], "a list"), (torch.ones(2), "a Tensor"), ({"epoch": 3}, "epoch"), ({}, "nothing")],
)
def test_no_table_of_tensors(content: Any, found: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(MhcDiagError, match=f"holds no table of named tensors; found {found}"):
        open_tensors(tmp_path / "x.pt")


def test_a_table_that_contains_itself_ends(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    torch.save(loop, tmp_path / "x.pt")
    with pytest.raises(MhcDiagError, match="no table of named tensors"):
        open_tensors(tmp_path / "x.pt")


def test_wrappers_are_taken_off_at_any_depth(tmp_path: Path) -> None:
    raw = {
        "module._orig_mod.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.mix": torch.eye(2),
        "_forward_module.layers.1.module.mix": torch.eye(2),
        "layers.2.submodule.mix": torch.eye(2),
    }
    torch.save(raw, tmp_path / "x.pt")
    clean = ("layers.0.mix", "layers.1.mix", "layers.2.submodule.mix")
    assert open_tensors(tmp_path / "x.pt").names == clean
    assert tuple(state_dict(tmp_path / "x.pt")) == clean


def test_a_name_that_only_looks_wrapped_is_not_lost(tmp_path: Path) -> None:
    torch.save({"mix": torch.zeros(1), "module.mix": torch.ones(1)}, tmp_path / "x.pt")
    arrays = dict(open_tensors(tmp_path / "x.pt").read(["mix", "module.mix"]))
    assert (arrays["mix"][0], arrays["module.mix"][0]) == (0, 1)
    torch.save({"inner.module.mix": torch.ones(1), "module.b": torch.ones(1)}, tmp_path / "y.pt")
    assert set(state_dict(tmp_path / "y.pt", expected=["inner.module.mix"])) == {"inner.module.mix", "b"}


def test_a_model_loads_what_was_saved_from_it(tmp_path: Path) -> None:
    net, other = Net(), Net()
    torch.save({"model": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "x.pt")
    other.load_state_dict(state_dict(tmp_path / "x.pt"))
    assert torch.equal(net.mix.weight, other.mix.weight)


@pytest.mark.parametrize("new", [True, False])
def test_a_pickled_module_is_read_without_its_class(new: bool, tmp_path: Path) -> None:
    path, net = tmp_path / "net.pt", Net()
    torch.save(net, path, _use_new_zipfile_serialization=new)
    file = open_tensors(path)
    assert file.names == tuple(net.state_dict())
    np.testing.assert_array_equal(dict(file.read(["mix.weight"]))["mix.weight"], net.mix.weight.detach())
    assert any("without running its code" in note and f"{__name__}.Net" in note for note in file.notes)
    assert torch.equal(state_dict(path)["mix.weight"], net.mix.weight)
    assert isinstance(load_pickled_module(path), Net)
    assert "mix.weight" in open_tensors(path, unsafe_pickle=True).names
    assert "mix.weight" in state_dict(path, unsafe_pickle=True)


@pytest.mark.parametrize("new", [True, False])
def test_no_code_of_a_file_is_run(new: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "trap.pt", tmp_path / "mark"
    torch.save({"mix": torch.eye(2), "x": Trap(mark)}, path, _use_new_zipfile_serialization=new)
    for read in (open_tensors, state_dict):
        with pytest.raises(MhcDiagError, match=r"names .*Path.touch, which no checkpoint needs") as error:
            read(path)
    assert not mark.exists() and "--unsafe-pickle" in error.value.hint
    open_tensors(path, unsafe_pickle=True)
    assert mark.exists()


def test_only_a_module_counts_as_one(tmp_path: Path) -> None:
    torch.save({"mix": torch.eye(2)}, tmp_path / "x.pt")
    assert load_pickled_module(tmp_path / "x.pt") is None
    safetensors.torch.save_file({"mix": torch.eye(2)}, tmp_path / "x.safetensors")
    assert load_pickled_module(tmp_path / "x.safetensors") is None


@pytest.mark.parametrize("writer", WRITERS)
def test_damage_behind_a_good_start(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    WRITERS[writer](TENSORS, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 5])
    with pytest.raises(MhcDiagError, match="truncated"):
        open_tensors(path)


def test_a_pickle_of_rubbish_inside_a_sound_archive(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name, content in (
            ("data.pkl", b"\x80\x02rubbish"),
            ("version", b"3\n"),
            ("byteorder", b"little"),
        ):
            archive.writestr(f"x/{name}", content)
    with pytest.raises(MhcDiagError, match="damaged") as error:
        open_tensors(tmp_path / "x.pt")
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    "header",
    [
        b'{"a": [1]}',
        b"{" + b"x" * 9,
        b'{"mix":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}',
        b'{"mix":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"mix":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    ],
)
def test_headers_that_lie(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(MhcDiagError, match="malformed safetensors"):
        open_tensors(path)


def test_config_beside_a_file(tmp_path: Path) -> None:
    safetensors.torch.save_file({"mix": torch.eye(2)}, tmp_path / "x.safetensors", {"format": "pt"})
    torch.save({"mix": torch.eye(2)}, tmp_path / "x.bin")
    assert open_tensors(tmp_path / "x.safetensors").config is None
    (tmp_path / "config.json").write_text(json.dumps({"hc_eps": 0.25}))
    for name in ("x.safetensors", "x.bin"):
        assert open_tensors(tmp_path / name).config == {"hc_eps": 0.25}
    assert open_tensors(tmp_path / "x.safetensors").metadata == {"format": "pt"}
    for broken in ("{broken", "[" * 100_000):
        (tmp_path / "config.json").write_text(broken)
        with pytest.raises(
            MhcDiagError, match=r"config.json, the configuration beside x.bin, cannot be read"
        ):
            open_tensors(tmp_path / "x.bin")


def test_names_are_escaped_in_messages(tmp_path: Path) -> None:
    torch.save({"\x1b[31mmix": torch.ones(2, dtype=torch.int64)}, tmp_path / "x.pt")
    with pytest.raises(MhcDiagError) as error:
        dict(open_tensors(tmp_path / "x.pt").read(["\x1b[31mmix"]))
    assert "\x1b" not in error.value.message


@pytest.mark.parametrize("writer", WRITERS)
def test_reading_needs_no_torch(writer: str, tmp_path: Path) -> None:
    WRITERS[writer]({"mix": torch.eye(2).bfloat16()}, tmp_path / "x")
    code = (
        "import sys, pathlib; from mhc_diag.sources.files.tensors import open_tensors;"
        f"file = open_tensors(pathlib.Path({str(tmp_path / 'x')!r}));"
        "print(dict(file.read(['mix']))['mix'].sum());"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2.0\n"), done.stderr
