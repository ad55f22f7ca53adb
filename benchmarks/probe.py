"""The cost of a probe: its CPU time and peak memory as multiples of the model's bare forward pass.

Two kinds of language model, built with random weights, without a network: GPT-2 (124M parameters, plain
residual path), and a transformer of the same size whose path has n streams, with coefficients computed for
every token and 20 Sinkhorn iterations. Time: `time.process_time`, forward (under no_grad) and probe in turn,
in random order within each round; medians of the rounds, and of the ratios of each round. Memory: torch's
profiler reports every allocation and release of torch's CPU allocator, so that the largest sum of what is
live is exact and takes no second process; scratch space that a kernel takes from elsewhere is not seen in
either. What was there before, the weights, does not count; logits that come out of the forward pass do.
`--backbone` leaves the head off, which makes the bare forward cheaper. What the probe measures is compared
with the matrices that the model applied.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from mhc_diag.sources.probe import probe

SITES = 2  # a layer
GOALS = {"time": 1.5, "memory": 1.6}


class Attention(nn.Module):
    """Causal attention, [B, S, C] to [B, S, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.norm = nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to the past."""
        parts = self.qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return mixed


class Mlp(nn.Module):
    """Two linear layers, [B, S, C] to [B, S, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position by itself."""
        out: Tensor = self.down(F.gelu(self.up(self.norm(x))))
        return out


class Site(nn.Module):
    """x_{l+1} = M x_l + post f(pre . x_l), with pre, post and M computed from all streams of the token."""

    def __init__(self, branch: nn.Module, streams: int, width: int) -> None:
        super().__init__()
        self.branch, self.streams = branch, streams
        self.norm = nn.RMSNorm(streams * width)
        self.coefficients = nn.Linear(streams * width, streams * (streams + 2))
        self.keep = False
        self.applied = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the streams and add the branch's output to each, [B, S, n, C] to the same."""
        n = self.streams
        pre, post, mix = self.coefficients(self.norm(x.flatten(2))).split((n, n, n * n), dim=-1)
        matrix = sinkhorn(mix.unflatten(-1, (n, n)))
        if self.keep:
            self.applied = matrix
        out = self.branch((pre.sigmoid().unsqueeze(-1) * x).sum(dim=2))
        return post.sigmoid().unsqueeze(-1) * out.unsqueeze(2) + torch.matmul(matrix, x)


def sinkhorn(logits: Tensor) -> Tensor:
    """Doubly stochastic matrices, [..., n, n]."""
    matrix = logits.softmax(dim=-1) + 1e-6
    for _ in range(20):
        matrix = matrix / (matrix.sum(dim=-1, keepdim=True) + 1e-6)
        matrix = matrix / (matrix.sum(dim=-2, keepdim=True) + 1e-6)
    return matrix


class Streams(nn.Module):
    """A language model with n streams: ids [B, S] to logits, or to hidden states without a head."""

    def __init__(self, streams: int, width: int, layers: int, vocabulary: int, *, head: bool) -> None:
        super().__init__()
        self.streams = streams
        self.embed = nn.Embedding(vocabulary, width)
        parts = [part for _ in range(layers) for part in (Attention(width), Mlp(width))]
        self.sites = nn.Sequential(*(Site(part, streams, width) for part in parts))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False) if head else nn.Identity()
        if isinstance(self.head, nn.Linear):
            self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Copy the embeddings into n streams, run the sites, sum the streams, predict."""
        x = self.embed(ids).unsqueeze(2).expand(-1, -1, self.streams, -1)
        logits: Tensor = self.head(self.norm(self.sites(x).sum(dim=2)))
        return logits


def gpt2(width: int, layers: int, vocabulary: int, *, head: bool) -> nn.Module:
    """GPT-2 as transformers builds it; its default configuration is the smallest model, of 124M."""
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

    size = {"n_embd": width, "n_layer": layers, "n_head": width // 64, "vocab_size": vocabulary}
    config = GPT2Config(**size, bos_token_id=0, eos_token_id=0, use_cache=False)
    return GPT2LMHeadModel(config) if head else GPT2Model(config)


def forward(model: nn.Module, ids: Tensor) -> Any:
    """The bare forward pass."""
    with torch.no_grad():
        return model(ids)


def check(model: nn.Module, ids: Tensor) -> None:
    """Stop where the probe measures anything else than what the model applies."""
    sites = [site for site in model.modules() if isinstance(site, Site)]
    for site in sites:
        site.keep = True
    forward(model, ids)
    stack = probe(model, ids)
    applied = torch.stack([site.applied.flatten(0, 1) for site in sites]) if sites else torch.ones(())
    for site in sites:
        site.keep, site.applied = False, torch.empty(0)
    if stack.provenance.skipped or not torch.allclose(
        stack.matrices, applied.expand_as(stack.matrices), atol=1e-6
    ):
        raise SystemExit("the probe does not agree with the model")


def seconds(model: nn.Module, ids: Tensor, rounds: int) -> tuple[float, float, float]:
    """Medians of the rounds: CPU seconds of the forward pass, of the probe, and their ratio."""
    ways: dict[str, Callable[[nn.Module, Tensor], Any]] = {"forward": forward, "probe": probe}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name in random.sample(list(ways), len(ways)):
            start = time.process_time()
            ways[name](model, ids)
            times[name].append(time.process_time() - start)
    ratios = [b / a for a, b in zip(times["forward"], times["probe"], strict=True)]
    return statistics.median(times["forward"]), statistics.median(times["probe"]), statistics.median(ratios)


def peak(work: Callable[[nn.Module, Tensor], Any], model: nn.Module, ids: Tensor) -> int:
    """The most bytes of torch's CPU memory that were live at once, beyond those that were before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        made = work(model, ids)
    del made
    assert seen.profiler is not None
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbone", action="store_true", help="models without a head")
    parser.add_argument("--smoke", action="store_true", help="a tiny size, to see that it runs and agrees")
    options = parser.parse_args()
    vocabulary = 50257
    if options.smoke:
        options.tokens, options.width, options.layers, options.rounds, vocabulary = 16, 64, 2, 1, 100
        options.streams = options.streams[:2]
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    ids = torch.randint(vocabulary, (1, options.tokens))
    sizes, head = (options.width, options.layers, vocabulary), not options.backbone
    models: dict[str, Callable[[], nn.Module]] = {"GPT-2": lambda: gpt2(*sizes, head=head)}
    for n in options.streams:
        models[f"n = {n}"] = lambda n=n: Streams(n, *sizes, head=head)  # type: ignore[misc]
    print(f"{options.tokens} tokens, {options.layers} layers, {options.threads} threads, goals {GOALS}")
    print(f"{'':8} parameters | CPU s: forward   probe  ratio | MB: forward   probe  ratio")
    for name, build in models.items():
        model = build().eval()
        check(model, ids)
        plain, probed, ratio = seconds(model, ids, options.rounds)
        small, large = peak(forward, model, ids) / 1e6, peak(probe, model, ids) / 1e6
        count = sum(p.numel() for p in model.parameters()) / 1e6
        print(
            f"{name:8} {count:9.0f}M | {plain:14.3f} {probed:7.3f} {ratio:6.2f} |"
            f" {small:11.1f} {large:7.1f} {large / small:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
