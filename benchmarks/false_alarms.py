"""Count the gate's false alarms and its misses: `python benchmarks/false_alarms.py`.

    healthy   doubly stochastic stacks as published codes initialise them, and with logits that all sites
              share, of depth 24 to 122: none should raise an error
    sick      the same stacks with one thing wrong: all should

Each stack is judged alone, as one model of a few tokens would be. Prints a table in Markdown, the one in
docs/gate.md; ends with exit code 1 where more than 1 in 100 healthy stacks raise an error or fewer than 99
in 100 sick ones do.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mhc_diag import analyse, judge
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.policy import Policy
from mhc_diag.records import MixingStack, Promise, Provenance, Site
from mhc_diag.sources.draws import Draw
from mhc_diag.sources.ensembles import correlated, deepseek_init, lucidrains_init, megatron_init, paper

Floats = np.ndarray[Any, Any]
ITERATIONS = 20
TOKENS = 4
STREAMS = 4
SHALLOWEST, DEEPEST = 24, 122
SMOKE = 24


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which stacks are healthy or sick."""

    what: str
    make: Callable[[np.random.Generator, int, int], MixingStack]
    """From random numbers, a seed and a depth."""


def draw(seed: int, depth: int, scale: float, noise: float = 0.0) -> Draw:
    """One draw of several tokens."""
    return Draw(seed, range(TOKENS), depth, STREAMS, scale, noise, None)


def stack(matrices: Floats, logits: Floats | None, iterations: int = ITERATIONS) -> MixingStack:
    """A stack of which mHC was promised."""
    promise = Promise("doubly stochastic", "rows", iterations, 0.0, "the benchmark")
    where = Provenance(
        "benchmark", "sampled", "drawn", "direct", "token", (matrices.shape[1],),
        settings={"sinkhorn_iters": iterations}, promise=promise,
    )  # fmt: skip
    sites = tuple(Site(f"layers.{k // 2}", ("attn", "mlp")[k % 2], k) for k in range(len(matrices)))
    return MixingStack("stack", matrices, sites, where, logits=logits)


def projected(logits: Floats, iterations: int = ITERATIONS) -> MixingStack:
    """Logits and what Sinkhorn makes of them, rows last."""
    return stack(sinkhorn.project(logits, iterations=iterations), logits, iterations)


def deepseek(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """512 to 7,168 channels."""
    scale = 0.02 * np.sqrt(STREAMS * rng.integers(512, 7169))
    return projected(deepseek_init.logits(draw(seed, depth, float(scale))))


def lucidrains(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """The dynamic part as large as a factor of 0.01 to 0.1 lets through."""
    return projected(lucidrains_init.logits(draw(seed, depth, float(rng.uniform(0.01, 0.1)))))


def megatron(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """Its own scale."""
    return projected(megatron_init.logits(draw(seed, depth, float(megatron_init.SCALE or 0))))


def shared(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """Trained models: sites resemble each other."""
    return projected(correlated.logits(draw(seed, depth, float(rng.uniform(1, 4)), 0.3)))


def amplifying(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """The profile of the mHC paper's Fig. 3, which nothing projects."""
    made = stack(paper.logits(draw(seed, depth, 1.0)), None)
    return replace(made, provenance=replace(made.provenance, promise=None))


def leaning(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """Constrained mixing of which every sum is 1.04 to 1.2."""
    made = shared(rng, seed, depth)
    return replace(made, matrices=made.matrices * rng.uniform(1.04, 1.2))


def collapsed(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """At every site the streams are replaced by their mean."""
    made = deepseek(rng, seed, depth)
    return replace(made, matrices=np.full_like(made.matrices, 1 / STREAMS), logits=None)


def decayed(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """Weight decay has taken the logits to a size of 1e-6 to 1e-3."""
    return projected(deepseek_init.logits(draw(seed, depth, float(10 ** rng.uniform(-6, -3)))))


def one_stream(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """At every site all streams become copies of the first."""
    made = deepseek(rng, seed, depth)
    matrices = np.zeros_like(made.matrices)
    matrices[..., 0] = 1.0
    return replace(made, matrices=matrices, logits=None)


def dead(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """A temperature of 0.05 on logits of size 1 to 4."""
    return projected(deepseek_init.logits(draw(seed, depth, float(rng.uniform(1, 4)))) / 0.05)


def transposed(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """The transpose is applied of what was meant."""
    made = shared(rng, seed, depth)
    return replace(made, matrices=np.swapaxes(made.matrices, -1, -2))


def truncated(rng: np.random.Generator, seed: int, depth: int) -> MixingStack:
    """One to three iterations of twenty, on logits of size 2 to 4."""
    logits = correlated.logits(draw(seed, depth, float(rng.uniform(2, 4)), 0.3))
    made = projected(logits, int(rng.integers(1, 4)))
    return replace(made, provenance=projected(logits).provenance)


HEALTHY = (
    Kind("DeepSeek-V4 at initialisation", deepseek),
    Kind("hyper-connections (mHC) at initialisation", lucidrains),
    Kind("Megatron-LM at initialisation", megatron),
    Kind("logits shared by all sites, scale 1 to 4", shared),
)
SICK = (
    Kind("amplifying: unconstrained, as in the paper", amplifying),
    Kind("amplifying: sums of 1.04 to 1.2", leaning),
    Kind("collapsed: streams replaced by their mean", collapsed),
    Kind("collapsed: logits after weight decay", decayed),
    Kind("collapsed: all streams the first", one_stream),
    Kind("dead: temperature 0.05", dead),
    Kind("transposed", transposed),
    Kind("truncated: 1 to 3 Sinkhorn iterations", truncated),
)


def judged(kinds: tuple[Kind, ...], count: int, seed: int) -> Iterator[tuple[Kind, int, int, Counter[str]]]:
    """Of each kind: how many stacks, how many of them raise an error, and which findings how often."""
    for number, kind in enumerate(kinds):
        stacks = count // len(kinds) + (number < count % len(kinds))
        errors, found = 0, Counter[str]()
        for k in range(stacks):
            rng = np.random.default_rng([seed, number, k])
            depth = int(rng.integers(SHALLOWEST, DEEPEST + 1))
            report = analyse(kind.make(rng, int(rng.integers(1 << 31)), depth))
            verdict = judge([report], Policy(profile="auto"))
            errors += bool(verdict.errors)
            found.update({f"{f.rule} {f.level}" for f in verdict.findings})
        yield kind, stacks, errors, found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Count the gate's false alarms and its misses.")
    parser.add_argument("--stacks", type=int, default=1000, help="healthy ones, and as many sick ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="24 of each, to see that it still runs")
    options = parser.parse_args()
    count = SMOKE if options.smoke else options.stacks
    print("| stacks | judged | errors | findings |\n|---|---|---|---|")
    shares = []
    for name, kinds in (("healthy", HEALTHY), ("sick", SICK)):
        total = wrong = 0
        for kind, stacks, errors, found in judged(kinds, count, options.seed):
            told = ", ".join(f"{rule} {times}" for rule, times in sorted(found.items())) or "none"
            print(f"| {kind.what} | {stacks} | {errors} | {told} |", flush=True)
            total, wrong = total + stacks, wrong + errors
        shares.append(wrong / total)
        print(f"| **{name}** | {total} | **{100 * wrong / total:.1f} %** | |", flush=True)
    sys.exit(not (shares[0] <= 0.01 and shares[1] >= 0.99))


if __name__ == "__main__":
    main()
