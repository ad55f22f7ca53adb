"""Gains of every composite of neighbouring sites, in one process: this library beside one product per start.

Each round times all of them in turn, in random order, from (L, T, n, n) to log10 of mean, median, p99 and
maximum over tokens; medians of the rounds in seconds, and the ratio of the baseline's to each. The results
must agree, or nothing is printed. At L = 1,000 one product per start takes a minute: ours alone is timed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mhc_diag.maths.triangle import triangles

Floats = np.ndarray[Any, Any]
Made = dict[str, dict[str, Floats]]
NAMES = ("mean", "p50", "p99", "max")
BASELINE = "one product per start, numpy matmul"


def empty(depth: int) -> Made:
    """Tables of NaN."""
    return {d: {s: np.full((depth, depth), np.nan) for s in NAMES} for d in ("forward", "backward")}


def with_numpy(stack: Floats) -> Made:
    """One running product per first site, its gains kept and summarised once per first site."""
    depth, tokens = stack.shape[:2]
    made = empty(depth)
    for first in range(depth):
        product = stack[first]
        gains = {d: np.empty((depth - first, tokens)) for d in made}
        for last in range(first, depth):
            if last > first:
                product = stack[last] @ product
            gains["forward"][last - first] = np.abs(product.sum(axis=-1)).max(axis=-1)
            gains["backward"][last - first] = np.abs(product.sum(axis=-2)).max(axis=-1)
        for direction, g in gains.items():
            p50, p99 = np.quantile(g, (0.5, 0.99), axis=-1)
            found = {"mean": g.mean(axis=-1), "p50": p50, "p99": p99, "max": g.max(axis=-1)}
            for name, value in found.items():
                made[direction][name][first, first:] = np.log10(value)
    return made


def with_torch(stack: Floats) -> Made:
    """The same in torch."""
    matrices = torch.from_numpy(stack)
    depth, tokens = matrices.shape[:2]
    made = empty(depth)
    levels = torch.tensor((0.5, 0.99), dtype=matrices.dtype)
    for first in range(depth):
        product = matrices[first]
        gains = {d: matrices.new_empty((depth - first, tokens)) for d in made}
        for last in range(first, depth):
            if last > first:
                product = torch.bmm(matrices[last], product)
            gains["forward"][last - first] = product.sum(dim=-1).abs().amax(dim=-1)
            gains["backward"][last - first] = product.sum(dim=-2).abs().amax(dim=-1)
        for direction, g in gains.items():
            p50, p99 = torch.quantile(g, levels, dim=-1)
            found = {"mean": g.mean(dim=-1), "p50": p50, "p99": p99, "max": g.amax(dim=-1)}
            for name, value in found.items():
                made[direction][name][first, first:] = value.log10().numpy()
    return made


def ours(stack: Floats) -> Made:
    """`maths.triangle.triangles`."""
    return {str(direction): made for direction, made in triangles(stack).items()}


CANDIDATES: dict[str, Callable[[Floats], Made]] = {
    BASELINE: with_numpy,
    "one product per start, torch.bmm": with_torch,
    "mhc_diag": ours,
}


def mixing(depth: int, tokens: int, streams: int = 4) -> Floats:
    """Near-identity matrices, unconstrained."""
    noise = np.random.default_rng(0).standard_normal((depth, tokens, streams, streams))
    return np.eye(streams) + 0.05 * noise


def timed(work: Callable[[Floats], Made], stack: Floats) -> tuple[float, Made]:
    """Seconds and result of one call."""
    start = time.perf_counter()
    made = work(stack)
    return time.perf_counter() - start, made


def compare(depth: int, tokens: int, rounds: int) -> dict[str, float]:
    """Median seconds of each candidate; stops where results differ."""
    stack = mixing(depth, tokens)
    expected = with_numpy(stack)
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    order = list(CANDIDATES)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            seconds, made = timed(CANDIDATES[name], stack)
            times[name].append(seconds)
            for direction, tables in expected.items():
                for statistic, table in tables.items():
                    if not np.allclose(made[direction][statistic], table, rtol=0, atol=1e-9, equal_nan=True):
                        raise SystemExit(f"{name} disagrees: {direction} {statistic}")
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="sizes that take a second, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.depth, options.tokens, options.rounds = 6, 64, 1
    medians = compare(options.depth, options.tokens, options.rounds)
    threads = torch.get_num_threads()
    print(f"L = {options.depth}, T = {options.tokens}, n = 4, float64, torch with {threads} threads")
    for name, seconds in medians.items():
        print(f"{name:36} {seconds:8.3f} s {medians[BASELINE] / seconds:6.1f} x")
    deep = mixing(20, 16) if options.smoke else mixing(1000, 256)
    seconds, _ = timed(ours, deep)
    print(f"mhc_diag at L = {len(deep)}, T = {deep.shape[1]}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
