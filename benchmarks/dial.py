"""The dial over Sinkhorn iterations: both composite gains of 1,000 simulated stacks, for HC and for 0 to 20.

This library beside what users write: numpy with one stack a batch entry, and one matrix at a time as public
simulators do it (timed on a few stacks and scaled to all). Both start anew for every number of iterations.
Each round times all of them in a random order; medians of the rounds. The gains must agree, or nothing is
printed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mhc_diag.maths import projected, sweeps

Floats = np.ndarray[Any, Any]
Gains = list[Any]  # forward, then backward, for HC and every count: (L, T), or a pair of value and exponent
COUNTS = tuple(range(21))
GOALS = {"numpy, batched": 15.0, "numpy, one matrix at a time": 700.0}


def ours(logits: Floats) -> Gains:
    """HC, then every count; forward, then backward, of each: (L, T) as value and exponent."""
    settings = [sweeps.composite_gains(logits), *projected.dial(logits, COUNTS).values()]
    return [pair for gains in settings for pair in gains.values()]


def batched(logits: Floats) -> Gains:
    """The textbook, on arrays (L, T, n, n)."""
    made: Gains = []
    for count in (None, *COUNTS):
        m = logits if count is None else np.exp(logits)
        for _ in range(count or 0):
            m = m / m.sum(axis=-2, keepdims=True)
            m = m / m.sum(axis=-1, keepdims=True)
        forward, backward = np.empty(m.shape[:2]), np.empty(m.shape[:2])
        product = np.broadcast_to(np.eye(m.shape[-1]), m.shape[1:])
        for site in range(len(m)):
            product = m[site] @ product
            forward[site] = np.abs(product.sum(axis=-1)).max(axis=-1)
        product = np.broadcast_to(np.eye(m.shape[-1]), m.shape[1:])
        for site in reversed(range(len(m))):
            product = product @ m[site]
            backward[site] = np.abs(product.sum(axis=-2)).max(axis=-1)
        made += [forward, backward]
    return made


def one_by_one(logits: Floats) -> Gains:
    """The same for each stack by itself, a matrix at a time."""
    stacks = []
    for stack in range(logits.shape[1]):
        settings: list[list[Any]] = []
        for count in (None, *COUNTS):
            matrices = [projected_alone(m, count) for m in logits[:, stack]]
            forward, backward = [], []
            product = np.eye(logits.shape[-1])
            for m in matrices:
                product = m @ product
                forward.append(np.max(np.abs(np.sum(product, axis=1))))
            product = np.eye(logits.shape[-1])
            for m in reversed(matrices):
                product = product @ m
                backward.append(np.max(np.abs(np.sum(product, axis=0))))
            settings += [forward, backward[::-1]]
        stacks.append(settings)
    return list(np.moveaxis(np.array(stacks), 0, -1))


def projected_alone(m: Floats, count: int | None) -> Floats:
    """Sinkhorn-Knopp of one matrix."""
    if count is None:
        return m
    m = np.exp(m)
    for _ in range(count):
        m = m / m.sum(axis=0, keepdims=True)
        m = m / m.sum(axis=1, keepdims=True)
    return m


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", type=int, default=1000)
    parser.add_argument("--depth", type=int, default=64)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--alone", type=int, default=4, help="stacks to time one matrix at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a tiny size, to see that it runs and agrees")
    options = parser.parse_args()
    if options.smoke:
        options.stacks, options.depth, options.alone, options.rounds = 20, 8, 1, 1
    shape = (options.depth, options.stacks, options.streams, options.streams)
    logits = np.random.default_rng(0).standard_normal(shape)
    few = logits[:, : options.alone]
    ways: dict[str, tuple[Callable[[Floats], Gains], Floats, float]] = {
        "mhc_diag": (ours, logits, 1.0),
        "numpy, batched": (batched, logits, 1.0),
        "numpy, one matrix at a time": (one_by_one, few, options.stacks / options.alone),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    expected = [np.ldexp(value, exponent.astype(int)) for value, exponent in ours(logits)]
    for _ in range(options.rounds):
        for name in random.sample(list(ways), len(ways)):
            work, given, scale = ways[name]
            start = time.perf_counter()
            made = work(given)
            times[name].append((time.perf_counter() - start) * scale)
            for found, right in zip(made, expected, strict=True):
                plain = np.ldexp(found[0], found[1].astype(int)) if isinstance(found, tuple) else found
                if not np.allclose(plain, right[:, : given.shape[1]], rtol=1e-9, atol=1e-9):
                    raise SystemExit(f"{name} disagrees")
    print(
        f"{options.stacks} stacks of depth {options.depth}, n = {options.streams}, HC and 0 to 20 iterations"
    )
    base = statistics.median(times["mhc_diag"])
    print(f"{'mhc_diag':28} {base:9.3f} s")
    for name, goal in GOALS.items():
        seconds = statistics.median(times[name])
        verdict = f" (goal {goal:.0f} x): {'met' if seconds >= goal * base else 'MISSED'}"
        scaled = f", scaled from {options.alone} stacks" if ways[name][2] != 1 else ""
        print(f"{name:28} {seconds:9.3f} s {seconds / base:7.1f} x{'' if options.smoke else verdict}{scaled}")


if __name__ == "__main__":
    main()
