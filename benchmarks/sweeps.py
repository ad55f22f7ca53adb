"""Time a sweep with one job against the same with several: whole commands, `make bench`.

The commands take turns, so that a change in the load of the machine hits both; ratios of each round, and the
median of them. No ratio is larger than the cores that are free. Every report must be the same to the byte.
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

    def run(self, jobs: int, folder: Path) -> tuple[float, str]:
        """Seconds by the wall clock, and a digest of the report."""
        report = folder / f"{jobs}.json"
        command = [sys.executable, "-m", "mhc_diag", "simulate", "--seeds", str(self.seeds)]
        command += ["--metrics", self.metrics, "--jobs", str(jobs), "--report", f"json={report}"]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start, hashlib.sha256(report.read_bytes()).hexdigest()


def compare(kind: Kind, jobs: int, rounds: int, *, judged: bool) -> None:
    """Print how many times as fast several jobs are."""
    taken: dict[int, list[float]] = {1: [], jobs: []}
    digests = set()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for count in (1, jobs) if number % 2 else (jobs, 1):
                seconds, digest = kind.run(count, Path(folder))
                taken[count].append(seconds)
                digests.add(digest)
    if len(digests) != 1:
        raise SystemExit(f"{kind.name}: the reports differ")
    ratios = [one / several for one, several in zip(taken[1], taken[jobs], strict=True)]
    median = statistics.median(ratios)
    line = (
        f"{kind.name:24}{statistics.median(taken[1]):8.2f}{statistics.median(taken[jobs]):8.2f}{median:8.2f}"
    )
    line += f"   {min(ratios):.2f} to {max(ratios):.2f}"
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
    print(f"{'sweep':24}{'1 job':>8}{f'{options.jobs} jobs':>8}{'ratio':>8}   from to")
    for kind in kinds:
        compare(kind, options.jobs, options.rounds, judged=not options.smoke)


if __name__ == "__main__":
    main()
