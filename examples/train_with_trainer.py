"""Train the model of train_hc.py with the Trainer of transformers, watched by a callback.

    pip install 'mhc-diag[train]'
    python examples/train_with_trainer.py

The gains are among what the Trainer logs, as `mhc/forward_max` and the like, so that whatever `report_to`
names gets them. Records go to run.jsonl in the output folder; a composite gain above the limit ends the run.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from train_hc import Model, batches  # type: ignore[import-not-found]  # beside this file
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

import mhc_diag
from mhc_diag.integrations.transformers import MhcCallback


class WithLoss(nn.Module):
    """The model with the arguments and the results that a Trainer expects."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Logits, and how badly the labels are told."""
        logits = self.model(input_ids)
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def prepared(how: argparse.Namespace) -> Trainer:
    """A Trainer with its model, its data and its callback."""
    set_seed(how.seed)
    model = WithLoss(Model(how.layers, how.channels, how.streams, how.context, how.mhc))
    data = batches(1, how.context, how.seed)
    lines = [next(data) for _ in range(how.batch * how.steps)]
    arguments = TrainingArguments(
        how.output,
        max_steps=how.steps,
        per_device_train_batch_size=how.batch,
        learning_rate=how.lr,
        logging_steps=how.log_every,
        seed=how.seed,
        save_strategy="no",
        report_to=[],  # or "tensorboard", "wandb", "mlflow"
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    dataset: Any = [{"input_ids": ids[0], "labels": after[0]} for ids, after in lines]
    trainer = Trainer(model, arguments, train_dataset=dataset)
    trainer.remove_callback(PrinterCallback)  # the table below has what it would print
    policy = mhc_diag.Policy(max_gain=how.max_gain, profile="none")
    MhcCallback(policy=policy, on_alert="stop", jsonl="run.jsonl").attach(trainer)
    return trainer


def train(how: argparse.Namespace) -> bool:
    """Train and tell; whether all steps were taken."""
    trainer = prepared(how)
    trainer.train()
    print("  step     loss  forward  backward")
    for row in trainer.state.log_history:
        if "loss" in row:
            gains = f"{row['mhc/forward_max']:8.4f} {row['mhc/backward_max']:9.4f}"
            print(f"{row['step']:6} {row['loss']:8.4f} {gains}")
    return trainer.state.global_step == how.steps


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mhc", action="store_true", help="make every M doubly stochastic")
    sizes = {"layers": 6, "channels": 32, "streams": 4, "context": 48, "batch": 16, "steps": 100, "seed": 0}
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size, metavar="N")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--log-every", type=int, default=10, help="log each step of so many")
    parser.add_argument("--max-gain", type=float, default=4.0, help="where the run is stopped")
    parser.add_argument("--output", default="trainer-run", help="folder of the records and the report")
    return parser


if __name__ == "__main__":
    sys.exit(0 if train(options().parse_args()) else 1)
