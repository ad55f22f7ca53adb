"""What one of two ranks does under torchrun: a framework trains a model on it, with the callback.

    torchrun --nproc-per-node 2 ranks_train.py transformers FOLDER

The mixing depends on the token, so ranks with other data apply other matrices. Each rank keeps what it
applied, and leaves that with what it was told in FOLDER/{rank}.pt.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mhc_diag import Policy
from mhc_diag.watch.door import is_probed

N, C, VOCABULARY = 4, 8, 11
LIMIT, STEPS = 2.5, 12
draw = torch.Generator().manual_seed(3)
DATA = [
    {
        "input_ids": torch.randint(0, VOCABULARY, (6,), generator=draw),
        "labels": torch.randint(0, 3, (6,), generator=draw),
    }
    for _ in range(64)
]


class Mixing(nn.Module):
    """A matrix for each token, (B, S, C) to (B, S, n, n)."""

    def __init__(self) -> None:
        super().__init__()
        self.static = nn.Parameter(torch.eye(N) + 0.01 * torch.rand(N, N))
        self.weights = nn.Linear(C, N * N)

    def forward(self, x: Tensor) -> Tensor:
        return self.static + 0.2 * torch.tanh(self.weights(x)).unflatten(-1, (N, N))


class Site(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing, self.branch = Mixing(), nn.Linear(C, C)

    def forward(self, streams: Tensor) -> Tensor:
        m = self.mixing(streams.mean(-2))
        self.applied = m.detach()
        return m @ streams + self.branch(torch.tanh(streams.mean(-2)))[..., None, :]


class Growing(nn.Module):
    """Its loss rewards gain."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(VOCABULARY, C), nn.Linear(C, 3)
        self.sites = nn.ModuleList(Site() for _ in range(3))
        self.applied: list[Tensor] = []

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        streams = self.embed(input_ids)[..., None, :].expand(*input_ids.shape, N, C)
        for site in self.sites:
            streams = site(streams)
        if self.training and not is_probed():
            self.applied.append(torch.stack([site.applied.flatten(0, 1) for site in self.sites]))
        logits = self.head(torch.tanh(streams.mean(-2)))
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
        return {"loss": loss - sum(site.mixing.static.trace() for site in self.sites), "logits": logits}


def transformers(folder: Path, callback_options: dict[str, Any]) -> tuple[Growing, Any, int]:
    from transformers import Trainer, TrainingArguments

    from mhc_diag.integrations.transformers import MhcCallback

    model = Growing()
    how: dict[str, Any] = {"max_steps": STEPS, "logging_steps": 1, "per_device_train_batch_size": 2}
    how |= {"report_to": [], "use_cpu": True, "ddp_backend": "gloo", "disable_tqdm": True}
    how |= {"save_strategy": "steps", "save_steps": 3, "max_grad_norm": 0, "dataloader_pin_memory": False}
    arguments = TrainingArguments(str(folder), **how)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    trainer = Trainer(model, arguments, train_dataset=DATA, optimizers=(optimizer, constant))
    callback = MhcCallback(**callback_options).attach(trainer)
    trainer.train()
    return model, callback, trainer.state.global_step


def lightning(folder: Path, callback_options: dict[str, Any]) -> tuple[Growing, Any, int]:
    from lightning.pytorch.strategies import DDPStrategy

    return fitted(folder, callback_options, DDPStrategy(process_group_backend="gloo"))


def lightning_in_shards(folder: Path, callback_options: dict[str, Any]) -> tuple[Growing, Any, int]:
    """FSDP2, on the mesh of data and tensor parallel that lightning makes."""
    from lightning.pytorch.strategies import ModelParallelStrategy

    how: dict[str, Any] = {
        "data_parallel_size": 2,
        "tensor_parallel_size": 1,
        "process_group_backend": "gloo",
    }
    return fitted(folder, callback_options, ModelParallelStrategy(**how))


def fitted(folder: Path, callback_options: dict[str, Any], strategy: Any) -> tuple[Growing, Any, int]:
    import lightning.pytorch as pl

    from mhc_diag.integrations.lightning import MhcCallback

    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = Growing()

        def configure_model(self) -> None:
            from torch.distributed.fsdp import fully_shard

            mesh = getattr(self, "_device_mesh", None)
            if mesh is not None:
                fully_shard(self.model, mesh=mesh["data_parallel"])

        def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
            return self.model(**batch)["loss"]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.02)

    callback, module = MhcCallback(**callback_options), Module()
    how: dict[str, Any] = {"accelerator": "cpu", "devices": 2, "max_steps": STEPS, "logger": False}
    how |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(strategy=strategy, callbacks=[callback], default_root_dir=folder, **how)
    trainer.fit(module, torch.utils.data.DataLoader(DATA, batch_size=2))
    return module.model, callback, trainer.global_step


def main() -> None:
    framework, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ways = {"transformers": transformers, "lightning": lightning, "lightning-fsdp2": lightning_in_shards}
        run = ways[framework]
        options = {"policy": Policy(max_gain=LIMIT), "on_alert": "stop"}
        model, callback, steps = run(folder, options)
    found = {
        "applied": [m.double().numpy() for m in model.applied],
        "rows": callback.watch.history,
        "alerts": [(alert.step, alert.metric) for alert in callback.watch.alerts],
        "steps": steps,
        "warned": sum("allowed is at most" in str(w.message) for w in told),
        "notes": callback.watch.notes,
    }
    torch.save(found, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
