"""Time a sweep with one job against the same with several: whole commands, `make bench`.

The commands take turns, so that a change in the load of the machine hits all; ratios of each round, and the
median of them. What the machine can give is measured beside them: as many independent commands of one job at
once, which share caches and memory and nothing else. Every report must be the same to the byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

GOAL = 1.7
"""With two jobs, on two free cores."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A sweep to time."""

    name: str
    seeds: int
    metrics: str

    def run(self, jobs: int, folder: Path, at_once: int = 1) -> tuple[float, set[str]]:
        """Seconds by the wall clock until so many are done, and digests of their reports."""
        reports = [folder / f"{k}.json" for k in range(at_once)]
        command = [sys.executable, "-m", "mhc_diag", "simulate", "--seeds", str(self.seeds)]
        command += ["--metrics", self.metrics, "--jobs", str(jobs), "--report"]
        start = time.perf_counter()
        running = [
            subprocess.Popen(
                [*command, f"json={report}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for report in reports
        ]
        if any(process.wait() for process in running):
            raise SystemExit(f"{self.name}: a command failed")
        seconds = time.perf_counter() - start
        return seconds, {hashlib.sha256(report.read_bytes()).hexdigest() for report in reports}


def compare(kind: Kind, jobs: int, rounds: int, *, judged: bool) -> None:
    """Print how many times as fast several jobs are."""
    ways = (1, 1), (jobs, 1), (1, jobs)  # jobs, commands at once
    taken: dict[tuple[int, int], list[float]] = {way: [] for way in ways}
    digests: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for count, at_once in ways if number % 2 else ways[::-1]:
                seconds, made = kind.run(count, Path(folder), at_once)
                taken[count, at_once].append(seconds)
                digests |= made
    if len(digests) != 1:
        raise SystemExit(f"{kind.name}: the reports differ")
    one, several, apart = taken.values()
    ratios = [a / b for a, b in zip(one, several, strict=True)]
    possible = statistics.median(jobs * a / b for a, b in zip(one, apart, strict=True))
    median = statistics.median(ratios)
    line = f"{kind.name:24}{statistics.median(one):8.2f}{statistics.median(several):8.2f}{median:8.2f}"
    line += f"   {min(ratios):.2f} to {max(ratios):.2f}{possible:10.2f}"
    if judged and jobs == 2:
        line += f"   goal {GOAL}: {'met' if median >= GOAL else 'MISSED'}"
    print(line)


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="a tiny size, to see that it runs and agrees")
    options = parser.parse_args()
    kinds = [Kind("12,288 stacks, all", 12_288, "all"), Kind("131,072 stacks, paper", 131_072, "paper")]
    if options.smoke:
        options.rounds, kinds = 1, [Kind("100 stacks, paper", 100, "paper")]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"64 sites, {options.rounds} rounds{load}")
    print(f"{'sweep':24}{'1 job':>8}{f'{options.jobs} jobs':>8}{'ratio':>8}   {'from to':12}{'possible':>10}")
    for kind in kinds:
        compare(kind, options.jobs, options.rounds, judged=not options.smoke)


if __name__ == "__main__":
    main()
