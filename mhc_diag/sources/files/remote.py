"""Ranges of files elsewhere: on a web server, on the Hugging Face hub, in an object store.

Only what is asked for travels. Ranges that lie close together are fetched with one request, as long as what
lies between them adds little to what is needed; a request that breaks off is taken up again where it ended.
How bytes are fetched is a `Place`'s business, `web` or `object_store`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import check_plain
from mhc_diag.sources.printable import printable

START = 512
"""Bytes at the beginning that tell what a file is; they come along when its size is asked for."""
WASTE = 0.04
"""Bytes fetched in vain, at most, for each that is needed."""
TRIES = 5
"""Attempts in a row that may end early with next to nothing."""
SOMETHING = 1 << 16
"""Bytes that are more than that: a server may drop every connection after a few."""
AT_ONCE = 8
"""Files that are opened at the same time: opening one is mostly waiting."""

Arrived = Callable[[int, int], None]
"""Told how many bytes more will be fetched, and how many more have arrived."""


def silent(more: int, done: int) -> None:
    """Nobody watches.

    Example:
        >>> silent(10, 0)
    """


class Missing(MhcDiagError):
    """There is no such file."""


class Denied(MhcDiagError):
    """The file, if there is one, is not for everybody."""


class Transient(Exception):
    """What may go well the next time: a dropped connection, a server that is busy.

    Args:
        reason: what happened, in a few words.
        wait: seconds that the server asks for.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.wait = reason, wait


class Place(Protocol):
    """One remote file, and how it is fetched."""

    name: str
    """What to call it in a message: printable, and without credentials."""

    def look(self, length: int) -> tuple[bytes, int]:
        """The first bytes, and the size of the file; more than `length` where that is all of it."""

    def fetch(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of a range in pieces of some megabytes, ending early where the connection does."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and after how long a request is tried again."""

    sleep: Callable[[float], None] = time.sleep
    first: float = 0.5
    longest: float = 20.0

    def pause(self, attempt: int, asked: float) -> None:
        """Wait before the next attempt: twice as long each time, or as long as the server asks."""
        self.sleep(min(self.longest, max(asked, self.first * 2**attempt)))


class RemoteBytes:
    """A file elsewhere.

    Args:
        place: how it is fetched.
        arrived: told what will travel and what has.
        patience: how transient failures are waited out.

    Raises:
        MhcDiagError: there is no such file, it is not to be had, or the server cannot send ranges.
    """

    def __init__(self, place: Place, arrived: Arrived = silent, patience: Patience | None = None) -> None:
        self.name, self._place = place.name, place
        self._arrived, self._patience = arrived, patience or Patience()
        self._start, self.size = self._steadily(lambda: place.look(START))

    def read(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes of each range; neighbours come with one request."""
        cut = [(min(start, self.size), min(stop, self.size)) for start, stop in ranges]
        for group in grouped(cut):
            yield from self._group(group)

    def _group(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Ascending ranges out of one request, or none where all of it is known."""
        known = len(self._start)
        first, last = ranges[0][0], ranges[-1][1]
        stream = self._pieces(max(first, known), last) if last > known else iter(())
        held, at = bytearray(self._start[first:last]), first
        for start, stop in ranges:
            while at + len(held) < stop:
                held += next(stream)
                if at + len(held) <= start:  # nothing but a gap
                    at, held = at + len(held), bytearray()
            yield bytes(memoryview(held)[start - at : stop - at])
            del held[: stop - at]
            at = stop

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """A range in pieces, taken up again where a connection ends early."""
        self._arrived(stop - start, 0)
        in_vain = 0
        while start < stop:
            reason, wait, before = "the connection was closed early", 0.0, start
            try:
                for piece in self._place.fetch(start, stop):
                    start += len(piece)
                    self._arrived(0, len(piece))
                    yield piece
            except Transient as e:
                reason, wait = e.reason, e.wait
            if start < stop:
                in_vain = in_vain + 1 if start - before < SOMETHING else 0
                self._retry(in_vain, reason, wait)

    def _steadily(self, ask: Callable[[], tuple[bytes, int]]) -> tuple[bytes, int]:
        failures = 0
        while True:
            try:
                return ask()
            except Transient as e:
                failures += 1
                self._retry(failures, e.reason, e.wait)

    def _retry(self, in_vain: int, reason: str, wait: float) -> None:
        """Wait, or give up."""
        if in_vain >= TRIES:
            raise MhcDiagError(
                f"{self.name} cannot be read after {in_vain} attempts: {printable(reason)}",
                hint="try again later, or download the file and scan it here",
            )
        self._patience.pause(in_vain, wait)


class RemoteFolder:
    """Files beside each other, elsewhere.

    Args:
        name: what to call it: printable, and without credentials.
        place: how a file is fetched, by its name.
        names: lists them.
        arrived: told what will travel and what has.
        patience: how transient failures are waited out.
    """

    def __init__(
        self,
        name: str,
        place: Callable[[str], Place],
        names: Callable[[], Iterable[str]],
        arrived: Arrived = silent,
        patience: Patience | None = None,
    ) -> None:
        self.name, self._place, self._names = name, place, names
        self._arrived, self._patience = arrived, patience

    def names(self) -> tuple[str, ...]:
        """Names of the files in it, sorted; on a web server, which lists nothing, those that are usual."""
        return tuple(sorted(self._names()))

    def open(self, name: str) -> RemoteBytes:
        """One of its files.

        Raises:
            MhcDiagError: the name leads out of the folder, or the file is not to be had.
        """
        check_plain(self.name, name)
        return RemoteBytes(self._place(name), self._arrived, self._patience)

    def find(self, name: str) -> RemoteBytes | None:
        """The same, or None where there is no such file."""
        try:
            return self.open(name)
        except Missing:
            return None


def at_once(work: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
    """Like `map`, with several at the same time.

    Example:
        >>> at_once(len, ["a", "bc"])
        [1, 2]
    """
    from concurrent.futures import (
        ThreadPoolExecutor,
    )  # with logging in tow, which a local scan can do without

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        return list(pool.map(work, names))
    finally:
        pool.shutdown(cancel_futures=True)


def grouped(ranges: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Ranges in the order given, in groups that one request each can fetch.

    A range joins the group before it where it follows with a gap, and all gaps of the group together stay
    below `WASTE` of its needed bytes.

    Example:
        >>> list(grouped([(0, 1000), (1010, 2000), (9000, 9001), (5, 6)]))
        [[(0, 1000), (1010, 2000)], [(9000, 9001)], [(5, 6)]]
    """
    group: list[tuple[int, int]] = []
    needed = wasted = 0
    for start, stop in ranges:
        gap = start - group[-1][1] if group else -1
        if gap < 0 or wasted + gap > WASTE * (needed + stop - start):
            if group:
                yield group
            group, needed, wasted, gap = [], 0, 0, 0
        group.append((start, stop))
        needed, wasted = needed + stop - start, wasted + gap
    if group:
        yield group
