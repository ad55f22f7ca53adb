"""What if: a measured stack with its own matrices, or their logits, projected onto a manifold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mhc_diag import plugins
from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array, MixingStack

PROJECTIONS = "mhc_diag.maths.projections"


@dataclass(frozen=True, slots=True)
class Projection:
    """A manifold and what its projection is called with."""

    manifold: str
    iterations: int | None = None

    @property
    def label(self) -> str:
        """How it is asked for."""
        return self.manifold if self.iterations is None else f"{self.manifold}:{self.iterations}"


def parse(text: str, flag: str = "--project") -> Projection:
    """A projection from its name and, where it iterates, the number of iterations.

    Args:
        text: `sinkhorn:20`.
        flag: where it was written, for messages.

    Raises:
        MhcDiagError: no such manifold, or iterations that are no number or not wanted.

    Example:
        >>> parse("sinkhorn:20")
        Projection(manifold='sinkhorn', iterations=20)
    """
    name, colon, count = text.partition(":")
    name, known = name.replace("-", "_"), plugins.names(PROJECTIONS)
    if name not in known:
        raise MhcDiagError(f"{flag} names no manifold: {text!r}", hint=f"choose one of {', '.join(known)}")
    if not colon:
        return Projection(name)
    if "iterations" not in plugins.load(PROJECTIONS, name).PARAMETERS:
        raise MhcDiagError(f"{flag} is {text!r}, but {name} does not iterate", hint=f"write {name} alone")
    if not count.isdecimal() or int(count) > 100_000:
        raise MhcDiagError(f"{flag} is {text!r}", hint=f"write {name}:20, with at most 100,000 iterations")
    return Projection(name, int(count))


def logits_of(matrices: Array, logits: Array | None) -> tuple[Array, str]:
    """What a projection of measured matrices is to act on, and a sentence that says which.

    The logits where they are known. Else ln M where no entry is negative, which Sinkhorn's iteration takes
    back to M if M is doubly stochastic (zeros count as the smallest normal number). Else M itself, as mHC
    does with the matrix that HC would apply.

    Example:
        >>> import numpy as np
        >>> logits_of(np.array([[[0.5, 0.5], [0.5, 0.5]]]), None)[1]
        'no logits are known: the projection acts on ln M'
    """
    if logits is not None:
        return logits, "the projection acts on the measured logits"
    xp = namespace(matrices)
    if bool(xp.all(matrices >= 0)):
        smallest = xp.finfo(matrices.dtype).smallest_normal
        return xp.log(xp.clip(matrices, smallest, None)), "no logits are known: the projection acts on ln M"
    return matrices, "no logits are known and some entries of M are negative: the projection acts on M itself"


def projected(stack: MixingStack, projection: Projection) -> MixingStack:
    """The same stack with every matrix projected.

    Raises:
        MhcDiagError: the manifold does not take so many streams.

    Example:
        >>> import numpy as np
        >>> from mhc_diag.records import Provenance, Site
        >>> stack = MixingStack("HC", np.array([[[[2.0, -1.0], [0.0, 3.0]]]]), (Site("", "", 0),),
        ...     Provenance("example", "observed", "by hand", "observed", "none"))
        >>> projected(stack, Projection("sinkhorn", 50)).matrices.sum(axis=-1).round(12).tolist()
        [[[1.0, 1.0]]]
    """
    module = plugins.load(PROJECTIONS, projection.manifold)
    chosen: dict[str, Any] = {} if projection.iterations is None else {"iterations": projection.iterations}
    acted_on, note = logits_of(stack.matrices, stack.logits)
    where = stack.provenance
    return replace(
        stack,
        name=f"{stack.name}, {projection.label}",
        matrices=module.project(acted_on, **chosen),
        logits=acted_on if "iterations" in module.PARAMETERS else None,
        theory={},
        provenance=replace(
            where,
            how=f"{where.how}; then projected: {module.TITLE}" if where.how else module.TITLE,
            certificates=None,
            settings={**where.settings, "project": projection.label},
            notes=(*where.notes, f"{projection.label}: {note}; no model applied these matrices"),
        ),
    )
