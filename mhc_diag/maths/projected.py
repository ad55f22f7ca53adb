"""From logits to composite gains: by parts of the tokens, or for many numbers of iterations at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mhc_diag.maths import ranks, sweeps
from mhc_diag.maths.blocks import cores, each, slices
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import on_cpu
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.maths.sweeps import Pair
from mhc_diag.records import DIRECTIONS, Array, Direction

MATRICES = 262_144  # in the parts of all threads together: 32 megabytes of float64 at n = 4
LEAST_MATRICES = 16_384  # in a part, however many threads there are


def composite_gains(logits: Array, project: Callable[[Array], Array]) -> dict[Direction, Pair]:
    """Those of `sweeps.composite_gains(project(logits))`, but the matrices are never whole in memory.

    Args:
        logits: (L, T, n, n).
        project: from logits (L, t, n, n) of some tokens to their matrices.

    Returns:
        By direction (value, exponent), each (L, T).

    Example:
        >>> import numpy as np
        >>> from mhc_diag.maths.projections.sinkhorn import project
        >>> value, _ = composite_gains(np.zeros((3, 2, 4, 4)), project)["backward"]
        >>> value.tolist()
        [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    xp = namespace(logits)
    depth, tokens, *_ = logits.shape
    kind = {"dtype": xp.float64, "device": logits.device}
    made = {d: (xp.zeros((depth, tokens), **kind), xp.zeros((depth, tokens), **kind)) for d in DIRECTIONS}

    def run(part: slice) -> None:
        for direction, (value, exponent) in sweeps.composite_gains(project(logits[:, part, ...])).items():
            made[direction][0][:, part] = value
            if bool(xp.any(exponent != 0)):  # memory that is never written is never taken
                made[direction][1][:, part] = exponent

    matrices = max(LEAST_MATRICES, MATRICES // cores())
    parts = slices(tokens, max(1, matrices // depth) if on_cpu(logits) else tokens)
    each(run, parts, threads=xp.__name__ == "numpy")
    return made


def composite_statistics(
    logits: Array, project: Callable[[Array], Array]
) -> dict[Direction, dict[str, tuple[Array, Array]]]:
    """The composite curves of projected logits: mean, quantiles and extremes over the tokens.

    Args:
        logits: (L, T, n, n).
        project: from logits (L, t, n, n) of some tokens to their matrices.

    Returns:
        By direction and statistic (plain value, log10), each (L), as `statistics.over_tokens` gives them.

    Example:
        >>> import numpy as np
        >>> from mhc_diag.maths.projections.sinkhorn import project
        >>> value, _ = composite_statistics(np.zeros((3, 2, 4, 4)), project)["forward"]["p99"]
        >>> value.tolist()
        [1.0, 1.0, 1.0]
    """
    gains = composite_gains(logits, project)
    return {direction: ranks.over_tokens(*gains.pop(direction)) for direction in DIRECTIONS}


def dial(logits: Array, counts: Sequence[int], **options: Any) -> dict[int, dict[Direction, Pair]]:
    """Composite gains after each of several numbers of Sinkhorn iterations, for little more than the largest.

    Args:
        logits: (L, T, n, n).
        counts: numbers of iterations, in any order; 0 is exp(logits).
        options: of `sinkhorn.project`.

    Returns:
        By number, in ascending order, and by direction (value, exponent), each (L, T).

    Example:
        >>> import numpy as np
        >>> for count, gains in dial(np.log([[[[1.0, 3.0], [2.0, 2.0]]]]), (1, 0)).items():
        ...     print(count, gains["backward"][0].round(6).tolist())
        0 [[5.0]]
        1 [[1.017857]]
    """
    xp, wanted = namespace(logits), sorted(set(counts))
    depth, tokens, n, _ = logits.shape
    shape, kind = (len(wanted), depth, tokens), {"dtype": xp.float64, "device": logits.device}
    made = {d: (xp.zeros(shape, **kind), xp.zeros(shape, **kind)) for d in DIRECTIONS}
    # A sweep is as fast as it can be with this many vectors; several numbers of iterations fill it.
    at_once = max(1, min(sweeps.ENTRIES // (n * n), MATRICES // depth))
    most = min(at_once, max(-(-tokens // cores()), at_once // max(1, len(wanted))))

    def run(part: slice) -> None:
        size = part.stop - part.start
        together = max(1, min(len(wanted), at_once // size))
        room = xp.empty((n, n, depth, together, size), **kind)
        snapshots = sinkhorn.snapshots(logits[:, part, ...], wanted, copy=False, **options)
        _dial(snapshots, room, {d: (v[:, :, part], e[:, :, part]) for d, (v, e) in made.items()})

    each(run, slices(tokens, most), threads=xp.__name__ == "numpy")
    return {
        count: {d: (v[k, ...], e[k, ...]) for d, (v, e) in made.items()} for k, count in enumerate(wanted)
    }


def _dial(snapshots: Iterator[tuple[int, Array]], room: Array, made: dict[Direction, Pair]) -> None:
    """Fill in the gains (K, L, t) of K snapshots (L, t, n, n), taking some together as if they were tokens.

    Args:
        snapshots: in ascending order.
        room: (n, n, L, k, t), memory for as many as are taken together.
        made: by direction, value and exponent.
    """
    xp = namespace(room)
    n, _, depth, together, tokens = room.shape
    for group in slices(made["forward"][0].shape[0], together):
        size = group.stop - group.start
        for k in range(size):
            room[..., k, :] = xp.permute_dims(next(snapshots)[1], (2, 3, 0, 1))
        stack = xp.reshape(room[..., :size, :], (n, n, depth, size * tokens))
        gains = sweeps.composite_gains(xp.permute_dims(stack, (2, 3, 0, 1)))
        for direction, pair in gains.items():
            for target, numbers in zip(made[direction], pair, strict=True):
                numbers = xp.permute_dims(xp.reshape(numbers, (depth, size, tokens)), (1, 0, 2))
                if bool(xp.any(numbers != 0)):  # memory that is never written is never taken
                    target[group, ...] = numbers
