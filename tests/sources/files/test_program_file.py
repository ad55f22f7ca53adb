"""Weights of exported programs, against the model that was exported."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.program_file import ProgramFile
from mhc_diag.sources.target import Request, scan


class Site(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(4, 4))
        self.low = nn.Parameter(torch.randn(2, 4, dtype=torch.bfloat16))
        self.turned = nn.Parameter(torch.randn(2, 3).t())
        self.tied = self.mixing
        self.register_buffer("seen", torch.arange(5.0)[1:3])
        self.register_buffer("scratch", torch.ones(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        extra = self.low.float().sum() + self.turned.sum() + self.seen.sum() + self.scratch.sum()
        return self.mixing @ x @ self.tied + extra


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.sites = nn.ModuleList([Site(), Site()])

    def forward(self, x: Tensor) -> Tensor:
        for site in self.sites:
            x = site(x)
        return x


@pytest.fixture(scope="module")
def program() -> tuple[Net, bytes]:
    model, stream = Net(), io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # of a buffer that is a part of its storage
        torch.export.save(torch.export.export(model, (torch.ones(4, 4),)), stream)
    return model, stream.getvalue()


def opened(path: Path, key: str | None = None) -> dict[str, np.ndarray]:
    stored = ProgramFile(LocalBytes(path), key=key)
    return dict(stored.arrays(stored.entries))


def same(found: dict[str, np.ndarray], model: nn.Module) -> None:
    state = model.state_dict()
    assert sorted(found) == sorted(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.float().numpy())


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, inside: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in inside.items():
            archive.writestr(name, data)
    return path


def test_the_numbers_of_every_parameter_and_buffer(tmp_path: Path, program: tuple[Net, bytes]) -> None:
    model, data = program
    (tmp_path / "x.pt2").write_bytes(data)
    same(opened(tmp_path / "x.pt2"), model)
    stored = ProgramFile(LocalBytes(tmp_path / "x.pt2"))
    assert stored.entries["sites.1.low"].dtype == "bfloat16"
    live = stored.state_dict()
    state = model.state_dict()
    assert all(torch.equal(live[n], state[n]) and live[n].dtype == state[n].dtype for n in state)


def test_a_scan_reads_it_without_running_it(
    tmp_path: Path, program: tuple[Net, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = program
    (tmp_path / "x.pt2").write_bytes(data)
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("it was loaded"))
    (stack,) = scan(Request(str(tmp_path / "x.pt2")))
    mixing = [site.mixing.detach().double().numpy() for site in model.sites]
    by_label = {site.label: matrix[0] for site, matrix in zip(stack.sites, stack.matrices, strict=True)}
    for i, matrix in enumerate(mixing):
        np.testing.assert_array_equal(by_label[f"sites.{i}.mixing"], matrix)
    assert stack.provenance.method == "static"


def test_torch_is_not_imported(tmp_path: Path, program: tuple[Net, bytes]) -> None:
    (tmp_path / "x.pt2").write_bytes(program[1])
    code = (
        "import sys, pathlib; from mhc_diag.sources.files.tensors import open_tensors\n"
        "file = open_tensors(pathlib.Path(sys.argv[1])); print(len(dict(file.read(file.names))))\n"
        "assert 'torch' not in sys.modules"
    )
    path = str(tmp_path / "x.pt2")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == "10\n"


def test_the_layouts_that_keep_the_weights_in_one_pickle(tmp_path: Path) -> None:
    """As torch wrote them up to 2.6, and up to 2.8."""
    model, stream = Net(), io.BytesIO()
    torch.save(model.state_dict(), stream)
    old = {"version": b"8.7", "serialized_exported_program.json": b"{}"}
    same(opened(written(tmp_path / "a", {**old, "serialized_state_dict.pt": stream.getvalue()})), model)
    later = {"x/archive_format": b"pt2", "x/models/model.json": b"{}"}
    same(opened(written(tmp_path / "b", {**later, "x/data/weights/model.pt": stream.getvalue()})), model)


def test_several_programs_in_one_archive(tmp_path: Path) -> None:
    from torch.export.pt2_archive._package import package_pt2

    one, other = Net(), Net()
    other.sites = nn.ModuleList([Site()])
    example = (torch.ones(4, 4),)
    programs = {"one": torch.export.export(one, example), "other": torch.export.export(other, example)}
    with warnings.catch_warnings(action="ignore"):
        package_pt2(str(tmp_path / "x.pt2"), exported_programs=programs)
    with pytest.raises(MhcDiagError, match="several programs, one, other") as error:
        opened(tmp_path / "x.pt2")
    assert "--key one" in error.value.hint
    same(opened(tmp_path / "x.pt2", "other"), other)
    with pytest.raises(MhcDiagError, match="no program 'third'; found one, other"):
        opened(tmp_path / "x.pt2", "third")


def test_what_aotinductor_compiled_is_declined(tmp_path: Path) -> None:
    inside = {"x/archive_format": b"pt2", "x/data/aotinductor/model/m.wrapper.so": b"\x7fELF"}
    with pytest.raises(MhcDiagError, match="was compiled by AOTInductor"):
        opened(written(tmp_path / "x", inside))
    with pytest.raises(MhcDiagError, match="of a layout that is not known"):
        opened(written(tmp_path / "y", {"x/archive_format": b"pt2", "x/models/model.json": b"{}"}))


def test_pickled_weights_are_left_out_and_told(tmp_path: Path, program: tuple[Net, bytes]) -> None:
    def pickled(table: Any) -> None:
        table["config"]["sites.0.turned"]["use_pickle"] = True

    path = changed(tmp_path / "x", program[1], pickled)
    assert "sites.0.turned" not in opened(path)
    assert ProgramFile(LocalBytes(path)).notes == (
        "1 of the program's weights are pickled tensors of other classes, and were not read",
    )


def changed(path: Path, data: bytes, change: Callable[[Any], None]) -> Path:
    inside = members(data)
    name = next(name for name in inside if name.endswith("_weights_config.json"))
    table = json.loads(inside[name])
    change(table)
    return written(path, inside | {name: json.dumps(table).encode()})


META = ("config", "sites.0.mixing", "tensor_meta")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("config",), [], "something else in place of an object"),
        (("config", "sites.0.mixing"), None, "something else in place of an object"),
        (("config", "sites.0.mixing", "path_name"), "../../x", "in no member of the archive"),
        (("config", "sites.0.mixing", "path_name"), 3, "in no member of the archive"),
        ((*META, "dtype"), 99, "no dtype that is known"),
        ((*META, "dtype"), 8, "needs 128 bytes of a storage that has 64"),
        ((*META, "sizes"), [{"as_int": 1 << 40}, {"as_int": 1 << 40}], "needs .* bytes"),
        ((*META, "sizes"), [{"as_int": -4}, {"as_int": 4}], "impossible numbers"),
        ((*META, "sizes"), [{"as_int": 10**30}, {"as_int": 4}], "impossible numbers"),
        ((*META, "sizes"), [{"as_expr": {"expr_str": "s0"}}, {"as_int": 4}], "impossible numbers"),
        ((*META, "sizes"), [{"as_int": 4}], "2 strides for 1 dimensions"),
        ((*META, "strides"), [{"as_int": 1 << 50}, {"as_int": 1}], "needs .* bytes"),
        ((*META, "storage_offset"), {"as_int": 1}, "needs 68 bytes of a storage that has 64"),
    ],
)
def test_tables_that_lie(
    tmp_path: Path, program: tuple[Net, bytes], place: tuple[str, ...], value: object, told: str
) -> None:
    def lie(table: Any) -> None:
        for key in place[:-1]:
            table = table[key]
        table[place[-1]] = value

    with pytest.raises(MhcDiagError, match=told):
        ProgramFile(LocalBytes(changed(tmp_path / "x", program[1], lie)))


def test_a_tensor_of_terabytes_is_listed_and_not_expanded(tmp_path: Path, program: tuple[Net, bytes]) -> None:
    def lie(table: Any) -> None:
        meta = table["config"]["sites.0.mixing"]["tensor_meta"]
        meta |= {"sizes": [{"as_int": 1 << 40}], "strides": [{"as_int": 0}]}

    stored = ProgramFile(LocalBytes(changed(tmp_path / "x", program[1], lie)))
    assert stored.entries["sites.0.mixing"].dtype == "expanded float32"
