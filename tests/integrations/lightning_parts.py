"""What a Trainer of lightning needs to train an unstable model; importing it imports lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint as ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from unstable import BATCHES, Unstable

from mhc_diag.integrations.lightning import MhcCallback as MhcCallback


class Backend(Logger):  # type: ignore[misc]
    """Keeps what every logger gets."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[tuple[int, dict[str, float]]] = []

    name, version = "backend", 0  # type: ignore[assignment]

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append((int(step or 0), dict(metrics)))


class Wrapped(lightning.LightningModule):  # type: ignore[misc]
    """The usual form: the model is the only child, and training calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Unstable()

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        self.model.note()
        return self.model(**batch)["loss"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer_of(folder: Path, callback: MhcCallback, steps: int = 50, **options: Any) -> Any:
    return lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=Backend(),
        callbacks=[callback],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"enable_checkpointing": False, **options},
    )


def fit(trainer: Any, model: Wrapped, **options: Any) -> None:
    trainer.fit(model, torch.utils.data.DataLoader(BATCHES, batch_size=1), **options)
