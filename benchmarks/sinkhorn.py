"""Sinkhorn-Knopp of many small matrices: this library beside what else there is, in one process.

Each round times all of them in a random order, from and to (B, n, n); medians of the rounds, as million
matrices a second and as a ratio to torch eager. Each must agree with this library under the options that
mirror its choices, or nothing is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mhc_diag.maths.projections import sinkhorn

Floats = np.ndarray[Any, Any]
ITERATIONS = 20
ALONE = 500  # matrices to take one by one
PAUSE = 0.1  # seconds before each: torch's threads keep a core busy for a while after they have finished
GOALS = {"float32": 7.0, "float64": 4.0}
DEEPSEEK = """\
comb = torch.softmax(comb_w * comb_scale + comb_b, dim=-1) + self.hc_eps
comb = comb / (comb.sum(dim=-2, keepdim=True) + self.hc_eps)
for _ in range(self.hc_sinkhorn_iters - 1):
comb = comb / (comb.sum(dim=-1, keepdim=True) + self.hc_eps)
comb = comb / (comb.sum(dim=-2, keepdim=True) + self.hc_eps)
"""


def eager(x: Floats) -> Floats:
    """What a model does: whole tensors, matrices last."""
    logits = torch.from_numpy(x)
    m = torch.exp(logits - logits.amax(-2, keepdim=True))
    for _ in range(ITERATIONS):
        m = m / m.sum(-2, keepdim=True)
        m = m / m.sum(-1, keepdim=True)
    return m.numpy()


def textbook(x: Floats) -> Floats:
    """The same lines in numpy."""
    m = np.exp(x - x.max(-2, keepdims=True))
    for _ in range(ITERATIONS):
        m = m / m.sum(-2, keepdims=True)
        m = m / m.sum(-1, keepdims=True)
    return m


def alone(x: Floats) -> Floats:
    """The same lines, one matrix at a time."""
    return np.stack([textbook(one) for one in x])


def transformers(x: Floats) -> Floats:
    """The loop of transformers' DeepseekV4HyperConnection.forward, which takes no logits from outside."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise ImportError("transformers")
    source = Path(spec.origin).parent / "models" / "deepseek_v4" / "modeling_deepseek_v4.py"
    theirs = {line.strip() for line in source.read_text(encoding="utf-8").splitlines()}
    if not theirs.issuperset(DEEPSEEK.splitlines()):
        raise SystemExit("transformers has other lines now: bring them here")
    eps = 1e-6
    comb = torch.softmax(torch.from_numpy(x), dim=-1) + eps
    comb = comb / (comb.sum(dim=-2, keepdim=True) + eps)
    for _ in range(ITERATIONS - 1):
        comb = comb / (comb.sum(dim=-1, keepdim=True) + eps)
        comb = comb / (comb.sum(dim=-2, keepdim=True) + eps)
    return comb.numpy()


def hyper_connections(x: Floats) -> Floats:
    """hyper-connections' own function, which computes in float32 whatever it is given."""
    from hyper_connections.mHCv2 import sinkhorn_knopps

    return sinkhorn_knopps(torch.from_numpy(x), iters=ITERATIONS).numpy()


def pot(x: Floats) -> Floats:
    """POT's batched solver on torch: all marginals 1, rows first, so that it is given the transposes."""
    from ot.batch import bregman_projection_batch

    logits = torch.from_numpy(x).mT
    kernel = torch.exp(logits - logits.amax(-1, keepdim=True))
    ones = torch.ones(x.shape[:2], dtype=kernel.dtype)
    made: torch.Tensor = bregman_projection_batch(kernel, ones, ones, max_iter=ITERATIONS, tol=0.0)["T"]
    return made.mT.numpy()


def ours(x: Floats, **options: Any) -> Floats:
    """`sinkhorn.project` on a numpy array."""
    made: Floats = sinkhorn.project(x, **{"iterations": ITERATIONS, **options})
    return made


def ours_in_torch(x: Floats) -> Floats:
    """`sinkhorn.project` on a tensor."""
    made: torch.Tensor = sinkhorn.project(torch.from_numpy(x), iterations=ITERATIONS)
    return made.numpy()


CANDIDATES: dict[str, tuple[Callable[[Floats], Floats], str]] = {
    "torch eager": (eager, "paper"),
    "numpy textbook": (textbook, "paper"),
    f"numpy, one by one ({ALONE}, scaled)": (alone, "paper"),
    "transformers, DeepSeek-V4": (transformers, "deepseek"),
    "hyper-connections": (hyper_connections, "lucidrains"),
    "POT, batched, torch": (pot, "paper"),
    "mhc_diag, torch": (ours_in_torch, "paper"),
    "mhc_diag, numpy": (ours, "paper"),
}


def installed(x: Floats) -> dict[str, tuple[Callable[[Floats], Floats], str]]:
    """The candidates that can be called, each of which has been once, so that no import is timed."""
    found = {}
    for name, (work, preset) in CANDIDATES.items():
        try:
            work(x[:2])
        except ImportError:
            continue
        found[name] = work, preset
    return found


def compare(x: Floats, rounds: int) -> dict[str, float]:
    """Median seconds of each candidate that is installed; stops where results differ."""
    candidates = installed(x)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    expected = {preset: ours(x, **sinkhorn.PRESETS[preset]) for preset in ("paper", "deepseek", "lucidrains")}
    for _ in range(rounds):
        for name in random.sample(list(candidates), len(candidates)):
            work, preset = candidates[name]
            given = x[:ALONE] if work is alone else x
            time.sleep(PAUSE)
            start = time.perf_counter()
            made = work(given)
            times[name].append((time.perf_counter() - start) * len(x) / len(given))
            single = x.dtype == np.float32 or work is hyper_connections
            tolerance = 1e-5 if single else 1e-13
            if not np.allclose(made, expected[preset][: len(given)], rtol=0, atol=tolerance):
                raise SystemExit(f"{name} disagrees in {x.dtype}")
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main() -> None:
    """Print a table for float32 and float64."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrices", type=int, default=122_880)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a tiny size, to see that it runs and agrees")
    options = parser.parse_args()
    if options.smoke:
        options.matrices, options.rounds = 2000, 1
    shape = (options.matrices, options.streams, options.streams)
    threads = torch.get_num_threads()
    print(f"B = {shape[0]}, n = {shape[1]}, {ITERATIONS} iterations, torch with {threads} threads")
    for dtype, goal in GOALS.items():
        x = np.random.default_rng(0).normal(size=shape).astype(dtype)
        medians = compare(x, options.rounds)
        base = medians["torch eager"]
        for name in CANDIDATES:
            if name not in medians:
                print(f"{dtype:8} {name:32} not installed")
                continue
            seconds = medians[name]
            verdict = ""
            if name == "mhc_diag, numpy" and not options.smoke:
                verdict = f" (goal {goal:.0f} x): {'met' if base >= goal * seconds else 'MISSED'}"
            rate = shape[0] / seconds / 1e6
            print(f"{dtype:8} {name:32} {rate:8.4f} M/s {base / seconds:7.3f} x{verdict}")


if __name__ == "__main__":
    main()
