"""A large batch of small matrices in blocks that stay in cache, a thread a core.

Blocks hold planes (n, n, b): entry (i, j) of all their matrices lies in one piece of memory. A sum over rows
or columns is then an addition of planes, with the bits of a sum matrix by matrix and many times faster.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, copy_context
from typing import TypeVar

from mhc_diag.maths.planes import on_cpu
from mhc_diag.records import Array

T = TypeVar("T")
BYTES = 4 * 2**20  # of a block: it stays in cache; in smaller ones threads wait for each other's Python
BYTES_ALONE = 2**20  # the same on one thread: what shares the cache then are other processes
LEAST_BYTES = 2**20  # of a block that is made to keep another core busy
_on_a_thread: ContextVar[bool] = ContextVar("on_a_thread", default=False)
_most: ContextVar[int | None] = ContextVar("most", default=None)


def slices(count: int, most: int) -> list[slice]:
    """Cut `count` things into pieces of nearly equal size, none above `most`.

    Example:
        >>> slices(10, 4)
        [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
        >>> slices(12, 10)
        [slice(0, 6, None), slice(6, 12, None)]
    """
    pieces = max(1, -(-count // most))
    size = max(1, -(-count // pieces))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def blocks_of(matrices: Array) -> list[slice]:
    """The blocks in which to take a batch (B, n, n): one for all on an accelerator.

    Example:
        >>> import numpy as np
        >>> len(blocks_of(np.zeros((10**6, 4, 4)))) >= 30, len(blocks_of(np.zeros((100, 4, 4))))
        (True, 1)
    """
    count, n, _ = matrices.shape
    size = count * n * n * matrices.dtype.itemsize
    pieces = max(-(-size // (BYTES if cores() > 1 else BYTES_ALONE)), min(cores(), size // LEAST_BYTES))
    if pieces <= 1 or not on_cpu(matrices):
        return slices(count, max(1, count))
    if pieces > cores():  # no core has one more to do than the others
        pieces = -(-pieces // cores()) * cores()
    return slices(count, -(-count // pieces))


def lines(planes: Array, axis: int) -> list[Array]:
    """The rows (axis 0) or columns (axis 1) of planes (n, n, B), each (n, B).

    Example:
        >>> import numpy as np
        >>> [line[:, 0].tolist() for line in lines(np.array([[1.0, 2.0], [3.0, 4.0]])[..., None], 1)]
        [[1.0, 3.0], [2.0, 4.0]]
    """
    return [planes[k, ...] if axis == 0 else planes[:, k, ...] for k in range(planes.shape[axis])]


def total(lines: list[Array]) -> Array:
    """Their sum, always from the first to the last.

    Example:
        >>> import numpy as np
        >>> total(lines(np.array([[1.0, 2.0], [3.0, 4.0]])[..., None], 0)).tolist()
        [[4.0], [6.0]]
    """
    if len(lines) == 1:
        return lines[0] + 0.0  # not the line itself
    made = lines[0] + lines[1]
    for line in lines[2:]:
        made += line
    return made


def each(work: Callable[[T], None], items: Sequence[T], *, threads: bool = True) -> None:
    """Call `work` with each item, on a thread a core if there are several: numpy computes in parallel then.

    They run in any order, so `work` must write only to places that no other item touches. What is set for the
    context, such as `numpy.errstate`, holds in every thread; a thread starts no further ones.

    Raises:
        BaseException: what `work` raised.

    Example:
        >>> made = [0, 0, 0]
        >>> each(lambda i: made.__setitem__(i, i * i), range(3))
        >>> made
        [0, 1, 4]
    """
    workers = min(cores(), len(items)) if threads and not _on_a_thread.get() else 1
    if workers <= 1:
        for item in items:
            work(item)
        return
    from concurrent.futures import ThreadPoolExecutor

    def run(item: T) -> None:
        _on_a_thread.set(True)
        work(item)

    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(copy_context().run, run, item) for item in items]
        try:
            for done in waiting:
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """No more threads than this, whatever cores there are.

    Example:
        >>> with limited(1):
        ...     cores()
        1
    """
    token = _most.set(threads)
    try:
        yield
    finally:
        _most.reset(token)


def cores() -> int:
    """How many cores this process may use, or is to use here.

    Example:
        >>> cores() >= 1
        True
    """
    most = _most.get()
    return usable() if most is None else max(1, min(most, usable()))


def usable() -> int:
    """How many cores this process may use.

    Example:
        >>> usable() >= 1
        True
    """
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
