"""Work done here, a piece after the other, or by the workers of a joblib backend: processes, or a cluster."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.blocks import slices, usable
from mhc_diag.selection import PAPER

K = TypeVar("K")
V = TypeVar("V")
WORTH_WORKERS = 4.0
"""Seconds of one core from which on processes are started, which takes one or two."""
LOOK = 1.0
"""Seconds between two looks whether a worker is still wanted."""
ROUNDS = 4
"""Pieces for each worker in a batch, with backends that return nothing before all is done."""


def a_number(metrics: Sequence[str]) -> float:
    """Roughly how many seconds of one core an entry of a matrix takes in each scope."""
    return 3e-8 if tuple(metrics) == PAPER else 5.5e-7


def workers(jobs: int | None) -> int:
    """How many there are to be: as asked for, else as many as the process may use cores.

    Raises:
        MhcDiagError: fewer than one.
    """
    if jobs is not None and jobs < 1:
        raise MhcDiagError(f"--jobs is {jobs}", hint="choose 1 or more, or leave it out to use all cores")
    return usable() if jobs is None else jobs


def configured() -> bool:
    """Whether the caller chose a backend or a number of jobs by `joblib.parallel_config`."""
    if "joblib" not in sys.modules:
        return False
    from joblib.parallel import get_active_backend

    backend, jobs = get_active_backend()
    return jobs is not None or type(backend).__name__ != "LokyBackend"


def parallel(work: Callable[[K], V], items: Sequence[K], jobs: int | None) -> Iterator[tuple[int, V]]:
    """What `work` makes of each item, by number and as it gets done, by the backend of joblib that is active.

    Args:
        work: a function that can be pickled, of an item that can.
        items: any number.
        jobs: how many at a time; as configured, or all cores, if not given.
    """
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend

    backend, known = get_active_backend()
    count = known if jobs is None and known is not None else workers(jobs)
    parent = os.getpid() if type(backend).__name__ in _CHILDREN else None
    run = functools.partial(delayed(_numbered), work, parent)
    if getattr(backend, "supports_return_generator", False):
        pool = Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1)
        with contextlib.closing(pool(run(k, item) for k, item in enumerate(items))) as done:
            yield from done
        return
    for cut in slices(len(items), ROUNDS * backend.effective_n_jobs(count)):
        numbered = enumerate(items[cut], start=cut.start)
        yield from Parallel(n_jobs=count, batch_size=1)(run(k, item) for k, item in numbered)


@contextlib.contextmanager
def chosen(name: str | None) -> Iterator[None]:
    """Use this backend of joblib inside, connected to the cluster that its own settings name.

    Raises:
        MhcDiagError: there is none, or what it needs is not installed.
    """
    if name is None:
        yield
        return
    from joblib import parallel_config

    with contextlib.ExitStack() as stack:
        try:
            if name == "dask":
                from distributed import Client

                stack.enter_context(Client())  # DASK_SCHEDULER_ADDRESS, or a cluster on this machine
            elif name == "ray":
                from ray.util.joblib import register_ray

                register_ray()
            stack.enter_context(parallel_config(backend=name))
        except ImportError as e:
            raise MhcDiagError(
                f"--backend {name} needs {e.name}", hint=f"pip install {_PACKAGES[name]}"
            ) from e
        except ValueError as e:
            raise MhcDiagError(
                f"joblib knows no backend {name!r}", hint="choose loky, threading, dask or ray"
            ) from e
        yield


_PACKAGES = {"dask": "distributed", "ray": "ray"}


_CHILDREN = {"LokyBackend", "MultiprocessingBackend"}
"""Backends of joblib whose workers are children of the process that asks."""


def _numbered(work: Callable[[K], V], parent: int | None, number: int, item: K) -> tuple[int, V]:
    if parent is not None:
        _end_with(parent)
    return number, work(item)


@functools.cache
def _end_with(parent: int) -> None:
    """See that a worker does not outlive the process that started it, should that be killed."""

    def wait() -> None:
        while os.getppid() == parent:  # which may have been killed before this worker began
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
