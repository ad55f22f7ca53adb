"""Random numbers of a simulation: stack number k of seed s has its own stream, keyed by (s, k).

The streams are those of the Philox counter-based generator, so a stack is the same whatever the number of
stacks, parts, threads or workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mhc_diag.records import Array
from mhc_diag.sources.measured import Measured

BLOCK = 32  # stacks that are copied at a time into the order of sites, for the sake of the cache


@dataclass(frozen=True, slots=True)
class Draw:
    """Some of the stacks of a simulation, and what an ensemble may know to draw them.

    Example:
        >>> Draw(seed=0, stacks=range(10, 12), depth=3, streams=4).normals().shape
        (3, 2, 4, 4)
    """

    seed: int
    stacks: range
    """Their numbers, without gaps."""
    depth: int
    streams: int
    scale: float = 1.0
    noise: float = 0.0
    measured: Measured | None = None

    def normals(self, matrices: int | None = None, *, stretch: int = 0) -> Array:
        """Independent N(0, 1) entries (matrices, T, n, n).

        Args:
            matrices: how many for each stack; as many as it has sites if not given. The first of them are the
                same however many follow.
            stretch: which stretch of each stack's stream they come from; numbers from different stretches are
                independent, numbers from the same one are the same.
        """
        import numpy as np

        count = self.depth if matrices is None else matrices
        drawn = np.empty((count, len(self.stacks), self.streams, self.streams))
        block = np.empty((min(BLOCK, len(self.stacks)), count, self.streams, self.streams))
        for number, generator in enumerate(self._generators(stretch)):
            generator.standard_normal(out=block[number % BLOCK])
            done = number % BLOCK + 1
            if done == len(block) or number + 1 == len(self.stacks):
                drawn[:, number + 1 - done : number + 1] = block[:done].swapaxes(0, 1)
        return drawn

    def picks(self, choices: int) -> Array:
        """Independent whole numbers from 0 up to below `choices`, all equally likely: (depth, T)."""
        import numpy as np

        drawn = np.empty((self.depth, len(self.stacks)), dtype=np.int64)
        for number, generator in enumerate(self._generators(0)):
            drawn[:, number] = generator.integers(choices, size=self.depth)
        return drawn

    def _generators(self, stretch: int) -> Iterator[Any]:
        """For each stack, a generator at the start of a stretch of its stream: one and the same, set anew.

        To make one costs more than to draw a stack of 50 sites from it.
        """
        import numpy as np

        philox = np.random.Philox(key=np.array([self.seed, 0], dtype=np.uint64))
        generator, state = np.random.Generator(philox), philox.state
        state["state"]["counter"][3] = stretch  # the highest of its four words: 2**192 blocks apart
        for stack in self.stacks:
            state["state"]["key"][1] = stack
            philox.state = state
            yield generator
