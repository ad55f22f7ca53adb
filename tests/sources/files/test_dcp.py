"""Folders of torch.distributed.checkpoint, against what was saved and what torch itself reads back."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import pickled
from mhc_diag.sources.files.bytes import LocalFolder
from mhc_diag.sources.files.dcp import DcpFolder
from mhc_diag.sources.files.tensors import open_tensors, state_dict

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


def saved(state: dict[str, Any], path: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):
        dcp.save(state, checkpoint_id=path, no_dist=True)
    return path


def read(path: Path, key: str | None = None) -> dict[str, np.ndarray]:
    stored = DcpFolder(LocalFolder(path), key=key)
    return dict(stored.arrays(stored.entries))


def wide(tensor: Tensor) -> np.ndarray:
    return tensor.to(torch.float64 if tensor.dtype == torch.float64 else torch.float32).numpy()


def same(found: dict[str, np.ndarray], tensors: dict[str, Tensor]) -> None:
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == wide(tensor).dtype
        np.testing.assert_array_equal(found[name], wide(tensor))


def rewritten(path: Path, change: Any) -> None:
    """Change the metadata as torch's own objects, and pickle them again."""
    metadata = pickle.loads((path / ".metadata").read_bytes())
    change(metadata)
    (path / ".metadata").write_bytes(pickle.dumps(metadata))


def test_every_dtype_shape_and_layout_of_tensors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    big = torch.randn(6, 5)
    state = {f"x.{str(dtype)[6:]}": torch.randn(3, 4).to(dtype) for dtype in DTYPES}
    state |= {
        "view": big[1:4, ::2],
        "turned": big.t(),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
    }
    same(read(saved(state, tmp_path / "x")), state)
    stored = DcpFolder(LocalFolder(tmp_path / "x"))
    assert [stored.entries[n].dtype for n in stored.entries] == [str(t.dtype)[6:] for t in state.values()]
    assert all(stored.entries[n].shape == tuple(t.shape) for n, t in state.items())


def test_for_a_live_model_in_its_own_dtypes(tmp_path: Path) -> None:
    state = {"a": torch.randn(2, 3).bfloat16(), "b": torch.arange(4), "c": torch.randn(3, 2).t()}
    path = saved(state, tmp_path / "x")
    found = state_dict(path)
    assert all(torch.equal(found[n], t) and found[n].dtype == t.dtype for n, t in state.items())


def test_a_training_state_without_its_optimizer_and_objects(tmp_path: Path) -> None:
    model = {f"module.layers.{i}.mix": torch.randn(2, 2) for i in (0, 1, 10, 2)}
    state = {
        "model": model,
        "optimizer": {"state": {"layers.0.mix": {"exp_avg": torch.ones(2, 2)}}},
        "step": 7,
        "seen": torch.tensor(3),
        "config": {"lr": [0.1]},
    }
    path = saved(state, tmp_path / "x")
    same(read(path), model)
    notes = " ".join(DcpFolder(LocalFolder(path)).notes)
    assert "1 tensor was left out: of the optimizer" in notes
    assert "were not opened: step, config.lr" in notes
    assert open_tensors(path).names == tuple(name.removeprefix("module.") for name in model)
    assert list(read(path, "optimizer.state")) == ["layers.0.mix.exp_avg"]
    with pytest.raises(
        MhcDiagError, match="no tensors under 'ema'; its names begin with model, optimizer, seen"
    ):
        read(path, "ema")


def test_two_tables_that_could_be_the_model(tmp_path: Path) -> None:
    one, other = {"mix": torch.eye(2)}, {"mix": torch.zeros(2, 2)}
    path = saved({"model": one, "state_dict": other}, tmp_path / "x")
    with pytest.raises(MhcDiagError, match="several tables of tensors") as error:
        read(path)
    assert "--key" in error.value.hint
    same(read(path, "state_dict"), other)


def test_names_that_begin_as_tables_do(tmp_path: Path) -> None:
    """A model's own `model.`, which is no key of a nested state, stays."""
    tensors = {"model.layers.0.mix": torch.eye(2), "lm_head.weight": torch.zeros(2, 3)}
    same(read(saved(tensors, tmp_path / "x")), tensors)


def test_keys_that_do_not_spell_the_name_are_not_believed(tmp_path: Path) -> None:
    tensors = {"a.mix": torch.eye(2), "b.mix": torch.zeros(2, 2)}
    path = saved(tensors, tmp_path / "x")
    lies = {"a.mix": ("model", "b.mix"), "b.mix": ("optimizer", "a", "mix")}
    rewritten(path, lambda metadata: setattr(metadata, "planner_data", lies))
    same(read(path), tensors)


def sharded(path: Path, blocks: list[tuple[slice, slice]]) -> Tensor:
    """A 6 x 5 tensor in blocks, each where a process of its own would have written it."""
    torch.manual_seed(1)
    whole = torch.randn(6, 5)
    saved({str(i): whole[block].clone() for i, block in enumerate(blocks)}, path)

    def joined(metadata: Metadata) -> None:
        chunks = []
        for i, block in enumerate(blocks):
            entry = metadata.state_dict_metadata.pop(str(i))
            offset = torch.Size([block[0].start, block[1].start])
            chunks.append(ChunkStorageMetadata(offset, entry.chunks[0].sizes))
            old = MetadataIndex(str(i), torch.Size([0, 0]))
            metadata.storage_data[MetadataIndex("mix", offset, i)] = metadata.storage_data.pop(old)
        entry.size, entry.chunks = whole.shape, chunks
        metadata.state_dict_metadata["mix"] = entry
        metadata.planner_data = None

    rewritten(path, joined)
    return whole


ROWS, LOW, HIGH = slice(0, 6), slice(0, 2), slice(2, 6)
SPLITS = {
    "rows": [(LOW, slice(0, 5)), (HIGH, slice(0, 5))],
    "columns": [(ROWS, slice(3, 5)), (ROWS, slice(0, 3))],
    "uneven blocks": [(LOW, slice(0, 5)), (HIGH, slice(0, 1)), (HIGH, slice(1, 5))],
}


@pytest.mark.parametrize("blocks", SPLITS.values(), ids=SPLITS)
def test_a_tensor_in_chunks(tmp_path: Path, blocks: list[tuple[slice, slice]]) -> None:
    whole = sharded(tmp_path / "x", blocks)
    same(read(tmp_path / "x"), {"mix": whole})
    back = {"mix": torch.empty(6, 5)}
    with warnings.catch_warnings(action="ignore"):
        dcp.load(back, checkpoint_id=tmp_path / "x", no_dist=True)
    assert torch.equal(back["mix"], whole), "the folder is one that torch reads too"
    assert torch.equal(state_dict(tmp_path / "x")["mix"], whole)


def test_chunks_that_overlap_or_leave_holes(tmp_path: Path) -> None:
    for blocks in (
        [(LOW, slice(0, 5)), (slice(1, 3), slice(0, 5)), (slice(4, 6), slice(0, 5))],
        [(ROWS, slice(0, 2)), (ROWS, slice(1, 3)), (ROWS, slice(4, 5))],
    ):
        sharded(tmp_path / "overlap", blocks)
        with pytest.raises(MhcDiagError, match="chunks of mix overlap"):
            read(tmp_path / "overlap")
        shutil.rmtree(tmp_path / "overlap")
    sharded(tmp_path / "hole", [(LOW, slice(0, 5)), (slice(2, 5), slice(0, 5))])
    with pytest.raises(MhcDiagError, match="chunks of mix hold 25 numbers, its shape .6, 5. 30"):
        read(tmp_path / "hole")
    sharded(tmp_path / "twice", [(LOW, slice(0, 5)), (HIGH, slice(0, 5)), (LOW, slice(0, 5))])
    with pytest.raises(MhcDiagError, match="mix"):
        read(tmp_path / "twice")


RANKS = """
import sys, torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
whole = torch.load(f"{folder}/whole.pt")
kinds = {"columns": Shard(1), "replicated": Replicate()}
parts = {n: distribute_tensor(t, mesh, [kinds.get(n, Shard(0))]) for n, t in whole.items()}
dcp.save({"model": parts, "step": 3}, checkpoint_id=f"{folder}/dcp")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_written_by_two_processes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shapes = {"rows": (4, 4), "columns": (4, 6), "replicated": (3, 3), "uneven": (5, 2), "one": (1, 3)}
    whole = {name: torch.randn(shape) for name, shape in shapes.items()}
    torch.save(whole, tmp_path / "whole.pt")
    ranks = [subprocess.Popen([sys.executable, "-c", RANKS, str(r), str(tmp_path)]) for r in range(2)]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    assert {"__0_0.distcp", "__1_0.distcp"} <= {file.name for file in (tmp_path / "dcp").iterdir()}
    found = read(tmp_path / "dcp")
    assert found.keys() == whole.keys()
    for name, tensor in whole.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("relative_path", "../__0_0.distcp", "names a file outside itself"),
        ("relative_path", "/etc/passwd", "names a file outside itself"),
        ("relative_path", "gone.distcp", "does not exist"),
        ("relative_path", 3, "a chunk is in no file"),
        ("offset", 1 << 40, "truncated"),
        ("offset", -1, "no offset or length"),
        ("length", 1 << 40, "truncated"),
        ("length", 8, "cannot hold the chunk"),
        ("offset", 7, "at .0, 0., (is truncated|has|is no tensor)"),
        ("transform_descriptors", ["stream.zstd/1"], "compressed float32"),
    ],
)
def test_places_that_cannot_be(tmp_path: Path, field: str, value: object, told: str) -> None:
    path = saved({"mix": torch.eye(4), "other": torch.zeros(4, 4)}, tmp_path / "x")
    index = MetadataIndex("mix", [0, 0])
    rewritten(path, lambda metadata: setattr(metadata.storage_data[index], field, value))
    with pytest.raises(MhcDiagError, match=told):
        file = open_tensors(path)
        assert "outside" not in told, "a file outside the folder is refused before anything is read"
        list(file.read(file.names))


def test_a_chunk_of_another_tensor(tmp_path: Path) -> None:
    """The bytes decide: a chunk of another shape or dtype than is said is no chunk of this tensor."""
    for other in (torch.zeros(2, 8), torch.zeros(4, 4, dtype=torch.int32)):
        path = saved({"mix": torch.eye(4), "other": other}, tmp_path / "x")

        def exchanged(metadata: Metadata) -> None:
            data = metadata.storage_data
            data[MetadataIndex("mix", [0, 0])] = data[MetadataIndex("other", [0, 0])]

        rewritten(path, exchanged)
        with pytest.raises(MhcDiagError, match="expected float32 .4, 4."):
            read(path)
        shutil.rmtree(path)


def test_a_claim_of_terabytes(tmp_path: Path) -> None:
    """A million chunks that are all the same bytes are refused before anything is allocated."""
    path = saved({"mix": torch.zeros(64, 64)}, tmp_path / "x")

    def repeated(metadata: Metadata) -> None:
        entry, info = metadata.state_dict_metadata["mix"], next(iter(metadata.storage_data.values()))
        entry.size = torch.Size([64 * 20_000, 64])
        offsets = [torch.Size([64 * i, 0]) for i in range(20_000)]
        entry.chunks = [ChunkStorageMetadata(offset, torch.Size([64, 64])) for offset in offsets]
        metadata.storage_data = {MetadataIndex("mix", offset): info for offset in offsets}

    rewritten(path, repeated)
    with pytest.raises(MhcDiagError, match="truncated"):
        read(path)


def test_a_metadata_that_is_cut_short(tmp_path: Path) -> None:
    path = saved({"mix": torch.eye(4)}, tmp_path / "x")
    whole = (path / ".metadata").read_bytes()
    for length in (0, 1, 100, len(whole) - 1):
        (path / ".metadata").write_bytes(whole[:length])
        with pytest.raises(MhcDiagError, match=r"\.metadata is a truncated or damaged table"):
            read(path)


def test_a_table_of_very_many_chunks_is_read_if_it_is_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {f"layer.{i}": torch.full((2,), float(i)) for i in range(50)}
    saved(state, tmp_path / "x")
    monkeypatch.setattr(pickled, "MOST", 100_000)
    with pytest.raises(MhcDiagError, match="too many objects") as refused:
        open_tensors(tmp_path / "x")
    assert "--unsafe-pickle" in (refused.value.hint or "")
    file = open_tensors(tmp_path / "x", unsafe_pickle=True)
    same(dict(file.read(list(file.names))), state)


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = saved({"mix": torch.eye(4)}, tmp_path / "x")
    code = (
        "import sys, pathlib; from mhc_diag.sources.files.tensors import open_tensors\n"
        "file = open_tensors(pathlib.Path(sys.argv[1])); print(dict(file.read(file.names))['mix'].sum())\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == "4.0\n"
