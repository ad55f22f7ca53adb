"""Code in a file: in each place where an ordinary reader would run it."""

from __future__ import annotations

import collections
import io
import pickle
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

Ran = Callable[[bytes], bool]
TABLE = {f"blocks.{i}.mixing": torch.eye(4) for i in range(3)}


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def saved(state: object, *, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def before(pickled: bytes, code: bytes) -> bytes:
    """A pickle that runs code first, and then goes on as if nothing had been."""
    return pickled[:2] + code + b"0" + pickled[2:]


def calls(marker: Path) -> dict[str, bytes]:
    """Ways in which a pickle calls a function, as opcodes that leave one object on the stack."""
    command = f"touch {marker}"
    text = b"X" + len(command).to_bytes(4, "little") + command.encode()
    python = f"__import__('os').system({command!r})"
    source = b"X" + len(python).to_bytes(4, "little") + python.encode()
    words = {
        word: b"\x8c" + bytes([len(word)]) + word.encode() for word in ("os", "system", "os.system", "posix")
    }
    return {
        "reduce": b"cos\nsystem\n(" + text + b"tR",
        "posix": b"cposix\nsystem\n" + text + b"\x85R",
        "stack global": words["posix"] + words["system"] + b"\x93" + text + b"\x85R",
        "dotted": b"\x80\x04" + words["os"] + words["system"] + b"\x93" + text + b"\x85R",
        "inst": b"(" + text + b"ios\nsystem\n",
        "obj": b"(cos\nsystem\n" + text + b"o",
        "eval": b"cbuiltins\neval\n" + source + b"\x85R",
        "exec": b"cbuiltins\nexec\n" + source + b"\x85R",
        "getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nX\x02\x00\x00\x00os\x85R"
        + b"X\x06\x00\x00\x00systemtR"
        + text
        + b"\x85R",
        "popen": b"csubprocess\ncall\n("
        + b"](X\x05\x00\x00\x00touchX"
        + len(str(marker)).to_bytes(4, "little")
        + str(marker).encode()
        + b"etR",
        "through torch": b"ctorch.serialization\nos.system\n" + text + b"\x85R",
        "through numpy": b"cnumpy.testing._private.utils\nrunstring\n(" + source + b"}tR",
        "partial": b"cfunctools\npartial\n(cos\nsystem\n" + text + b"tR)R",
        "map": b"cbuiltins\nlist\ncbuiltins\nmap\n(cos\nsystem\n](" + text + b"etR\x85R",
    }


WAYS = sorted(calls(Path("x")))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_before_the_tensors(
    scan: Callable[..., Any], folder: Path, marker: Path, ran: Ran, way: str, zipped: bool
) -> None:
    code = calls(marker)[way]
    if way not in ("through torch", "through numpy"):  # which not every version lets pass
        assert ran(b"\x80\x04" + code.removeprefix(b"\x80\x04") + b".")
    data = saved(TABLE, zipped=zipped)
    if zipped:
        inside = members(data)
        inside["archive/data.pkl"] = before(inside["archive/data.pkl"], code)
        data = archive(inside)
    else:
        at = data.index(b"\x80\x02}")
        data = data[:at] + before(data[at:], code)
    (folder / "x.pt").write_bytes(data)
    done = scan("x.pt")
    if way != "through torch":  # an innocent name, and nothing is looked up or called in any case
        assert "would run" in done.refused()


@pytest.mark.parametrize("zipped", [True, False])
def test_beside_the_tensors(
    scan: Callable[..., Any], folder: Path, marker: Path, evil: object, zipped: bool
) -> None:
    for state in (
        {"state_dict": TABLE, "optimizer": {"state": evil}},
        {**TABLE, "args": [evil]},
        collections.OrderedDict(TABLE, config=evil),
    ):
        data = saved(state, zipped=zipped)
        torch.load(io.BytesIO(data), weights_only=False)
        assert marker.exists()
        marker.unlink()
        (folder / "x.pt").write_bytes(data)
        assert "posix.system" in scan("x.pt").refused()


class Sly(nn.Module):
    """A module whose unpickling is its own affair."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.mixing, self.path = nn.Parameter(torch.eye(4)), str(path)

    def __setstate__(self, state: dict[str, Any]) -> None:
        Path(state["path"]).touch()
        self.__dict__.update(state)


def test_in_the_class_of_a_pickled_module(scan: Callable[..., Any], folder: Path, marker: Path) -> None:
    """The class is not imported, so what its methods would do is not done."""
    torch.save(Sly(marker), folder / "x.pt")
    torch.load(folder / "x.pt", weights_only=False)
    assert marker.exists()
    marker.unlink()
    assert scan("x.pt").code in (0, 2, 3)


def test_in_a_module_that_lies_beside_the_file(scan: Callable[..., Any], folder: Path, marker: Path) -> None:
    """Named by the pickle, by the configuration, or as one of the standard library."""
    source = f"open({str(marker)!r}, 'w')\nclass Config: pass\n"
    for name in ("evil", "modeling_evil", "configuration_evil", "json", "torch", "sitecustomize", "__init__"):
        (folder / f"{name}.py").write_text(source)
    pickled = pickle.dumps(TABLE, 2)
    (folder / "x.pt").write_bytes(
        archive({"x/data.pkl": before(pickled, b"cevil\nConfig\n)R"), "x/version": b"3"})
    )
    assert scan("x.pt").refused()
    import safetensors.torch

    safetensors.torch.save_file(TABLE, folder / "model.safetensors")
    (folder / "config.json").write_text(
        '{"auto_map": {"AutoModel": "modeling_evil.Net"}, "model_type": "evil"}'
    )
    assert "blocks" in scan(".").reported()


@pytest.fixture
def distributed(folder: Path) -> Path:
    """A distributed checkpoint of three layers, with objects beside them."""
    state = {**TABLE, "extra": {"step": 3, "note": "x" * 300}}
    with warnings.catch_warnings(action="ignore"):
        dcp.save(state, checkpoint_id=folder / "dcp", no_dist=True)
    return folder / "dcp"


@pytest.mark.parametrize("way", WAYS)
def test_in_the_metadata_of_a_distributed_checkpoint(
    scan: Callable[..., Any], distributed: Path, marker: Path, way: str
) -> None:
    path = distributed / ".metadata"
    path.write_bytes(before(path.read_bytes(), calls(marker)[way]))
    done = scan("dcp")
    if way != "through torch":
        assert "would run" in done.refused()


def test_in_an_object_of_a_distributed_checkpoint(
    scan: Callable[..., Any], folder: Path, marker: Path, evil: object
) -> None:
    """Objects beside the tensors are not opened, so the tensors are read although the object is evil."""
    with warnings.catch_warnings(action="ignore"):
        dcp.save({**TABLE, "evil": evil}, checkpoint_id=folder / "dcp", no_dist=True)
    data = (folder / "dcp" / "__0_0.distcp").read_bytes()
    torch.load(io.BytesIO(data[: data.index(b"PK\x05\x06") + 22]), weights_only=False)
    assert marker.exists()
    marker.unlink()
    report = scan("dcp").reported()
    assert "blocks" in report and "not opened" in report


def test_in_a_chunk_of_a_distributed_checkpoint(
    scan: Callable[..., Any], distributed: Path, marker: Path
) -> None:
    path = distributed / "__0_0.distcp"
    data = path.read_bytes()
    old = b"ctorch._utils\n_rebuild_tensor_v2\n"
    assert data.count(old) == 3
    path.write_bytes(data.replace(old, b"cos\nsystem\n" + b"N0" * 11))
    assert "would run" in scan("dcp").refused()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for i in range(2):
            self.register_parameter(f"mixing_{i}", nn.Parameter(torch.eye(4)))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.mixing_0 @ self.mixing_1


def test_in_the_example_of_a_program(
    scan: Callable[..., Any], folder: Path, marker: Path, evil: object
) -> None:
    stream = io.BytesIO()
    torch.export.save(torch.export.export(Net(), (torch.ones(2, 4),)), stream)
    inside = members(stream.getvalue())
    example = next(name for name in inside if "sample_inputs" in name)
    (folder / "x.pt2").write_bytes(archive(inside | {example: saved(evil)}))
    assert "mixing_1" in scan("x.pt2").reported()


def test_in_the_weights_of_a_program(
    scan: Callable[..., Any], folder: Path, marker: Path, evil: object
) -> None:
    """The layouts before torch 2.9 keep them in a pickle."""
    for name in ("serialized_state_dict.pt", "x/data/weights/model.pt"):
        inside = {name: saved({**TABLE, "x": evil}), "serialized_exported_program.json": b"{}"}
        (folder / "x.pt2").write_bytes(
            archive(inside | {"x/archive_format": b"pt2"} if "/" in name else inside)
        )
        assert "posix.system" in scan("x.pt2").refused()


def test_the_marker_can_be_made(marker: Path) -> None:
    subprocess.run(["touch", str(marker)], check=True)
    assert marker.exists() and np.isfinite(marker.stat().st_mtime)
