"""Random stacks: the same logits without mixing, unconstrained, and projected, side by side.

They come in parts of bounded size, each drawn and projected when it is asked for. A stack does not depend on
the part that it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mhc_diag import plugins
from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.precision import rounded
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import Array, MixingStack, Promise, Provenance, Site
from mhc_diag.sources.draws import Draw
from mhc_diag.sources.measured import Measured, read
from mhc_diag.sources.printable import printable
from mhc_diag.sources.simulation import MANIFOLDS, Simulation

PART_BYTES = 2**24
"""How much memory the logits of a part may take, unless a single stack takes more."""
BOUNDED = {"cayley", "circulant", "identity", "kronecker", "permutations", "sinkhorn", "softmax_rows"}
"""Manifolds on which composite gains stay bounded at any depth, so that they grow at rate 0."""

SIMULATION = "the simulation"
PROMISES = {
    "cayley": Promise("orthogonal"),
    "circulant": Promise("doubly stochastic", "both"),
    "identity": Promise("identity", "both"),
    "kronecker": Promise("doubly stochastic", "both"),
    "orthostochastic": Promise("doubly stochastic"),
    "permutations": Promise("doubly stochastic", "both"),
    "softmax_rows": Promise("row stochastic", "rows"),
}
"""What each manifold is, but Sinkhorn's, which depends on how often it iterates."""

__all__ = ["Case", "Simulation", "cases", "simulate"]


@dataclass(frozen=True, slots=True)
class _Manifold:
    """A projection as one case uses it."""

    module: str
    label: str
    how: str
    project: Callable[[Array], Array]
    settings: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One way to project the stacks, which come in parts.

    How many parts there are, and which stacks each holds, follows from the simulation alone.

    Example:
        >>> case = cases(Simulation(depth=64, seeds=5000))[1]
        >>> case.name, case.count, case.stacks(2)
        ('HC', 3, range(4096, 5000))
    """

    simulation: Simulation
    manifold: _Manifold
    measured: Measured | None
    size: int
    """Most stacks in a part."""

    @property
    def name(self) -> str:
        """What the report is called."""
        return self.manifold.label

    @property
    def depth(self) -> int:
        """Number of sites."""
        return self.simulation.depth

    @property
    def static(self) -> bool:
        """Whether all stacks are alike, so that one stands for all."""
        return self.manifold.module == "identity"

    @property
    def seeds(self) -> int:
        """Number of matrices a site has: of stacks, or 1 where all are alike."""
        return 1 if self.static else self.simulation.seeds

    @property
    def count(self) -> int:
        """Number of parts."""
        return -(-self.seeds // self.size)

    def stacks(self, number: int) -> range:
        """Which stacks a part holds."""
        return range(self.seeds)[number * self.size : (number + 1) * self.size]

    @property
    def about(self) -> MixingStack:
        """All but the arrays."""
        where = _provenance(self.simulation, self.manifold, self.measured)
        sites = tuple(Site("", "", depth) for depth in range(self.depth))
        theory = _theory(self.simulation, self.manifold)
        return MixingStack(self.name, None, sites, where, theory=theory)

    def part(self, number: int) -> MixingStack:
        """Draw and project a part."""
        import numpy as np

        simulation, n = self.simulation, self.simulation.streams
        if self.static:
            return replace(self.about, matrices=np.broadcast_to(np.eye(n), (self.depth, 1, n, n)))
        scale, noise = simulation.resolved_scale, simulation.resolved_noise
        draw = Draw(
            seed=simulation.seed,
            stacks=self.stacks(number),
            depth=self.depth,
            streams=n,
            scale=1.0 if scale is None else scale,
            noise=0.0 if noise is None else noise,
            measured=self.measured,
        )
        matrices, logits = _projected(simulation, self.manifold, draw)
        return replace(self.about, matrices=matrices, logits=logits)

    def parts(self) -> Iterator[MixingStack]:
        """Draw and project all parts, one after the other."""
        return map(self.part, range(self.count))


def cases(simulation: Simulation) -> list[Case]:
    """One case for each manifold, and for each count of Sinkhorn iterations; all from the same logits.

    Raises:
        MhcDiagError: a manifold is impossible for that many streams, or the report to draw from is unusable.

    Example:
        >>> [case.name for case in cases(Simulation(depth=2, seeds=1, sinkhorn_iters=(1, 20)))]
        ['identity', 'HC', 'mHC 1', 'mHC 20']
    """
    import numpy as np

    measured = None if simulation.report is None else read(simulation.report)
    if measured is not None and measured.matrices.shape[-1] != simulation.streams:
        streams, file = measured.matrices.shape[-1], printable(simulation.report)
        raise MhcDiagError(
            f"--streams is {simulation.streams}, but {file} was measured with {streams}",
            hint=f"add --streams {streams}",
        )
    manifolds = [m for name in simulation.manifolds for m in _manifolds(name.replace("-", "_"), simulation)]
    for manifold in manifolds:  # which may refuse that many streams
        manifold.project(np.zeros((1, simulation.streams, simulation.streams)))
    size = max(1, PART_BYTES // (8 * simulation.depth * simulation.streams**2))
    return [Case(simulation, manifold, measured, size) for manifold in manifolds]


def simulate(simulation: Simulation) -> Iterator[MixingStack]:
    """The stacks of every case, whole: for simulations that fit into memory.

    Example:
        >>> [stack.name for stack in simulate(Simulation(depth=2, seeds=1))]
        ['identity', 'HC', 'mHC']
    """
    import numpy as np

    for case in cases(simulation):
        parts = list(case.parts())
        logits = None if parts[0].logits is None else np.concatenate([p.logits for p in parts], axis=1)
        matrices = np.concatenate([p.matrices for p in parts], axis=1)
        yield replace(parts[0], matrices=matrices, logits=logits)


def _manifolds(name: str, simulation: Simulation) -> Iterator[_Manifold]:
    module = plugins.load(MANIFOLDS, name)
    if name == "sinkhorn":
        for count in simulation.sinkhorn_iters:
            yield _Manifold(
                name,
                "mHC" if len(simulation.sinkhorn_iters) == 1 else f"mHC {count}",
                f"doubly stochastic: M = Sinkhorn(exp(logits)), {count} iterations, rows last",
                partial(sinkhorn.project, iterations=count),
                {"sinkhorn_iters": count},
            )
    elif name == "identity":
        yield _Manifold(name, name, "no mixing: M = I", module.project)
    elif name == "none":
        drawn = "as measured" if hasattr(simulation.module, "matrices") else "= logits"
        yield _Manifold(name, "HC", f"unconstrained: M {drawn}", module.project)
    else:
        yield _Manifold(name, name, f"projected: M = {module.TITLE}(logits)", module.project)


def _projected(simulation: Simulation, manifold: _Manifold, draw: Draw) -> tuple[Array, Array | None]:
    """The matrices of a part, and the logits where the case reports on them."""
    import numpy as np

    ensemble: Any = simulation.module
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite shows in the report
        if manifold.module == "none" and hasattr(ensemble, "matrices"):
            drawn = made = ensemble.matrices(draw)
        else:
            drawn = ensemble.logits(draw)
            made = manifold.project(drawn)
        made = rounded(made, simulation.dtype)
    return made, drawn if manifold.module == "sinkhorn" else None


def _theory(simulation: Simulation, manifold: _Manifold) -> dict[str, float]:
    """Growth in nats per site, where a closed form is known and rounding does not change it."""
    if simulation.dtype not in {"fp64", "fp32"}:
        return {}
    if manifold.module in BOUNDED:
        none_at_all = manifold.settings.get("sinkhorn_iters") == 0
        return {} if none_at_all else {"growth": 0.0, "lyapunov_1": 0.0}
    known = getattr(simulation.module, "exponent", None)
    if manifold.module != "none" or known is None:
        return {}
    growth = known(simulation.streams, simulation.resolved_scale)
    if growth is None:
        return {}
    spectrum = getattr(simulation.module, "spectrum", lambda streams, scale: (growth,))
    rates = spectrum(simulation.streams, simulation.resolved_scale)
    return {"growth": growth, **{f"lyapunov_{k}": rate for k, rate in enumerate(rates, start=1)}}


def _provenance(simulation: Simulation, manifold: _Manifold, measured: Measured | None) -> Provenance:
    static = manifold.module == "identity"
    coarse = "" if static or simulation.dtype == "fp64" else f", rounded to {simulation.dtype}"
    settings: dict[str, Any] = {
        "depth": simulation.depth,
        "streams": simulation.streams,
        "seeds": simulation.seeds,
        "seed": simulation.seed,
        "ensemble": simulation.ensemble,
        "scale": simulation.resolved_scale,
        "noise": simulation.resolved_noise,
        "dtype": None if simulation.dtype == "fp64" else simulation.dtype,
        "measured": None if simulation.report is None else str(simulation.report),
        **manifold.settings,
    }
    notes = [getattr(simulation.module, "NOTE", "")]
    if measured is not None and manifold.module != "none":
        notes.append(measured.note)
    return Provenance(
        target=f"simulated stacks of depth {simulation.depth}",
        method="simulated",
        how=manifold.how + coarse,
        orientation="direct",
        token_axis="none" if static else "stack",
        token_shape=() if static else (simulation.seeds,),
        settings={name: value for name, value in settings.items() if value is not None},
        notes=() if static else tuple(note for note in notes if note),
        promise=_promise(manifold),
    )


def _promise(manifold: _Manifold) -> Promise:
    """What the projection makes of any logits."""
    if manifold.module == "sinkhorn":
        count = manifold.settings["sinkhorn_iters"]
        return Promise("doubly stochastic" if count else "", "rows" if count else "", count, 0.0, SIMULATION)
    return replace(PROMISES.get(manifold.module, Promise("")), origin=SIMULATION)
