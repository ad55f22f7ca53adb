"""Several files that are one model: what the index says, what is there, and what a stranger may not name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.files.safetensors_file import SafetensorsFile
from mhc_diag.sources.files.tensors import open_tensors, state_dict

A, B, C = (f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3))
INDEX = "model.safetensors.index.json"


def mix(layer: int) -> dict[str, torch.Tensor]:
    return {f"layers.{layer}.mix": torch.full((4, 4), float(layer))}


def index(shards: dict[str, str], folder: Path, **metadata: Any) -> Path:
    (folder / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": shards}))
    return folder / INDEX


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Three shards: two with a layer each, one with the head."""
    tensors = {A: mix(0) | {"embed": torch.ones(9, 2)}, B: mix(1), C: {"lm_head": torch.ones(3, 3)}}
    for shard, content in tensors.items():
        safetensors.torch.save_file(content, tmp_path / shard)
    index({name: shard for shard, content in tensors.items() for name in content}, tmp_path, total_size=1)
    (tmp_path / "config.json").write_text('{"hc_eps": 0.25}')
    return tmp_path


def test_index_and_folder_are_the_same_model(sharded: Path) -> None:
    for target in (sharded / INDEX, sharded, str(sharded) + "/", f"file://{sharded / INDEX}"):
        file = open_tensors(target)
        assert set(file.names) == {"layers.0.mix", "embed", "layers.1.mix", "lm_head"}
        assert file.config == {"hc_eps": 0.25} and file.metadata["total_size"] == 1
        assert (file.notes, file.absent, file.format) == ((), {}, "sharded safetensors")
        assert scan_checkpoint(target).matrices[:, 0, 0, 0].tolist() == [0, 1]
    assert (open_tensors(sharded).name, open_tensors(sharded / INDEX).name) == (sharded.name, INDEX)
    assert {k: t.shape for k, t in state_dict(sharded).items()}["embed"] == (9, 2)


def test_shards_may_be_links_as_in_the_hubs_cache(sharded: Path, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for i, shard in enumerate((A, B, C)):
        (sharded / shard).rename(blobs / f"{i}")
        (sharded / shard).symlink_to(f"blobs/{i}")
    assert len(open_tensors(sharded).names) == 4


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "", "..", "C:x", "a\\b"]
)
def test_no_file_outside_the_folder_can_be_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    safetensors.torch.save_file(mix(0) | mix(1), tmp_path / "secret.safetensors")
    target = index({"layers.0.mix": name, "layers.1.mix": name}, tmp_path / "model")
    with pytest.raises(MhcDiagError, match="names a file outside itself"):
        open_tensors(target)
    with pytest.raises(MhcDiagError, match="names a file outside itself"):
        open_tensors(tmp_path / "model")


def test_a_missing_shard_matters_only_if_it_holds_mixing(sharded: Path) -> None:
    (sharded / C).unlink()
    stack = scan_checkpoint(sharded)
    assert stack.matrices[:, 0, 0, 0].tolist() == [0, 1]
    assert any(
        f"1 files of the checkpoint are not there, first {C}" in note for note in stack.provenance.notes
    )
    with pytest.raises(MhcDiagError, match=rf"1 tensors are not there, first lm_head: {C}"):
        state_dict(sharded)
    (sharded / B).unlink()
    safetensors.torch.save_file(mix(0) | mix(7), sharded / A)
    with pytest.raises(MhcDiagError, match=rf"1 mixing parameters .* first layers.1.mix, .* in {B}") as error:
        scan_checkpoint(sharded)
    assert error.value.hint == f"fetch {B}" and not isinstance(error.value, NothingToCheck)


def test_where_nothing_is_found_the_missing_shards_are_named(sharded: Path) -> None:
    for shard in (A, B):
        (sharded / shard).unlink()
    with pytest.raises(NothingToCheck) as nothing:
        scan_checkpoint(sharded)
    assert any(f"not there, first {A}" in line for line in nothing.value.looked_at)
    (sharded / C).unlink()
    with pytest.raises(MhcDiagError, match=f"none of the 3 files that .*{INDEX} names, first {A}"):
        scan_checkpoint(sharded)


def test_files_win_over_the_index_and_it_is_told(sharded: Path) -> None:
    index({"layers.0.mix": B, "layers.1.mix": B, "gone": A, "lm_head": C}, sharded)
    file = open_tensors(sharded)
    assert file.absent == {"gone": A}
    assert [note.partition(": ")[2] for note in file.notes] == [
        "1 tensors are not in the files that it names, first gone",
        "1 tensors are in other files than it names, first layers.0.mix",
        "1 tensors are in the files and not in it, first embed",
    ]
    np.testing.assert_array_equal(dict(file.read(["layers.0.mix"]))["layers.0.mix"], np.zeros((4, 4)))


def test_of_two_tensors_with_one_name_the_index_decides_or_nobody(sharded: Path) -> None:
    safetensors.torch.save_file(
        {"layers.1.mix": torch.full((4, 4), 9.0), "lm_head": torch.ones(2)}, sharded / C
    )
    assert scan_checkpoint(sharded).matrices[:, 0, 0, 0].tolist() == [0, 1]
    (sharded / INDEX).unlink()
    with pytest.raises(MhcDiagError, match=rf"layers.1.mix is in {B} and in {C}, and nothing says which"):
        open_tensors(sharded)


def test_without_an_index_numbers_tell_what_is_missing(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    assert open_tensors(sharded).notes == ()
    (sharded / B).unlink()
    (note,) = open_tensors(sharded).notes
    assert note == f"1 files of the checkpoint are not there, first {B}: what is in them is not known"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "x", "a": "y"}}',
        '{"weight_map": {"\\ud800": "x"}}',
        "[" * 100_000,
        '{"weight_map": {}',
    ],
)
def test_a_damaged_index(content: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(MhcDiagError, match="damaged index of shards"):
        open_tensors(tmp_path / INDEX)


def test_shards_of_torch_files(tmp_path: Path) -> None:
    names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    for i, name in enumerate(names):
        torch.save(mix(i), tmp_path / name)
    weights = {f"layers.{i}.mix": name for i, name in enumerate(names)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weights}))
    for target in (tmp_path, tmp_path / "pytorch_model.bin.index.json"):
        assert scan_checkpoint(target).matrices[:, 0, 0, 0].tolist() == [0, 1]
    assert set(state_dict(tmp_path)) == set(weights)


def test_shards_are_read_one_after_the_other(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, list[str]]] = []
    arrays = SafetensorsFile.arrays

    def watched(self: SafetensorsFile, names: Any) -> Any:
        seen.append((Path(self._file.name).name, list(names)))
        return arrays(self, names)

    monkeypatch.setattr(SafetensorsFile, "arrays", watched)
    assert len(dict(open_tensors(sharded).read(["layers.1.mix", "embed", "layers.0.mix"]))) == 3
    assert seen == [(A, ["embed", "layers.0.mix"]), (B, ["layers.1.mix"])]


def test_elsewhere_a_missing_shard_is_the_same_and_a_damaged_one_is_named(served: Any, sharded: Path) -> None:
    for path in sharded.glob("*.*"):
        (served.folder / path.name).write_bytes(path.read_bytes())
    (served.folder / C).unlink()
    stack = scan_checkpoint(served.url + INDEX)
    assert stack.matrices[:, 0, 0, 0].tolist() == [0, 1]
    assert any(
        f"1 files of the checkpoint are not there, first {C}" in note for note in stack.provenance.notes
    )
    (served.folder / B).write_bytes((sharded / B).read_bytes()[:-4])
    with pytest.raises(MhcDiagError, match=f"{served.url}{B} is a truncated or malformed"):
        scan_checkpoint(served.url + INDEX)


def test_a_shard_alone_keeps_its_note(sharded: Path) -> None:
    assert open_tensors(sharded / A).notes == (
        "one shard of several: the layers in the other files are not in the composites",
    )


def test_a_key_is_for_torch_files(sharded: Path) -> None:
    with pytest.raises(MhcDiagError, match="--key is given"):
        open_tensors(sharded, key="model")


def test_a_distant_machine_is_no_path() -> None:
    with pytest.raises(MhcDiagError, match="is on another machine, server"):
        open_tensors("file://server/x.safetensors")
