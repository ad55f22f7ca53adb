"""What a dynamic site is given to read: one file = one answer.

A checkpoint of a model whose mixing depends on the streams holds no matrix, but a function of them. A reading
says for which streams it is evaluated:

    zero          none: what is left is the static part
    sampled       streams of Gaussian noise, drawn where only their projections are needed
    activations   streams that the user saved

A site reads its n streams of C channels by a few fixed directions, after they are normalised to a root mean
square of 1, all n C numbers of a token together (one block) or each stream by itself (n blocks). What it
reads off, an array (T, B, R), is all that the mixing can depend on, and by Cauchy and Schwarz none of it can
exceed |direction| sqrt(length of the block).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """The directions along which one site reads the streams of a token.

    Example:
        >>> read = Read(np.array([[3.0, 4.0]]), streams=2, blocks=1)
        >>> read.reach().round(6).tolist()
        [[7.071068]]
    """

    weight: np.ndarray[Any, Any]
    """(R, W): W = n C where the streams are normalised together, C where each is by itself."""
    streams: int
    blocks: int
    """1 or n: how many parts of the streams are normalised, and read, separately."""

    def reach(self) -> np.ndarray[Any, Any]:
        """(B, R): |direction| sqrt(W), which no value exceeds, by Cauchy and Schwarz."""
        squares = np.einsum("rw,rw->r", self.weight, self.weight, dtype=np.float64)
        rows = np.sqrt(squares * self.weight.shape[1])
        return np.broadcast_to(rows, (self.blocks, len(rows)))


class Reading(Protocol):
    """An answer to the question at which streams a site is evaluated."""

    @property
    def name(self) -> Literal["static", "sampled", "activations"]:
        """What it is called in a report."""

    @property
    def how(self) -> str:
        """Half a sentence: at which input the matrices are taken."""

    def values(self, read: Read, site: int, label: str) -> np.ndarray[Any, Any]:
        """(T, B, R): what one site reads off."""
