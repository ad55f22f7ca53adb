"""A training step of a model with four streams, watched at every step, beside the same step unwatched.

A step is forward, backward and AdamW. Copies of one model take turns in one process, in a random order;
medians of the rounds, in CPU seconds of all threads. The watch by taps records every forward pass and forms
the composite gains; its numbers must be those of a probe of the same input, or nothing is printed. Without
taps the model is probed on every 100th forward pass: the step with a probe is timed, and spread over 100.
A watch that records every 100th step adds to the 99 others only what it takes to see that they are not due:
such a step is timed, and the recorded one spread over 100.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mhc_diag

STREAMS = 4
GOAL, RARE_GOAL = 1.05, 1.005
RARELY = 100
PROBE_EVERY = 100


class Mixing(nn.Module):
    """Sinkhorn mixing of every token: [B, S, n, C] to the branch's input, post and M."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        n = STREAMS
        self.fn = nn.Linear(n * channels, n * n + 2 * n)

    def forward(self, streams: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read, write and mix."""
        flat = streams.flatten(2)
        n, made = STREAMS, self.fn(F.rms_norm(flat, flat.shape[-1:]))
        pre, post, logits = made.split([n, n, n * n], dim=-1)
        m = logits.unflatten(-1, (n, n)).softmax(dim=-1) + 1e-6
        for _ in range(20):
            m = m / m.sum(dim=-2, keepdim=True)
            m = m / m.sum(dim=-1, keepdim=True)
        return (pre.sigmoid()[..., None] * streams).sum(dim=2), 2 * post.sigmoid(), m


class Site(nn.Module):
    """One residual update with a branch."""

    def __init__(self, channels: int, branch: nn.Module) -> None:
        super().__init__()
        self.mixing, self.branch = Mixing(channels), branch

    def forward(self, streams: Tensor) -> Tensor:
        """Mix and inject."""
        read, post, m = self.mixing(streams)
        return m @ streams + post[..., None] * self.branch(read)[..., None, :]


class Attention(nn.Module):
    """Causal attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to the past."""
        heads = (t.unflatten(-1, (-1, 64)).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, dim=-1))
        made = F.scaled_dot_product_attention(*heads, is_causal=True)
        return self.out(made.transpose(1, 2).flatten(2))


class Model(nn.Module):
    """Embedding, sites in pairs, head."""

    def __init__(self, vocabulary: int, channels: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, channels)
        branches: list[nn.Module] = []
        for _ in range(layers):
            wide = nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
            branches += [Attention(channels), nn.Sequential(nn.RMSNorm(channels), *wide)]
        self.sites = nn.ModuleList(Site(channels, branch) for branch in branches)
        self.norm = nn.RMSNorm(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token numbers to logits."""
        streams = self.embed(tokens)[:, :, None].expand(-1, -1, STREAMS, -1)
        for site in self.sites:
            streams = site(streams)
        return self.norm(streams.mean(dim=2)) @ self.embed.weight.T


def trainer(model: Model, tokens: Tensor) -> Callable[[], None]:
    """One training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(work: Callable[[], None]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def agree(watch: mhc_diag.Watch, model: Model, tokens: Tensor, step: Callable[[], None]) -> None:
    """Stop unless the watch says of a step what a probe of the same weights says."""
    stack = mhc_diag.probe(model, tokens[:, :-1])
    expected = mhc_diag.analyse(stack, metrics=("amax_forward", "amax_backward"))
    step()
    for direction in ("forward", "backward"):
        peak, found = expected.worst(direction, "max").value, watch.gains()[f"{direction}_max"]
        if abs(found - peak) > 1e-4 * peak:
            raise SystemExit(f"the watch says {direction} {found}, the probe {peak}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="sizes that take a second, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.layers, options.channels, options.tokens, options.rounds = 2, 64, 16, 1
    torch.manual_seed(0)
    model = Model(8192, options.channels, options.layers)
    tokens = torch.randint(0, 8192, (1, options.tokens + 1))
    names = ("unwatched", "taps", "written", "gradients", "rare", "probe")
    models = {name: copy.deepcopy(model) for name in names}
    steps = {name: trainer(m, tokens) for name, m in models.items()}
    tapped = mhc_diag.watch(models["taps"], tokens=options.tokens, verify_every=10**9)
    folder = tempfile.TemporaryDirectory()
    policy = mhc_diag.Policy(max_gain=1e6)
    written = {"jsonl": Path(folder.name) / "run.jsonl", "policy": policy}
    mhc_diag.watch(models["written"], tokens=options.tokens, verify_every=10**9, **written)
    mhc_diag.watch(models["gradients"], tokens=options.tokens, verify_every=10**9, gradients=True)
    mhc_diag.watch(models["rare"], tokens=options.tokens, every=10**9)
    probed = mhc_diag.watch(models["probe"], probe_every=1)
    for step in steps.values():
        step()  # discovery, memory
    probed.sight.tapped = False
    for name in ("taps", "written", "gradients") * 4:
        steps[name]()  # beyond the early comparisons with a probe, of which one more falls into the rounds
    agree(tapped, models["taps"], tokens, steps["taps"])
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name in random.sample(list(steps), len(steps)):
            times[name].append(timed(steps[name]))
    base = statistics.median(times["unwatched"])
    size = sum(p.numel() for p in model.parameters())
    print(f"{size / 1e6:.0f}M parameters, {2 * options.layers} sites, {options.tokens} tokens, n = {STREAMS}")
    print(f"{'a step, unwatched':34} {base:8.3f} s")
    taps = statistics.median(times["taps"]) / base
    verdict = "" if options.smoke else f" (goal {GOAL}): {'met' if taps <= GOAL else 'MISSED'}"
    print(f"{'watched at every step, by taps':34} {taps:8.3f} x{verdict}")
    for name, what in (("written", "and written down, with limits"), ("gradients", "and gradients")):
        print(f"{what:34} {statistics.median(times[name]) / base:8.3f} x")
    rare = statistics.median(times["rare"]) / base
    rare += (taps - rare) / RARELY
    verdict = "" if options.smoke else f" (goal {RARE_GOAL}): {'met' if rare <= RARE_GOAL else 'MISSED'}"
    print(f"{f'watched at every {RARELY}th step':34} {rare:8.3f} x{verdict}")
    one = statistics.median(times["probe"]) / base
    print(f"{'a step with a probe':34} {one:8.3f} x")
    print(f"{f'probed every {PROBE_EVERY} steps':34} {1 + (one - 1) / PROBE_EVERY:8.3f} x")


if __name__ == "__main__":
    main()
