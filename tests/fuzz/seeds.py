"""Write small valid files of every format, each in a folder of its own: what the mutations start from.

    python tests/fuzz/seeds.py FOLDER

makes FOLDER/FORMAT/NUMBER/ with the files. What to scan is `target` there, a file or a folder, or the index.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

NAMED = "hc_attn", "hc_ffn"


def deepseek(layers: int = 2, n: int = 2, c: int = 4) -> dict[str, Tensor]:
    rows = n * n + 2 * n
    tensors = {}
    for i in range(layers):
        for kind in NAMED:
            tensors[f"layers.{i}.{kind}_fn"] = torch.randn(rows, n * c)
            tensors[f"layers.{i}.{kind}_base"] = torch.randn(rows)
            tensors[f"layers.{i}.{kind}_scale"] = torch.rand(3)
    return tensors


def square(dtype: torch.dtype = torch.float32, n: int = 4) -> dict[str, Tensor]:
    stack = torch.eye(n).repeat(3, 1, 1) + 0.1 * torch.randn(3, n, n)
    return {f"blocks.{i}.mixing": stack[i].to(dtype) for i in range(3)}


def views() -> dict[str, Tensor]:
    """Tensors that share a storage, are transposed, or are tied."""
    stack = torch.eye(4).repeat(3, 1, 1) + 0.1 * torch.randn(3, 4, 4)
    table = {f"module.blocks.{i}.mixing": stack[i].t() for i in range(3)}
    return {**table, "head": stack[0], "step": torch.tensor(5)}


def trained(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What a training loop saves."""
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {
        "state_dict": nn.Linear(2, 2).state_dict() | tensors,
        "optimizer": optimizer,
        "epoch": 3,
        "pytorch-lightning_version": "2.5",
        "config": {"hc_sinkhorn_iters": 7, "hc_eps": 1e-5},
    }


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        for i in range(2):
            self.register_parameter(f"mixing_{i}", nn.Parameter(torch.eye(4) + 0.1 * torch.randn(4, 4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[0](x @ self.mixing_0) + self.blocks[1](x @ self.mixing_1)


def torch_files(root: Path) -> None:
    for format, zipped in (("zip", True), ("legacy", False)):
        tables = [
            deepseek(),
            square(torch.bfloat16),
            views(),
            trained(deepseek()),
            square(torch.float8_e4m3fn),
        ]
        for number, table in enumerate(tables):
            folder = made(root, format, number)
            torch.save(table, folder / "target", _use_new_zipfile_serialization=zipped)


def safetensors_files(root: Path) -> None:
    tables = [deepseek(), square(torch.bfloat16), {"module.blocks.mixing": torch.eye(4).repeat(3, 1, 1)}]
    for number, table in enumerate(tables):
        path = made(root, "safetensors", number) / "target"
        safetensors.torch.save_file(table, path, metadata={"format": "pt"})


def folders(root: Path) -> None:
    """Shards behind an index, named itself and as a folder with its configuration."""
    for number, (format, table) in enumerate(
        [("index", deepseek()), ("hf", deepseek()), ("index", square()), ("hf", square(torch.float16))]
    ):
        target = made(root, format, number) / "target"
        folder = target if format == "hf" else target.parent
        folder.mkdir(exist_ok=True)
        names = list(table)
        parts = {
            "model-00001-of-00002.safetensors": names[::2],
            "model-00002-of-00002.safetensors": names[1::2],
        }
        for file, held in parts.items():
            safetensors.torch.save_file({name: table[name] for name in held}, folder / file)
        where = {name: file for file, held in parts.items() for name in held}
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {"total_size": 100}, "weight_map": where}))
        config = {"model_type": "deepseek_v4", "hc_mult": 2, "hc_sinkhorn_iters": 5, "hc_eps": 1e-6}
        (folder / "config.json").write_text(json.dumps(config))


def checkpoints(root: Path) -> None:
    """Folders of torch.distributed.checkpoint."""
    optimizer = {"state": {"x": {"exp_avg": torch.zeros(3)}}}
    tables: list[dict[str, Any]] = [
        deepseek(),
        {"model": square(), "optim": optimizer, "step": 3, "rng": [1, 2]},
    ]
    for number, table in enumerate(tables):
        dcp.save(table, checkpoint_id=made(root, "dcp", number) / "target", no_dist=True)


def programs(root: Path) -> None:
    exported = torch.export.export(Net(), (torch.ones(2, 4),))
    with (made(root, "program", 0) / "target").open("wb") as stream:
        torch.export.save(exported, stream)


def made(root: Path, format: str, number: int) -> Path:
    folder = root / format / str(number)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    for write in (torch_files, safetensors_files, folders, checkpoints, programs):
        write(Path(sys.argv[1]))
