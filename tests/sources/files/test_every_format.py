"""One model in every form in which it can be had: the stacks differ in nothing but where they came from."""

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch import nn

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack
from mhc_diag.sources import inventory
from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.files.tensors import state_dict
from mhc_diag.sources.target import Request, scan

LAYERS, N, C = 3, 4, 16
DRAW = torch.Generator().manual_seed(5)


def model() -> dict[str, torch.Tensor]:
    """DeepSeek's names, in three dtypes, with a head that is not read."""
    tensors = {"embed.weight": torch.randn(64, C, generator=DRAW).bfloat16()}
    for i in range(LAYERS):
        for kind in ("attn", "ffn"):
            start = f"layers.{i}.hc_{kind}_"
            tensors[start + "fn"] = torch.randn(N * N + 2 * N, N * C, generator=DRAW).bfloat16()
            tensors[start + "base"] = torch.randn(N * N + 2 * N, generator=DRAW)
            tensors[start + "scale"] = torch.rand(3, generator=DRAW).half()
        tensors[f"layers.{i}.ffn.weight"] = torch.randn(200, C, generator=DRAW)
    return tensors


TENSORS = model()
CONFIG = {"hc_sinkhorn_iters": 7, "hc_eps": 1e-5}


def zipped(folder: Path) -> Path:
    torch.save(TENSORS, folder / "model.pt")
    return folder / "model.pt"


def legacy(folder: Path) -> Path:
    torch.save(TENSORS, folder / "model.pth", _use_new_zipfile_serialization=False)
    return folder / "model.pth"


def nested(folder: Path) -> Path:
    torch.save({"model": {f"module.{k}": v for k, v in TENSORS.items()}, "step": 3}, folder / "last.ckpt")
    return folder / "last.ckpt"


def plain_bin(folder: Path) -> Path:
    torch.save(TENSORS, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def lightning(folder: Path) -> Path:
    """As its trainer lays it out."""
    saved = {"epoch": 3, "global_step": 90, "pytorch-lightning_version": "2.5.0", "state_dict": TENSORS}
    saved |= {"loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {}, "hyper_parameters": dict(CONFIG)}
    torch.save(saved | {"optimizer_states": [{"state": {}}], "lr_schedulers": []}, folder / "epoch=3.ckpt")
    return folder / "epoch=3.ckpt"


def distributed(folder: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):  # that there is but one process
        dcp.save(dict(TENSORS), checkpoint_id=folder, no_dist=True)
    return folder


def program(folder: Path) -> Path:
    torch.export.save(torch.export.export(tree(), (torch.ones(2),)), folder / "model.pt2")
    return folder / "model.pt2"


class Branch(nn.Module):
    """A node of a model that does nothing with its tensors."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + sum(tensor.float().sum() for tensor in self.state_dict(keep_vars=True).values())


def tree() -> nn.Module:
    """A module whose state is TENSORS."""
    root = Branch()
    for name, tensor in TENSORS.items():
        *path, last = name.split(".")
        node: nn.Module = root
        for part in path:
            if part not in node._modules:
                node.add_module(part, Branch())
            node = node.get_submodule(part)
        node.register_parameter(last, nn.Parameter(tensor.clone()))
    return root


def one_file(folder: Path) -> Path:
    safetensors.torch.save_file(TENSORS, folder / "model.safetensors")
    return folder / "model.safetensors"


def sharded(folder: Path, save: Callable[..., Any], start: str, end: str) -> Path:
    """Every third tensor in one shard, so that sites are spread over several."""
    weights = {}
    for i in range(3):
        shard = dict(list(TENSORS.items())[i::3])
        save(shard, folder / f"{start}-0000{i + 1}-of-00003{end}")
        weights |= dict.fromkeys(shard, f"{start}-0000{i + 1}-of-00003{end}")
    (folder / f"{start}{end}.index.json").write_text(json.dumps({"weight_map": weights}))
    return folder / f"{start}{end}.index.json"


def safe_shards(folder: Path) -> Path:
    return sharded(folder, safetensors.torch.save_file, "model", ".safetensors")


def torch_shards(folder: Path) -> Path:
    return sharded(folder, torch.save, "pytorch_model", ".bin")


def hub_folder(folder: Path) -> Path:
    torch_shards(folder)
    return safe_shards(folder).parent


def no_index(folder: Path) -> Path:
    safe_shards(folder).unlink()
    return folder


FORMS = [
    *(zipped, legacy, nested, plain_bin, lightning, distributed, program),
    *(one_file, safe_shards, torch_shards, hub_folder, no_index),
]
SAFE = [one_file, safe_shards]


def written(form: Callable[[Path], Path], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return form(folder)


def same(stack: MixingStack, expected: MixingStack) -> None:
    for part in ("matrices", "logits", "pre", "post"):
        np.testing.assert_array_equal(getattr(stack, part), getattr(expected, part), strict=True)
    assert stack.sites == expected.sites
    notes = tuple(note for note in stack.provenance.notes if "beside it" not in note)
    told = replace(stack.provenance, target=expected.provenance.target, notes=notes)
    assert told == expected.provenance


@pytest.fixture
def expected(tmp_path: Path) -> MixingStack:
    return scan_checkpoint(written(one_file, tmp_path / "expected"))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_one_model_in_every_form(form: Callable[[Path], Path], expected: MixingStack, tmp_path: Path) -> None:
    assert expected.provenance.settings["hc_sinkhorn_iters"] == 7
    target = written(form, tmp_path / "other")
    same(scan_checkpoint(target), expected)
    found = state_dict(target)
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def bytes_needed(folder: Path) -> int:
    """Headers and mixing tensors, config and index; in whatever order they lie."""
    names = [f for f in folder.iterdir() if f.suffix == ".safetensors"]
    headers = sum(8 + int.from_bytes(path.read_bytes()[:8], "little") for path in names)
    mixing = sum(t.numel() * t.element_size() for name, t in TENSORS.items() if ".hc_" in name)
    return headers + mixing + sum(path.stat().st_size for path in folder.glob("*.json"))


@pytest.mark.parametrize("form", SAFE, ids=lambda form: form.__name__)
def test_over_http_only_what_is_needed_travels(
    form: Callable[[Path], Path], served: Any, expected: MixingStack
) -> None:
    target = written(form, served.folder)
    same(scan_checkpoint(served.url + target.name + "?download=true"), expected)
    assert served.sent <= 1.05 * bytes_needed(served.folder)
    files = len(list(served.folder.iterdir()))
    assert len(served.asked) <= 3 * files + 3


def test_a_login_and_a_signature_are_used_and_never_shown(served: Any, expected: MixingStack) -> None:
    written(one_file, served.folder)
    address = served.url.replace("//", "//me:password@") + "model.safetensors?sig=secret"
    (stack,) = scan(Request(address))
    same(stack, expected)
    assert stack.provenance.target == served.url + "model.safetensors"
    assert "password" not in repr(stack) and "secret" not in repr(stack)
    assert {login for _, _, login in served.asked} == {"Basic bWU6cGFzc3dvcmQ="}
    served.deny["gone.pt"] = 404
    for request in (Request(address, input=Path("x.pt")), Request(address.replace("model.safe", "gone.pt?"))):
        with pytest.raises(MhcDiagError) as error:
            scan(request)
        assert "password" not in error.value.message and "secret" not in error.value.message
    assert inventory.take(address).target == served.url + "model.safetensors"


def test_a_live_model_takes_its_tensors_from_anywhere(served: Any) -> None:
    written(hub_folder, served.folder)
    for address in ("model.safetensors.index.json", ""):
        found = state_dict(served.url + address)
        assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
        assert [found[name].dtype for name in TENSORS] == [tensor.dtype for tensor in TENSORS.values()]


@pytest.mark.parametrize("form", FORMS[:-1], ids=lambda form: form.__name__)
def test_one_model_in_every_form_over_http(
    form: Callable[[Path], Path], served: Any, expected: MixingStack
) -> None:
    """But for shards without an index, which no web server lists."""
    target = written(form, served.folder)
    same(scan_checkpoint(served.url + ("" if target == served.folder else target.name)), expected)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_in_a_file_system_of_fsspec(
    form: Callable[[Path], Path], expected: MixingStack, tmp_path: Path
) -> None:
    target = written(form, tmp_path / "other")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "other"), "/bucket/model", recursive=True)
    try:
        inside = "" if target.is_dir() else f"/{target.name}"
        same(scan_checkpoint(f"memory://bucket/model{inside}"), expected)
        assert torch.equal(
            state_dict(f"memory://bucket/model{inside}")["embed.weight"], TENSORS["embed.weight"]
        )
    finally:
        memory.rm("/bucket", recursive=True)
        shutil.rmtree(tmp_path / "other")


def test_a_url_without_config(served: Any) -> None:
    (one_file(served.folder).parent / "config.json").unlink(missing_ok=True)
    for status in (403, 404):
        served.deny["config.json"] = status
        notes = scan_checkpoint(served.url + "model.safetensors").provenance.notes
        assert any("no configuration tells hc_eps" in note for note in notes)
    served.deny = {}
    (served.folder / "config.json").write_text("<!doctype html><html>the front page</html>")
    notes = scan_checkpoint(served.url + "model.safetensors").provenance.notes
    assert any("no configuration tells hc_eps" in note for note in notes)


@pytest.mark.parametrize("form", [zipped, legacy, nested, torch_shards], ids=lambda form: form.__name__)
def test_torch_files_over_http(
    form: Callable[[Path], Path], served: Any, expected: MixingStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(TENSORS):
        if name.endswith("ffn.weight"):  # so large that nobody would fetch it on the way
            monkeypatch.setitem(TENSORS, name, torch.zeros(10**6))
    target = written(form, served.folder)
    same(scan_checkpoint(f"{served.url}{target.name}"), expected)
    assert served.sent < 1_500_000
