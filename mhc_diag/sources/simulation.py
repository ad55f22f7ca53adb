"""What to simulate: the settings of a simulation, checked when they are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from mhc_diag import plugins
from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.precision import Precision

ENSEMBLES = "mhc_diag.sources.ensembles"
MANIFOLDS = "mhc_diag.maths.projections"
LARGEST_STACK = 2**31
"""Bytes that the logits of one stack may take."""
RANGES = {
    "depth": (1, 1_000_000),
    "streams": (2, 64),
    "seeds": (1, 10_000_000),
    "seed": (0, 2**63 - 1),
    "sinkhorn_iters": (0, 100_000),
}


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to draw and what to project it onto.

    Example:
        >>> round(Simulation(depth=64).resolved_scale, 6)  # a typical gain of 3000 after 60 sites
        0.366101
        >>> Simulation(ensemble="correlated").resolved_noise
        0.3
    """

    depth: int = 64
    """Number of sites L."""
    streams: int = 4
    """Number of streams n."""
    seeds: int = 64
    """Number of stacks T."""
    seed: int = 0
    sinkhorn_iters: tuple[int, ...] = (20,)
    """Iteration counts of the manifold sinkhorn; each makes a case."""
    ensemble: str = "near-identity"
    """How logits are drawn: a file of sources/ensembles, with dashes."""
    scale: float | None = None
    """None for the ensemble's own."""
    noise: float | None = None
    """None for the ensemble's own."""
    manifolds: tuple[str, ...] = ("identity", "none", "sinkhorn")
    """What the logits are projected onto: files of maths/projections, with dashes or underscores."""
    dtype: Precision = "fp64"
    """What the projected matrices are rounded to; they stay float64 arrays."""
    report: Path | None = None
    """The saved report that the ensemble from-report draws from."""

    def __post_init__(self) -> None:
        for name in ("depth", "streams", "seeds", "seed"):
            _in_range(name, getattr(self, name))
        for count in self.sinkhorn_iters:
            _in_range("sinkhorn_iters", count)
        taken = 8 * self.depth * self.streams**2
        if taken > LARGEST_STACK:
            raise MhcDiagError(
                f"a single stack of {self.depth} sites and {self.streams} streams takes {taken / 1e9:.0f} GB",
                hint="choose fewer sites or streams; stacks are drawn one after the other, a stack is not",
            )
        _one_of("ensemble", self.ensemble, _dashed(ENSEMBLES))
        for manifold in self.manifolds:
            _one_of("manifold", manifold.replace("_", "-"), _dashed(MANIFOLDS))
        _one_of("dtype", self.dtype, get_args(Precision))
        _without_repetition("sinkhorn-iters", self.sinkhorn_iters)
        _without_repetition("manifold", tuple(m.replace("_", "-") for m in self.manifolds))
        self._check_size("scale", self.scale, self.default_scale)
        self._check_size("noise", self.noise, self.module.NOISE)
        measured = getattr(self.module, "MEASURED", False)
        if measured and self.report is None:
            raise MhcDiagError(
                f"--ensemble {self.ensemble} needs a report to draw from",
                hint="add --measured FILE, a report saved by: mhc-diag scan TARGET --report json=FILE",
            )
        if self.report is not None and not measured:
            raise MhcDiagError(
                f"--measured was given, but --ensemble {self.ensemble} draws from no report",
                hint="add --ensemble from-report",
            )

    @property
    def module(self) -> ModuleType:
        """The plug-in that draws."""
        return plugins.load(ENSEMBLES, self.ensemble.replace("-", "_"))

    @property
    def default_scale(self) -> float | None:
        """The ensemble's own scale for this number of streams; None where it has none."""
        given = getattr(self.module, "default_scale", None)
        return self.module.SCALE if given is None else given(self.streams)

    @property
    def resolved_scale(self) -> float | None:
        """The scale, or what stands for it when none is given."""
        return self.default_scale if self.scale is None else self.scale

    @property
    def resolved_noise(self) -> float | None:
        """The noise, or what stands for it when none is given; None where the ensemble has none."""
        return self.module.NOISE if self.noise is None else self.noise

    def _check_size(self, name: str, given: float | None, default: float | None) -> None:
        if given is None:
            return
        if default is None:
            raise MhcDiagError(
                f"--{name} is {given}, but --ensemble {self.ensemble} has no {name}", hint=f"omit --{name}"
            )
        if not 0 <= given <= 1e100:
            raise MhcDiagError(f"--{name} is {given}", hint=f"choose a finite {name} of 0 or more")


def _in_range(name: str, value: int) -> None:
    low, high = RANGES[name]
    if not low <= value <= high:
        flag = name.replace("_", "-")
        raise MhcDiagError(f"--{flag} is {value}", hint=f"choose {flag} from {low} to {high}")


def _one_of(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise MhcDiagError(f"--{flag} is {value!r}", hint=f"choose one of {', '.join(known)}")


def _without_repetition(flag: str, values: tuple[Any, ...]) -> None:
    if not values:
        raise MhcDiagError(f"--{flag} is empty", hint="name at least one, or omit it")
    twice = [v for i, v in enumerate(values) if v in values[:i]]
    if twice:
        raise MhcDiagError(f"--{flag} has {twice[0]} twice", hint="name each once")


def _dashed(package: str) -> tuple[str, ...]:
    return tuple(name.replace("_", "-") for name in plugins.names(package))
