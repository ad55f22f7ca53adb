"""The assignment problem: which column each row is given so that the costs add up to the least.

Exact and for many small matrices at once: over all subsets of the columns where those are few, and by
shortest augmenting paths (Kuhn 1955, Jonker and Volgenant 1987) beyond.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

BY_SUBSETS = 8  # columns; their 2**n subsets take n 2**n additions of planes


def cheapest(costs: Array) -> Array:
    """The least total cost of a one-to-one assignment: planes (n, n, B), finite, to (B).

    Formula: min over permutations p of sum_i costs[i, p(i)]

    Example:
        >>> import numpy as np
        >>> cheapest(np.array([[[1.0], [2.0]], [[3.0], [9.0]]])).tolist()
        [5.0]
    """
    if costs.shape[0] <= BY_SUBSETS:
        return _over_subsets(costs)
    xp = namespace(costs)
    import numpy as np

    given = costs.detach().cpu().numpy() if hasattr(costs, "detach") else costs
    chosen = np.zeros(given.shape, dtype=bool)  # which is whole numbers only, so no gradient passes
    columns = assign(np.ascontiguousarray(np.moveaxis(given, -1, 0)))
    np.put_along_axis(chosen, columns.T[:, None, :], True, axis=1)
    mask = xp.asarray(chosen, device=costs.device)
    return xp.sum(xp.where(mask, costs, xp.zeros_like(costs)), axis=(0, 1))


def _over_subsets(costs: Array) -> Array:
    """Give the rows out one after the other, and keep the least cost for each set of columns taken."""
    xp = namespace(costs)
    n = costs.shape[0]
    best: dict[tuple[int, ...], Array] = {(column,): costs[0, column, :] for column in range(n)}
    for row in range(1, n):
        grown = {}
        for taken in combinations(range(n), row + 1):
            totals = [
                best[taken[:k] + taken[k + 1 :]] + costs[row, column, :] for k, column in enumerate(taken)
            ]
            least = totals[0]
            for total in totals[1:]:
                least = xp.minimum(least, total)
            grown[taken] = least
        best = grown
    return best[tuple(range(n))]


def assign(costs: Any) -> Any:
    """The column of each row in a cheapest assignment: numpy arrays (B, n, n) to (B, n).

    One row after the other finds the shortest path to a free column, through rows that would change theirs;
    all matrices of the batch step together, and those that have arrived wait.

    Example:
        >>> import numpy as np
        >>> assign(np.array([[[1.0, 2.0], [3.0, 9.0]]])).tolist()
        [[1, 0]]
    """
    import numpy as np

    batch, n = costs.shape[:2]
    rows, columns = np.zeros((batch, n)), np.zeros((batch, n + 1))  # what the duals charge
    owner = np.full((batch, n + 1), -1)  # of each column; the last is where a new row starts
    for row in range(n):
        owner[:, n] = row
        end, previous = _shortest_paths(costs, rows, columns, owner)
        walking = np.arange(batch)
        while walking.size:
            here = end[walking]
            back = previous[walking, here]
            owner[walking, here] = owner[walking, back]
            end[walking] = back
            walking = walking[back != n]
    found = np.empty((batch, n), dtype=np.int64)
    np.put_along_axis(found, owner[:, :n], np.arange(n)[None, :], axis=1)
    return found


def _shortest_paths(costs: Any, rows: Any, columns: Any, owner: Any) -> tuple[Any, Any]:
    """From the new row to the nearest free column, for each matrix: that column, and the way back."""
    import numpy as np

    batch, n = costs.shape[:2]
    end, previous = np.full(batch, n), np.full((batch, n), n)
    distance, visited = np.full((batch, n), np.inf), np.zeros((batch, n + 1), dtype=bool)
    open_ = np.arange(batch)
    while open_.size:
        here = end[open_]
        visited[open_, here] = True
        row = owner[open_, here]
        reduced = costs[open_, row] - rows[open_, row][:, None] - columns[open_, :n]
        unvisited = ~visited[open_, :n]
        nearer = unvisited & (reduced < distance[open_])
        distance[open_] = np.where(nearer, reduced, distance[open_])
        previous[open_] = np.where(nearer, here[:, None], previous[open_])
        ahead = np.where(unvisited, distance[open_], np.inf)
        nearest = np.argmin(ahead, axis=1)
        step = ahead[np.arange(open_.size), nearest][:, None]
        _charge(rows, columns, owner, visited, open_, step)
        distance[open_] -= np.where(unvisited, step, 0.0)
        end[open_] = nearest
        open_ = open_[owner[open_, nearest] >= 0]
    return end, previous


def _charge(rows: Any, columns: Any, owner: Any, visited: Any, open_: Any, step: Any) -> None:
    """Raise the duals of what was visited, so that the reduced costs stay at 0 or above."""
    import numpy as np

    seen = visited[open_]
    columns[open_] -= np.where(seen, step, 0.0)
    matrix, column = np.nonzero(seen)
    rows[open_[matrix], owner[open_[matrix], column]] += step[matrix, 0]
