"""Doubly stochastic mixing by alternating normalisation (Sinkhorn and Knopp 1967; mHC, arXiv 2512.24880).

Formula: A = exp(logits); then `iterations` times: divide every column by its sum, then every row by its sum.
In the limit rows and columns of M sum to 1 and both gains and the spectral norm of every composite are
exactly 1. After finitely many iterations only the axis that was normalised last is exact: rows last (the
paper) makes the forward gain exact, columns last the backward gain. Published codes differ in these choices:
PRESETS holds the arguments that reproduce each. They give the matrix as the code stores it; DeepSeek's,
lucidrains' and tokenbender's apply its transpose. `megatron` is Megatron-LM's main branch; its dev branch
does as DeepSeek.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from mhc_diag.maths.alternating import OVER_COLUMNS, OVER_ROWS, Batch, Rules
from mhc_diag.maths.marginals import marginal_violation
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

TITLE = "Sinkhorn-Knopp"
PARAMETERS: tuple[str, ...] = ("iterations",)

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        name: MappingProxyType(arguments)
        for name, arguments in {
            "paper": {"iterations": 20, "last": "rows"},
            "deepseek": {"iterations": 20, "start": "softmax", "last": "columns", "eps": 1e-6},
            "megatron": {"iterations": 20, "last": "columns", "eps": 1e-6, "eps_as": "floor"},
            "lucidrains": {"iterations": 20, "last": "rows", "eps": 1e-12, "eps_as": "floor"},
            "tokenbender": {"iterations": 10, "last": "columns", "temperature": 0.05},
        }.items()
    }
)


def project(
    logits: Array,
    *,
    iterations: int = 20,
    start: Literal["exp", "softmax"] = "exp",
    last: Literal["rows", "columns"] = "rows",
    eps: float = 0.0,
    eps_as: Literal["term", "floor"] = "term",
    temperature: float = 1.0,
) -> Array:
    """Sinkhorn-Knopp projection of each matrix (*B, n, n).

    Args:
        logits: (*B, n, n), any finite numbers.
        iterations: how often both axes are normalised; 0 gives exp(logits).
        start: what eps is added to in the first normalisation, which is a softmax in either case: its
            denominator (`exp`) or its result (`softmax`, as in DeepSeek-V4's code). Without eps they agree.
        last: the axis that is normalised last in each iteration.
        eps: what guards every denominator. The published DeepSeek-V4 code has 1e-6; the paper has none.
        eps_as: whether eps is added to every denominator (`term`), which shrinks every sum to about 1 - eps,
            or is the least that it can be (`floor`, as in Megatron-LM and hyper-connections), which changes
            nothing until a sum falls below eps and then silently loses that row or column.
        temperature: divides the logits first.

    Returns:
        (*B, n, n), non-negative; sums over the `last` axis are 1 to rounding when eps is 0. In numpy a view:
        each entry [..., i, j] of all matrices lies in one piece, which makes what follows faster.

    Example:
        >>> import numpy as np
        >>> m = project(np.array([[2.0, 0.0], [0.5, 1.0]]), iterations=50)
        >>> round(float(m[0, 0]), 10)
        0.7772998612
        >>> project(np.eye(2), **PRESETS["tokenbender"]).round(6).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    ((_, made),) = snapshots(
        logits, (iterations,), start=start, last=last, eps=eps, eps_as=eps_as, temperature=temperature
    )
    return made


def snapshots(
    logits: Array,
    counts: Sequence[int],
    *,
    start: Literal["exp", "softmax"] = "exp",
    last: Literal["rows", "columns"] = "rows",
    eps: float = 0.0,
    eps_as: Literal["term", "floor"] = "term",
    temperature: float = 1.0,
    copy: bool = True,
) -> Iterator[tuple[int, Array]]:
    """The projection after each of several numbers of iterations, for the cost of the largest.

    Args:
        logits: (*B, n, n), any finite numbers.
        counts: numbers of iterations, in any order.
        start: as in `project`, like what follows.
        last: as in `project`.
        eps: as in `project`.
        eps_as: as in `project`.
        temperature: as in `project`.
        copy: whether each array is to stay as it is; otherwise the next one may be made in its place.

    Yields:
        Each number once, in ascending order, and the very bits of `project(logits, iterations=number)`.

    Example:
        >>> import numpy as np
        >>> for count, m in snapshots(np.array([[2.0, 0.0], [0.5, 1.0]]), (20, 0, 1)):
        ...     print(count, m.sum(axis=0).round(6))
        0 [9.037777 3.718282]
        1 [0.952177 1.047823]
        20 [1. 1.]
    """
    xp = namespace(logits)
    if not xp.isdtype(logits.dtype, "real floating"):
        logits = xp.astype(logits, xp.float64)
    if temperature != 1.0:
        logits = logits / temperature
    first, second = (OVER_ROWS, OVER_COLUMNS) if last == "rows" else (OVER_COLUMNS, OVER_ROWS)
    rules = Rules(first, second, eps, floor=eps_as == "floor", after=start == "softmax")
    wanted = sorted(set(counts))
    if wanted and wanted[0] == 0:
        yield 0, xp.exp(logits)
        wanted = wanted[1:]
    if not wanted:
        return
    batch, done = Batch(logits, rules), 0
    for count in wanted:
        yield count, batch.iterate(count - done, copy=copy and count != wanted[-1])
        done = count


def violation(matrix: Array) -> Array:
    """How far each matrix is from doubly stochastic (*B).

    Formula: max over all row and column sums s of abs(s - 1), and over all entries of -M_ij.

    Example:
        >>> import numpy as np
        >>> float(violation(np.array([[0.5, 0.5], [0.25, 0.75]])))
        0.25
    """
    return marginal_violation(matrix)
