"""Train a character model on the stages of a pipeline, and see the composite gains of the whole model.

    torchrun --nproc-per-node 2 examples/pipeline.py

Every process holds some of the sites, and could only tell the gains of its own. A watch that is told which
processes are stages multiplies all of them. Lines that have to do with the watch are marked `# watch`.
"""

from __future__ import annotations

import argparse

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.nn import functional as F
from train_hc import Model, batches  # type: ignore[import-not-found]  # beside this file

import mhc_diag


class Stage(nn.Module):
    """The sites of one process; the first has the embeddings too, and the last the head."""

    def __init__(self, whole: Model, stage: int, stages: int) -> None:
        super().__init__()
        first, last = stage == 0, stage == stages - 1
        share = len(whole.sites) // stages
        self.streams, start = whole.streams, stage * share
        self.token: nn.Module | None = whole.token if first else None
        self.place: nn.Module | None = whole.place if first else None
        self.sites = whole.sites[start:] if last else whole.sites[start : start + share]
        self.head = whole.head if last else None

    def forward(self, x: Tensor) -> Tensor:
        """Ids [B, S] or streams [B, S, n, C] to streams or logits [B, S, letters]."""
        if self.token is not None and self.place is not None:
            x = self.token(x) + self.place(torch.arange(x.shape[1], device=x.device))
            x = x[:, :, None, :].expand(-1, -1, self.streams, -1)
        x = self.sites(x)
        if self.head is not None:
            x = self.head(x.mean(2))
        return x


def made(how: argparse.Namespace, stage: int, stages: int) -> Stage:
    """One stage of the model that every process would make from the same seed."""
    torch.manual_seed(how.seed)
    return Stage(Model(how.layers, how.channels, 4, how.context, constrained=False), stage, stages)


def loss_of(logits: Tensor, after: Tensor) -> Tensor:
    """How badly the next letters are told, in nats."""
    return F.cross_entropy(logits.flatten(0, 1), after.flatten())


def train(how: argparse.Namespace) -> None:
    """Train this process's stage; the last one tells."""
    rank, stages = dist.get_rank(), dist.get_world_size()
    stage = made(how, rank, stages)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=how.lr)
    pipe = PipelineStage(stage, rank, stages, torch.device("cpu"))
    schedule = Schedule1F1B(pipe, n_microbatches=how.microbatches, loss_fn=loss_of)
    data = batches(how.batch, how.context, how.seed)
    shared = mhc_diag.Distribution.of_groups(stages=dist.group.WORLD, timeout=60)  # watch
    with (
        mhc_diag.watch(stage, distribution=shared) as w,  # watch
        mhc_diag.watch(stage) as alone,  # watch: what this stage could tell on its own
    ):
        for step in range(1, how.steps + 1):
            ids, after = next(data)
            losses: list[Tensor] = []
            given = (ids,) if rank == 0 else ()
            told = {"target": after, "losses": losses} if rank == stages - 1 else {}
            schedule.step(*given, **told)
            optimizer.step()
            optimizer.zero_grad()
            gains = [row["mhc/forward_max"] for row in w.fresh(wait=True)]  # watch: one row a microbatch
            if losses:
                print(f"step {step} loss {torch.stack(losses).mean():.4f} forward gain {max(gains):.4f}")
        own = f"stage {rank} alone {alone.gains()['forward_max']:.4f}"  # watch
        summary = w.report().summary  # watch
    lines: list[str] = [""] * stages
    dist.all_gather_object(lines, own)
    if rank == stages - 1:
        print(", ".join(lines))
        print(summary)


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    sizes = {
        "layers": 4,
        "channels": 32,
        "context": 32,
        "batch": 8,
        "microbatches": 4,
        "steps": 20,
        "seed": 0,
    }
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size, metavar="N")
    parser.add_argument("--lr", type=float, default=1e-2)
    return parser


if __name__ == "__main__":
    dist.init_process_group("gloo")
    train(options().parse_args())
    dist.destroy_process_group()
