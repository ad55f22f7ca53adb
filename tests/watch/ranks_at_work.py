"""What each rank of a small job does: it trains a part of a model, watches, and tells what was applied.

`run` starts the job and gives what every rank told, by scenario.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from shown_models import C, N, Shown, Site
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

import mhc_diag
from mhc_diag import Distribution
from mhc_diag.watch.door import is_probed

Told = dict[str, Any]
FOLDER = Path()
STEPS = 3
S = 4
TIMEOUT = 5
"""Seconds, more than ranks on a busy machine are apart."""


def tokens(rank: int, step: int, batch: int = 2) -> Tensor:
    """Other tokens on every rank and at every step."""
    draw = torch.Generator().manual_seed(100 * step + rank)
    return torch.randint(0, 11, (batch, S), generator=draw)


def applied(model: nn.Module) -> Tensor:
    """(L, T, n, n) of the latest forward pass, as the sites themselves kept them."""
    made = [m.applied.flatten(0, 1).double() for m in model.modules() if isinstance(m, Site)]
    return torch.stack(made) if made else torch.zeros(0, 1, N, N).double()


def told(w: mhc_diag.Watch, truth: list[Tensor]) -> Told:
    stack = w.stack()
    return {
        "rows": w.history,
        "applied": truth,
        "tapped": w.tapped,
        "notes": w.notes,
        "told": stack.provenance.notes,
        "sites": [site.label for site in stack.sites],
        "stack": stack.matrices,
        "report": w.report().composite("forward", "max").value.max(),
    }


def trained(model: nn.Module, called: nn.Module, rank: int, distribution: Distribution | None = None) -> Told:
    """Some steps on this rank's tokens; two ranks have fewer tokens than the others."""
    truth = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with mhc_diag.watch(called.train(), distribution=distribution, verify_every=2) as w:
        for step in range(STEPS):
            loss = called(tokens(rank, step, batch=1 + rank % 2)).square().mean()
            truth.append(applied(model))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step == 1:
                w.metrics()  # asking in between changes nothing
        return told(w, truth)


def data(rank: int) -> Told:
    from torch.nn.parallel import DistributedDataParallel

    model = Shown("tuple")
    return trained(model, DistributedDataParallel(model, find_unused_parameters=True), rank)


class Masked(Shown):
    """Told which tokens are padding, by an argument that it does not use."""

    def forward(self, tokens: Tensor, *, attention_mask: Tensor) -> Tensor:
        return super().forward(tokens)


def padded(rank: int) -> Told:
    """Ranks with one to four tokens that count, and as many of padding as make eight."""
    from torch.nn.parallel import DistributedDataParallel

    model = Masked("tuple")
    called = DistributedDataParallel(model, find_unused_parameters=True)
    mask = (torch.arange(2 * S) <= rank).reshape(2, S)
    truth = []
    with mhc_diag.watch(called) as w:
        for step in range(STEPS):
            called(tokens(rank, step), attention_mask=mask).square().mean().backward()
            truth.append(applied(model)[:, : rank + 1])
        return told(w, truth)


def fsdp(rank: int) -> Told:
    from torch.distributed.fsdp import fully_shard

    model = Shown("result")
    for site in model.sites:
        site.maker.constrain = unbalanced
        fully_shard(site)
    return trained(model, fully_shard(model), rank)


def fsdp_of_parameters(rank: int) -> Told:
    """The matrices themselves lie in shards on all ranks."""
    from torch.distributed.fsdp import fully_shard

    model = Shown("parameter")
    return trained(model, fully_shard(model), rank)


def gradients(rank: int) -> Told:
    """Gains of the gradient, which autograd tells of every rank's own tokens."""
    import test_gradients
    from torch.nn.parallel import DistributedDataParallel

    model = test_gradients.Model(frozen=False)
    called = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)
    truth = []
    with mhc_diag.watch(called, gradients=True, policy=mhc_diag.Policy(max_gain=1e9)) as w:
        for step in range(STEPS):
            ids = tokens(rank, step, batch=1 + rank % 2)
            loss = called(ids).square().sum()
            truth.append(test_gradients.expected(model, loss, list(range(ids.numel()))))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if step == 1:
                w.metrics()
        return {"rows": w.history, "truth": truth, "notes": w.notes}


def unchanged(rank: int) -> Told:
    """Whether a watch leaves every bit of what FSDP2 trains."""
    from torch.distributed.fsdp import fully_shard

    trained_by_both = []
    for watched in (False, True):
        model = Shown("parameter")
        for site in model.sites:
            fully_shard(site)
        fully_shard(model.train())
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        torch.manual_seed(rank)
        with mhc_diag.watch(model, verify_every=2) if watched else contextlib.nullcontext():
            for step in range(STEPS):
                model(tokens(rank, step)).square().mean().backward()
                optimizer.step()
                optimizer.zero_grad()
        trained_by_both.append([p.to_local().detach().clone() for p in model.parameters()])
    return {"same": [torch.equal(*pair) for pair in zip(*trained_by_both, strict=True)]}


def tensor(rank: int) -> Told:
    """Branches split over two ranks each, beside two ranks with other tokens."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("dp", "tp"))
    model = Shown("argument")
    for site in model.sites:
        site.branch = nn.Sequential(nn.Linear(C, 2 * C), nn.GELU(), nn.Linear(2 * C, C))
        parallelize_module(site.branch, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    shared = Distribution.of_mesh(mesh, {"dp": "tokens", "tp": "same"})
    return trained(model, model, mesh.get_local_rank("dp"), shared)


def unbalanced(logits: Tensor) -> Tensor:
    """Matrices that amplify, other ones for every token."""
    return torch.eye(N) + 0.5 * torch.tanh(logits)


class Stage(nn.Module):
    """Some sites of a model, and its ends where they are on this stage."""

    def __init__(self, sites: range, *, first: bool, last: bool) -> None:
        super().__init__()
        whole = Shown("result")
        for site in whole.sites:
            site.maker.constrain = unbalanced
        self.embed = whole.embed if first else None
        self.sites = nn.ModuleList(whole.sites[i] for i in sites)
        self.head = whole.head if last else None

    def forward(self, x: Tensor) -> Tensor:
        if self.embed is not None:
            x = self.embed(x)[:, :, None].expand(-1, -1, N, -1)
        for site in self.sites:
            x = site(x)
        return x if self.head is None else self.head(torch.tanh(x.sum(2)))


def pipeline(rank: int) -> Told:
    """One, two and no sites on the stages, and a schedule made by hand: all forward passes first."""
    world = dist.get_world_size()
    stage = Stage([range(1), range(1, 3), range(0)][min(rank, 2)], first=rank == 0, last=rank == world - 1)
    truth = []
    shared = Distribution.of_groups(stages=dist.group.WORLD)
    limit = mhc_diag.Policy(max_gain=1.5)
    run = {"jsonl": FOLDER / "run.jsonl", "policy": limit, "on_alert": "stop"}
    with mhc_diag.watch(stage.train(), distribution=shared, **run) as w:
        for microbatch in range(STEPS):
            x: Tensor = tokens(0, microbatch) if rank == 0 else torch.empty(2, S, N, C)
            if rank:
                dist.recv(x, rank - 1)
                x.requires_grad_()
            out = stage(x)
            truth.append(applied(stage))
            if rank < world - 1:
                dist.send(out.detach().contiguous(), rank + 1)
        alerts = [(alert.step, alert.metric) for alert in w.alerts]
        return told(w, truth) | {"alerts": alerts, "stop": w.should_stop}


def mixture(rank: int) -> Told:
    """Two stages in torch's own schedule, two ranks with other tokens for each; FSDP2 within a stage."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B

    mesh = init_device_mesh("cpu", (2, dist.get_world_size() // 2), mesh_dim_names=("pp", "dp"))
    here = mesh.get_local_rank("pp")
    stage = Stage(range(1) if here == 0 else range(1, 3), first=here == 0, last=here == 1).train()
    truth: list[Tensor] = []
    fully_shard(stage, mesh=mesh["dp"], reshard_after_forward=False)
    stage.register_forward_hook(lambda *_: None if is_probed() else truth.append(applied(stage)))
    piped = PipelineStage(stage, here, 2, torch.device("cpu"), group=mesh.get_group("pp"))
    schedule = Schedule1F1B(piped, n_microbatches=3, loss_fn=lambda out, _: out.square().mean())
    shared = Distribution.of_mesh(mesh, {"pp": "stages", "dp": "tokens"})
    with mhc_diag.watch(stage, distribution=shared) as w:
        batch = tokens(mesh.get_local_rank("dp"), 0, batch=6)
        if here == 0:
            schedule.step(batch)
        else:
            schedule.step(target=batch)
        return told(w, truth[-3:])  # before that, torch runs the stage once to learn shapes


class Diagonal(nn.Module):
    """One site that multiplies the first stream by a number."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.diag(torch.tensor([gain, *[1.0] * (N - 1)])))
        self.branch = nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixing @ x + self.branch(x.mean(2))[..., None, :]


def planted(rank: int) -> Told:
    """Stages that amplify by 4, 2.5, 2 and 2: by 40 together."""
    stage = Diagonal([4.0, 2.5, 2.0, 2.0][rank])
    with mhc_diag.watch(stage, distribution=Distribution.of_groups(stages=dist.group.WORLD)) as w:
        stage(torch.randn(2, S, N, C))
    with mhc_diag.watch(stage) as alone:
        stage(torch.randn(2, S, N, C))
    whole = w.report().composite("forward", "max").value.max()
    return {"whole": w.gains(), "alone": alone.gains(), "report": float(whole)}


def _error(ask: Callable[[], object]) -> str:
    try:
        ask()
    except mhc_diag.MhcDiagError as e:
        return str(e)
    return ""


def silent(rank: int) -> Told:
    """One rank asks for nothing."""
    shared = Distribution.of_groups(tokens=dist.group.WORLD, timeout=TIMEOUT)
    model, example = Diagonal(2.0), torch.randn(1, S, N, C)
    with contextlib.suppress(StopIteration), mhc_diag.watch(model, distribution=shared, example=example) as w:
        model(example)
        error = _error(w.metrics) if rank != 2 else ""
        dist.barrier()
        raise StopIteration  # since the end of the block asks too
    return {"error": error}


def otherwise(rank: int) -> Told:
    """One rank has a limit that the others do not have."""
    shared, model = Distribution.of_groups(tokens=dist.group.WORLD), Diagonal(2.0)
    policy = mhc_diag.Policy(max_gain=1.5) if rank == 1 else None
    with contextlib.suppress(StopIteration), mhc_diag.watch(model, distribution=shared, policy=policy) as w:
        model(torch.randn(1, S, N, C))
        error = _error(w.metrics)
        raise StopIteration  # since the end of the block asks too
    return {"error": error}


def failing(rank: int) -> Told:
    """One rank raises an exception in its training loop."""
    model = Diagonal(2.0)
    try:
        with mhc_diag.watch(model, distribution=Distribution.of_groups(tokens=dist.group.WORLD)) as w:
            model(torch.randn(1, S, N, C))
            if rank == 1:
                raise RuntimeError("out of memory")
            return {"error": _error(w.metrics)}
    except RuntimeError as e:
        return {"error": str(e)}


def dying(rank: int) -> Told:
    """One process ends."""
    shared = Distribution.of_groups(tokens=dist.group.WORLD, timeout=TIMEOUT)
    model = Diagonal(2.0)
    with mhc_diag.watch(model, distribution=shared) as w:
        model(torch.randn(1, S, N, C))
        if rank == 3:
            os._exit(0)
        return {"error": _error(w.metrics)}


SCENARIOS: dict[str, Callable[[int], Told]] = {
    made.__name__: made
    for made in (
        data,
        padded,
        fsdp,
        fsdp_of_parameters,
        gradients,
        unchanged,
        tensor,
        pipeline,
        mixture,
        planted,
        silent,
        otherwise,
        failing,
        dying,
    )
}
"""In an order that leaves the one in which a process ends for the last."""


def at_work(rank: int, world: int, folder: str, names: list[str]) -> None:
    global FOLDER
    FOLDER = Path(folder)
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    results: dict[str, Any] = {}
    for name in names:
        try:
            results[name] = SCENARIOS[name](rank)
        except Exception:
            results[name] = traceback.format_exc()
        torch.save(results, f"{folder}/{rank}.pt")
    os._exit(0)  # some are no more, and nobody shall wait for them


def run(folder: Path, world: int, names: list[str]) -> dict[str, list[Any]]:
    """What each rank told of each scenario."""
    torch.multiprocessing.spawn(at_work, (world, str(folder), names), nprocs=world)
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]
    return {name: [results.get(name) for results in ranks] for name in names}
