"""What a user can say about how a checkpoint is to be read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from mhc_diag.errors import MhcDiagError


@dataclass(frozen=True, slots=True)
class Options:
    """How to read a checkpoint.

    Raises:
        MhcDiagError: one of the values cannot be meant.
    """

    key: str | None = None
    """Which table of tensors inside a training checkpoint: `model`, `ema`, `state.params`."""
    variant: str | None = None
    """Which of the codes that read the same tensors differently."""
    select: str | None = None
    """A regular expression: names of the square parameters that hold the mixing."""
    logits: str | None = None
    """What the selected parameters are projected by: `sinkhorn:20`."""
    samples: int = 0
    """How many Gaussian inputs a dynamic site is evaluated at; 0 for its static part."""
    correlation: float = 0.0
    """Correlation between the streams of such an input."""
    activations: Path | None = None
    """A file of saved streams to evaluate dynamic sites at."""
    seed: int = 0
    unsafe_pickle: bool = False

    @property
    def flag(self) -> str:
        """An option that only makes sense where parameters are read, if one is given."""
        given = {
            "--samples": self.samples,
            "--activations": self.activations,
            "--variant": self.variant,
            "--select": self.select,
        }
        return next((flag for flag, value in given.items() if value), "")

    def __post_init__(self) -> None:
        if not 0 <= self.samples <= 1_000_000:
            raise MhcDiagError(f"--samples is {self.samples}", hint="give a number from 1 to 1,000,000")
        if not 0 <= self.correlation <= 1 or math.isnan(self.correlation):
            raise MhcDiagError(
                f"--stream-correlation is {self.correlation}", hint="give a number from 0 to 1"
            )
        if self.correlation and not self.samples:
            raise MhcDiagError("--stream-correlation is given without --samples", hint="add --samples 4096")
        if self.activations is not None and self.samples:
            raise MhcDiagError(
                "--samples and --activations are both given, and both say what the streams are",
                hint="give one of them",
            )
        if self.logits is not None and self.select is None:
            raise MhcDiagError(
                "--logits says how to read selected parameters, but none are selected",
                hint="add --select REGEX with their names",
            )
        try:
            re.compile(self.select or "")
        except re.error as e:
            raise MhcDiagError(
                f"--select {self.select!r} is no regular expression: {e}",
                hint="to match a dot write \\., to match any number \\d+",
            ) from e
