"""Progress on the standard error of a terminal, for work that takes longer than a glance."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

PATIENCE = 1.0  # seconds before anything is shown


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how much more is done.

    Nothing is shown where standard error is no terminal, and nothing of work that ends within a second. What
    was shown is taken away at the end.

    Example:
        >>> with progress("measuring", total=3) as advance:
        ...     advance(3)
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done: None
        return
    start = time.monotonic()
    done_before = 0
    with contextlib.ExitStack() as stack:
        show: Callable[[int], None] | None = None

        def advance(done: int) -> None:
            nonlocal show, done_before
            if show is None and time.monotonic() - start > PATIENCE:
                show = _bar(stack, what, total)
                show(done_before)
            done_before += done
            if show is not None:
                show(done)

        yield advance


@contextlib.contextmanager
def traffic(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that is told how many more bytes will travel, and how many more have.

    It may be called from several threads. What is shown, and when, is as in `progress`.

    Example:
        >>> with traffic("fetching") as arrived:
        ...     arrived(10, 0)
        ...     arrived(0, 10)
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda more, done: None
        return
    start, lock = time.monotonic(), threading.Lock()
    expected = there = 0
    with contextlib.ExitStack() as stack:
        show: Callable[[int, int], None] | None = None

        def arrived(more: int, done: int) -> None:
            nonlocal show, expected, there
            with lock:
                expected, there = expected + more, there + done
                if show is None and time.monotonic() - start > PATIENCE:
                    show = _meter(stack, what)
                if show is not None:
                    show(expected, there)

        yield arrived


def _meter(stack: contextlib.ExitStack, what: str) -> Callable[[int, int], None]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task(what, total=None)
    return lambda expected, there: bar.update(task, total=expected, completed=there)


def _bar(stack: contextlib.ExitStack, what: str, total: int) -> Callable[[int], None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task(what, total=total)
    return lambda done: bar.advance(task, done)
