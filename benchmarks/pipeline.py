"""Logits to Sinkhorn to both composite gains to quantiles: this library beside a torch pipeline.

The torch pipeline is what one would write for it: whole tensors, the matrices last, a batched product a site
for prefixes and for suffixes, torch.quantile. It runs in the type of the logits, and for logits in float64
also in float32, which is faster. Each round times all of them in a random order; medians of the rounds.
Memory is what a process needs at most beyond its logits, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mhc_diag.maths import projected
from mhc_diag.maths.projections import sinkhorn

Found = dict[str, np.ndarray[Any, Any]]
ITERATIONS = 20
RANKS = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
GOALS = {"float32": 10.0, "float64": 5.0}
MEMORY_GOAL = 0.2
PAUSE = 0.1  # seconds before each: torch's threads keep a core busy for a while after they have finished


def ours(x: np.ndarray[Any, Any]) -> Found:
    """`projected.composite_statistics`."""
    project = functools.partial(sinkhorn.project, iterations=ITERATIONS)
    found = projected.composite_statistics(x, project)
    return {f"{d} {name}": found[d][name][0] for d in found for name in ("mean", *RANKS)}


def eager(x: np.ndarray[Any, Any], dtype: str = "") -> Found:
    """A pipeline of whole tensors."""
    import torch

    logits = torch.from_numpy(x)
    if dtype:
        logits = logits.to(getattr(torch, dtype))
    m = torch.exp(logits - logits.amax(-2, keepdim=True))
    for _ in range(ITERATIONS):
        m = m / m.sum(-2, keepdim=True)
        m = m / m.sum(-1, keepdim=True)
    depth, tokens, *_ = m.shape
    gains = {d: torch.empty(depth, tokens, dtype=m.dtype) for d in ("forward", "backward")}
    product = m[0]
    for site in range(depth):
        product = torch.bmm(m[site], product) if site else product
        gains["forward"][site] = product.sum(-1).abs().amax(-1)
    product = m[-1]
    for site in reversed(range(depth)):
        product = torch.bmm(product, m[site]) if site < depth - 1 else product
        gains["backward"][site] = product.sum(-2).abs().amax(-1)
    found = {f"{d} mean": g.mean(-1).numpy() for d, g in gains.items()}
    for d, g in gains.items():
        quantiles = torch.quantile(g, torch.tensor(list(RANKS.values()), dtype=g.dtype), dim=-1)
        found |= {f"{d} {name}": row.numpy() for name, row in zip(RANKS, quantiles, strict=True)}
    return found


WAYS: dict[str, Callable[[np.ndarray[Any, Any]], Found]] = {
    "mhc_diag": ours,
    "torch": eager,
    "torch, in float32": functools.partial(eager, dtype="float32"),
}


def drawn(shape: list[int], dtype: str) -> np.ndarray[Any, Any]:
    """Standard normal logits."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.dtype(dtype))


def agree(found: Found, expected: Found, tolerance: float) -> bool:
    """Whether all numbers are the same up to rounding."""
    return all(np.allclose(found[k], expected[k], rtol=0, atol=tolerance) for k in expected)


def peak(way: str, shape: list[int], dtype: str) -> float:
    """Megabytes that one way needs beyond its logits, in a fresh process."""
    command = [sys.executable, __file__, "--memory", json.dumps([way, shape, dtype])]
    return max(1.0, float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure_memory(way: str, shape: list[int], dtype: str) -> None:
    """Print the peak of this process beyond its logits."""
    import resource

    def resident() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    WAYS[way](drawn([2, 8, *shape[2:]], dtype))  # imports, threads
    x = drawn(shape, dtype)
    before = resident()
    WAYS[way](x)
    print((resident() - before) / (1024 if sys.platform != "darwin" else 1024**2))


def candidates(dtype: str) -> list[str]:
    """The ways for one type of logits."""
    return [name for name in WAYS if dtype == "float64" or name != "torch, in float32"]


def compare(shape: list[int], dtype: str, rounds: int, memory: dict[str, float], *, judged: bool) -> None:
    """Print the table for one type of logits."""
    x, names = drawn(shape, dtype), candidates(dtype)
    times: dict[str, list[float]] = {name: [] for name in names}
    expected = ours(x)
    for _ in range(rounds):
        for name in random.sample(names, len(names)):
            time.sleep(PAUSE)
            start = time.perf_counter()
            found = WAYS[name](x)
            times[name].append(time.perf_counter() - start)
            if not agree(found, expected, 1e-10 if dtype == "float64" and name != names[-1] else 1e-4):
                raise SystemExit(f"{name} disagrees in {dtype}")
    base, least = statistics.median(times["mhc_diag"]), memory["mhc_diag"]
    print(f"{dtype:8} {'mhc_diag':18} {base:7.2f} s {least:7.0f} MB")
    for name in names[1:]:
        seconds = statistics.median(times[name])
        line = f"{dtype:8} {name:18} {seconds:7.2f} s {memory[name]:7.0f} MB"
        if judged:
            met = seconds >= GOALS[dtype] * base and least <= MEMORY_GOAL * memory[name]
            line += (
                f": {seconds / base:5.1f} x as long (goal {GOALS[dtype]:.0f} x),"
                f" memory 1/{memory[name] / least:.1f} (goal 1/5): {'met' if met else 'MISSED'}"
            )
        print(line)


def main() -> None:
    """Print a table for float32 and float64."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--depth", type=int, default=60)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a tiny size, to see that it runs and agrees")
    parser.add_argument("--memory", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        measure_memory(*options.memory)
        return
    if options.smoke:
        options.tokens, options.rounds = 512, 1
    shape = [options.depth, options.tokens, options.streams, options.streams]
    print(f"L = {shape[0]}, T = {shape[1]}, n = {shape[2]}, {ITERATIONS} iterations, {options.rounds} rounds")
    # Memory first: a process starts with the peak of the one that made it.
    memory = {
        d: {
            name: peak(name, shape, d) if name == "mhc_diag" or not options.smoke else 0.0
            for name in candidates(d)
        }
        for d in GOALS
    }
    for dtype in GOALS:
        compare(shape, dtype, options.rounds, memory[dtype], judged=not options.smoke)


if __name__ == "__main__":
    main()
