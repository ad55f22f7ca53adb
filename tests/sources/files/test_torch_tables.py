"""Training checkpoints: the model's table is found, asked for, or said to be one of several."""

import argparse
import enum
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.torch_loaded import TorchLoaded
from mhc_diag.sources.files.torch_tables import NESTS
from mhc_diag.sources.files.torch_zip import TorchZip

MIX = {"mix": torch.eye(2)}
OTHER = {"other": torch.eye(3)}


class Kind(enum.Enum):
    MHC = "mhc"


@dataclass
class Config:
    streams: int = 4
    kind: Kind = Kind.MHC
    inner: dict[str, Any] = field(default_factory=lambda: {"eps": 1e-6, "sizes": [1, 2]})
    where: Path = Path("a/b")


def opened(value: Any, folder: Path, key: str | None = None) -> TorchZip:
    torch.save(value, folder / "x.pt")
    return TorchZip(LocalBytes(folder / "x.pt"), key=key)


@pytest.mark.parametrize("nest", NESTS)
def test_usual_names(nest: str, tmp_path: Path) -> None:
    assert list(opened({"epoch": torch.tensor(3), nest: MIX}, tmp_path).entries) == ["mix"]


FOUND: dict[str, Any] = {
    "beside an optimizer": {"weird": MIX, "optimizer_state": {"exp": torch.eye(2)}, "optim": {"a": OTHER}},
    "beside an optimizer by what it holds": {"a": MIX, "b": {"state": {0: OTHER}, "param_groups": []}},
    "beside schedulers": {"weird": MIX, "lr_scheduler": OTHER, "scheduler": OTHER, "rng_state": OTHER},
    "beside a step": {"step": torch.tensor(3), "mine": MIX},
    "far down": {"state": {"inner": {"model": MIX}}, "x": {"y": {"z": 1}}},
    "a list": [MIX, 3, {"state": {0: OTHER}, "param_groups": []}],
    "a tuple in a dictionary": {"nets": (MIX,)},
    "usual name in vain": {"model": {"depth": 3}, "mine": MIX},
    "a module's attribute": {"trainer": argparse.Namespace(net=MIX, lr=0.1)},
    "Python objects as keys": {("a", 1): OTHER, 3: MIX, 2.5: OTHER},
    "one table by two names": {"model": MIX, "ema": MIX},
    "Megatron": {
        "args": argparse.Namespace(n=1),
        "checkpoint_version": 3.0,
        "model": MIX,
        "rng_state": [OTHER],
    },
}


@pytest.mark.parametrize("case", FOUND)
def test_the_only_table_of_a_model_is_found(case: str, tmp_path: Path) -> None:
    assert list(opened(FOUND[case], tmp_path).entries) == ["mix"]


def test_several_are_listed_and_chosen_by_path(tmp_path: Path) -> None:
    names = {"a.x.y": "p", "a.x.z": "q", "b.0": "r", "b.1.c": "s"}
    tables = {path: {name: torch.eye(2)} for path, name in names.items()}
    value = {
        "a": {"x.y": tables["a.x.y"], "x": {"z": tables["a.x.z"]}},
        "b": [tables["b.0"], {"c": tables["b.1.c"]}],
    }
    with pytest.raises(MhcDiagError, match="several tables") as error:
        opened(value, tmp_path)
    assert all(f"{path} (1 tensor)" in error.value.message for path in names)
    assert "--key a.x.y" in error.value.hint
    for path, name in {**names, "a.x": "q", "b.1": "s"}.items():
        assert list(opened(value, tmp_path, path).entries) == [name]


def test_usual_names_win_and_the_rest_is_told(tmp_path: Path) -> None:
    value = {"generator": MIX, "discriminator": OTHER}
    file = opened(value, tmp_path)
    assert list(file.entries) == ["mix"]
    assert file.notes == ("read generator and not discriminator; --key chooses",)
    assert list(opened(value, tmp_path, "discriminator").entries) == ["other"]


def test_an_optimizer_can_be_asked_for(tmp_path: Path) -> None:
    assert list(
        opened({"model": MIX, "optimizer": {"exp": torch.eye(3)}}, tmp_path, "optimizer").entries
    ) == ["exp"]


@pytest.mark.parametrize("key", ["none", "model.mix", "", "model.", "0", "step"])
def test_a_key_that_leads_nowhere(key: str, tmp_path: Path) -> None:
    with pytest.raises(MhcDiagError, match=r"no table of tensors at .*; there are: model \(1 tensor\)"):
        opened({"model": MIX, "step": 3}, tmp_path, key)
    with pytest.raises(MhcDiagError, match="there are: none"):
        opened({"step": 3}, tmp_path, key)


def test_names_from_the_file_are_escaped(tmp_path: Path) -> None:
    with pytest.raises(MhcDiagError) as error:
        opened({"\x1b[31ma": MIX, "\x1b[31mb": OTHER}, tmp_path)
    assert "\x1b" not in error.value.message + error.value.hint


def test_lightning(tmp_path: Path) -> None:
    value = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {"model.mix": torch.eye(2)},
        "loops": {"fit": {"state": torch.ones(3)}},
        "callbacks": {"ema": OTHER},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.eye(2)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [{"last_epoch": 3}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"config": Config(), "lr": 0.1},
    }
    file = opened(value, tmp_path)
    assert list(file.entries) == ["model.mix"]
    assert file.metadata["pytorch-lightning_version"] == "2.5.0" and file.metadata["epoch"] == 3
    assert file.config is not None and file.config["lr"] == 0.1
    assert file.config["config"]["streams"] == 4
    assert any("test_torch_tables.Config" in note for note in file.notes)


@pytest.mark.parametrize("name", ["config", "cfg", "args", "hyper_parameters", "hparams", "model_args"])
def test_configurations_of_any_class_are_mappings(name: str, tmp_path: Path) -> None:
    plain = {"streams": 4, "kind": "mhc", "inner": {"eps": 1e-6, "sizes": [1, 2]}}
    found = opened({"model": MIX, name: Config()}, tmp_path).config
    assert found is not None and {k: found[k] for k in plain} == plain
    namespace = argparse.Namespace(streams=2, extra=argparse.Namespace(eps=0.5))
    assert opened({"model": MIX, name: namespace}, tmp_path).config == {"streams": 2, "extra": {"eps": 0.5}}


def test_a_configuration_without_end_ends(tmp_path: Path) -> None:
    loop: dict[str, Any] = {"n": 4}
    loop["self"] = loop
    wide: list[Any] = [1, 2]
    for _ in range(60):
        wide = [wide, wide]
    found = opened({"model": MIX, "config": {"n": 4, "loop": loop, "wide": wide}}, tmp_path).config
    assert found is not None and found["n"] == 4 and found["loop"]["self"]["n"] == 4


def test_tables_that_share_and_contain_each_other_end(tmp_path: Path) -> None:
    wide: list[Any] = []
    for _ in range(200):
        wide = [wide] * 100
    loop: dict[str, Any] = {"wide": wide}
    loop["state"] = loop
    with pytest.raises(MhcDiagError, match="no table of named tensors; found wide, state"):
        opened(loop, tmp_path)


def test_what_was_loaded_is_searched_the_same_way(tmp_path: Path) -> None:
    value = {"a": MIX, "b": {"c": OTHER}, "config": {"n": 4}}
    torch.save(value, tmp_path / "x.pt")
    with pytest.raises(MhcDiagError, match="several tables"):
        TorchLoaded(tmp_path / "x.pt")
    file = TorchLoaded(tmp_path / "x.pt", key="b.c")
    assert list(file.entries) == ["other"] and file.config == {"n": 4}


HARMFUL = {
    "objects within objects": b"c__main__\nX\n" * 2000 + b")R" + b"\x85R" * 1999,
    "a large object a thousand times": b"c__main__\nX\n)R}(" + b"".join(
        b"X\x05\x00\x00\x00%05dN" % i for i in range(20_000)
    ) + b"ubq\x000](" + b"h\x00" * 20_000 + b"e",
    "deep": b"]" * 100_000 + b"a" * 99_999,
}  # fmt: skip


@pytest.mark.parametrize("what", HARMFUL)
@pytest.mark.parametrize("where", ["config", "model"])
def test_values_that_would_take_for_ever(what: str, where: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"mine": MIX}, path)
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    head, rest = members["x/data.pkl"][:3], members["x/data.pkl"][3:]
    key = b"X" + struct.pack("<I", len(where)) + where.encode()
    members["x/data.pkl"] = head + key + HARMFUL[what] + b"s" + rest
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    assert list(TorchZip(LocalBytes(path)).entries) == ["mix"]


def test_modules_that_share_a_large_table(tmp_path: Path) -> None:
    large, top = torch.nn.Module(), torch.nn.Module()
    large._modules.update(dict.fromkeys(map(str, range(3000)), torch.nn.Module()))  # type: ignore[arg-type]
    large.__dict__.update(dict.fromkeys(map("a{}".format, range(3000)), 0))
    top._modules.update(dict.fromkeys(map(str, range(3000)), large))  # type: ignore[arg-type]
    with pytest.raises(MhcDiagError, match="without end"):
        opened(top, tmp_path)


def test_a_thousand_objects_that_share_a_large_state(tmp_path: Path) -> None:
    large = dict.fromkeys(map("a{}".format, range(3000)), 0)
    objects = [argparse.Namespace() for _ in range(3000)]
    for each in objects:
        each.__dict__ = large
    with pytest.raises(MhcDiagError, match="without end"):
        opened({"mine": MIX, "objects": objects}, tmp_path)


def test_parts_of_modules_with_names_that_are_none(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    name: Any = (("a", 1), 2)
    module._parameters[name] = module._modules[name] = module  # type: ignore[index, assignment]
    module._modules[3] = torch.nn.Linear(2, 2)  # type: ignore[index]
    assert list(opened({"net": module}, tmp_path).entries) == ["weight", "bias"]
