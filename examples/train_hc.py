"""Train a small character model with hyper-connections, and see its composite gains beside the loss.

    python examples/train_hc.py           # hyper-connections (HC): nothing holds the products of M back
    python examples/train_hc.py --mhc     # the same with M made doubly stochastic (mHC)

B batch, S positions, n streams, C channels. Every layer has two sites, attention and then the MLP. Each
computes its coefficients of its normalised streams, and so for every token:

    x_{l+1} = M_l x_l + post_l f_l(pre_l . x_l)        x is [B, S, n, C], M is n x n, output x input

The text is sums, made here: `17+25=42;`. Lines that have to do with the watch are marked `# watch`.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mhc_diag

LETTERS = "0123456789+=;"


class Attention(nn.Module):
    """Causal attention, [B, S, C] to [B, S, C]."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.RMSNorm(channels), heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to the past."""
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        made: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return made


class Mixing(nn.Module):
    """The coefficients of one site for every token: M [B, S, n, n], pre and post [B, S, n]."""

    def __init__(self, streams: int, channels: int, constrained: bool) -> None:
        super().__init__()
        self.streams, self.constrained = streams, constrained
        self.norm = nn.RMSNorm(streams * channels)
        self.dynamic = nn.Linear(streams * channels, streams * (streams + 2), bias=False)
        self.scale = nn.Parameter(torch.full((), 0.01))
        eye = torch.eye(streams)
        self.mixing = nn.Parameter(5 * eye if constrained else eye)
        self.pre = nn.Parameter(torch.full((streams,), 1 / streams))
        self.post = nn.Parameter(torch.ones(streams))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What this site does with the streams."""
        n = self.streams
        wide = self.scale * self.dynamic(self.norm(x.flatten(2))).tanh()
        matrix, pre, post = wide.split([n * n, n, n], dim=-1)
        matrix = self.mixing + matrix.unflatten(-1, (n, n))
        return (sinkhorn(matrix) if self.constrained else matrix), self.pre + pre, self.post + post


def sinkhorn(logits: Tensor, iterations: int = 20) -> Tensor:
    """Matrices whose rows and columns sum to 1."""
    logs = logits
    for _ in range(iterations):
        logs = logs - logs.logsumexp(-1, keepdim=True)
        logs = logs - logs.logsumexp(-2, keepdim=True)
    return logs.exp()


class Site(nn.Module):
    """A branch between hyper-connections, [B, S, n, C] to the same."""

    def __init__(self, branch: nn.Module, streams: int, channels: int, constrained: bool) -> None:
        super().__init__()
        self.mixing, self.branch = Mixing(streams, channels, constrained), branch

    def forward(self, x: Tensor) -> Tensor:
        """Mix the streams and add the branch's output."""
        matrix, pre, post = self.mixing(x)
        out = self.branch(torch.einsum("bsn,bsnc->bsc", pre, x))
        return torch.einsum("bsij,bsjc->bsic", matrix, x) + post[..., None] * out[..., None, :]


class Model(nn.Module):
    """A GPT whose residual path has several streams."""

    def __init__(self, layers: int, channels: int, streams: int, context: int, constrained: bool) -> None:
        super().__init__()
        self.streams = streams
        self.token = nn.Embedding(len(LETTERS), channels)
        self.place = nn.Embedding(context, channels)
        wide = 4 * channels

        def mlp() -> nn.Module:
            up, down = nn.Linear(channels, wide), nn.Linear(wide, channels)
            return nn.Sequential(nn.RMSNorm(channels), up, nn.GELU(), down)

        branches = [b for _ in range(layers) for b in (Attention(channels, 4), mlp())]
        self.sites = nn.Sequential(*(Site(b, streams, channels, constrained) for b in branches))
        self.head = nn.Sequential(nn.RMSNorm(channels), nn.Linear(channels, len(LETTERS)))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next letter [B, S, letters] of ids [B, S]."""
        x = self.token(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
        x = self.sites(x[:, :, None, :].expand(-1, -1, self.streams, -1))
        logits: Tensor = self.head(x.mean(2))
        return logits


def batches(batch: int, context: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Letters and the letters after them, [B, S] each, without end."""
    draw = random.Random(seed)

    def line() -> list[int]:
        text = ""
        while len(text) <= context:
            one, two = draw.randrange(100), draw.randrange(100)
            text += f"{one}+{two}={one + two};"
        return [LETTERS.index(letter) for letter in text[: context + 1]]

    while True:
        ids = torch.tensor([line() for _ in range(batch)])
        yield ids[:, :-1], ids[:, 1:]


def prepared(how: argparse.Namespace) -> tuple[Model, torch.optim.Optimizer, Iterator[tuple[Tensor, Tensor]]]:
    """The model, its optimizer and its data, the same for the same seed."""
    torch.manual_seed(how.seed)
    model = Model(how.layers, how.channels, how.streams, how.context, how.mhc).to(how.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=how.lr)
    return model, optimizer, batches(how.batch, how.context, how.seed)


def loss_of(model: Model, ids: Tensor, after: Tensor) -> Tensor:
    """How badly the next letters are told, in nats."""
    return F.cross_entropy(model(ids).flatten(0, 1), after.flatten())


def train(how: argparse.Namespace) -> bool:
    """Train and tell; whether all steps were taken."""
    model, optimizer, data = prepared(how)
    policy = mhc_diag.Policy(max_gain=how.max_gain, profile="none")
    print("  step     loss  forward  backward")
    with mhc_diag.watch(model, policy=policy, on_alert=how.on_alert, jsonl=how.jsonl) as w:  # watch
        for step in range(1, how.steps + 1):
            ids, after = (part.to(how.device) for part in next(data))
            loss = loss_of(model, ids, after)
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            if w.should_stop:  # watch
                break
            if (step - 1) % how.log_every == 0 or step == how.steps:
                gains = w.gains()  # watch
                print(f"{step:6} {loss.item():8.4f} {gains['forward_max']:8.4f} {gains['backward_max']:9.4f}")
    if w.alerts:  # watch
        print(f"{len(w.alerts)} alerts, the first: {w.alerts[0].text}")
    print(w.report().summary)  # watch
    return not w.should_stop


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mhc", action="store_true", help="make every M doubly stochastic")
    sizes = {"layers": 6, "channels": 32, "streams": 4, "context": 48, "batch": 16, "steps": 200, "seed": 0}
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size, metavar="N")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--log-every", type=int, default=20, help="print each step of so many")
    parser.add_argument("--max-gain", type=float, default=4.0, help="what a composite gain must not exceed")
    parser.add_argument("--on-alert", choices=("warn", "stop"), default="warn", help="and what to do then")
    parser.add_argument("--jsonl", default="run.jsonl", help="where records are added")
    return parser


if __name__ == "__main__":
    sys.exit(0 if train(options().parse_args()) else 1)
