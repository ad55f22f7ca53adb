"""The file that a watch writes a run down in; `mhc_diag.sources.runs` says what is in it and reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from mhc_diag import atomic
from mhc_diag.errors import MhcDiagError
from mhc_diag.schema.numbers import plain
from mhc_diag.sources.runs import SCHEMA, VERSION, entries, parsed
from mhc_diag.watch.alerts import Alert
from mhc_diag.watch.expected import Expected
from mhc_diag.watch.history import Record


@dataclass(frozen=True, slots=True)
class About:
    """What a run is of."""

    model: str
    streams: int
    sites: tuple[str, ...]
    """Labels, in the order of depth."""


class RunLog:
    """Adds records to a file, each with one write."""

    def __init__(self, path: Path) -> None:
        atomic.check_writable(path)
        self.path = path
        self._after: int | None = None  # the step to go on after; None for a run that begins
        self._file: IO[bytes] | None = None

    def resume(self, step: int) -> None:
        """Go on after a step of the run that the file holds; what it did later is dropped."""
        self._after = step

    def write(
        self, record: Record, alerts: Sequence[Alert], about: About, expected: Sequence[Expected]
    ) -> None:
        """Add a record.

        Args:
            record: what was recorded.
            alerts: what is wrong with it.
            about: for the line that begins a run, as is the last.
            expected: what the records are held against.

        Raises:
            MhcDiagError: it cannot be written.
        """
        told = [asdict(alert) for alert in alerts]
        entry = {"step": record.step, "time": round(record.time, 3), "metrics": record.row, "alerts": told}
        try:
            if self._file is None:
                self._file = self._opened(about, expected)
            self._file.write(_line(entry))
        except OSError as e:
            raise MhcDiagError(
                f"cannot write {self.path}: {e.strerror}",
                hint="check space and rights, or watch without jsonl",
            ) from e
        self._after = record.step

    def close(self) -> None:
        """Close the file; writing again opens it again and goes on in it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self, about: About, expected: Sequence[Expected]) -> IO[bytes]:
        begins = self._after is None
        if self.path.is_file():
            _mend(self.path)
            begins = begins or not _cut(self.path, self._after or 0)
        file = self.path.open("ab", buffering=0)
        if begins:
            limits = [
                {"metric": f"mhc/{e.name}", "at_most": e.limit.at_most, "at_least": e.limit.at_least}
                for e in expected
            ]
            file.write(_line({"schema": SCHEMA, "version": VERSION, **asdict(about), "limits": limits}))
        return file


def _line(entry: Mapping[str, Any]) -> bytes:
    return (json.dumps(plain(entry), allow_nan=False) + "\n").encode()


def _mend(path: Path) -> None:
    """Take a torn last line away, and end a whole one."""
    with path.open("rb+") as file:
        lines = file.read()
        last = lines[lines.rfind(b"\n") + 1 :]
        if last and parsed(last) is None:
            file.truncate(len(lines) - len(last))
        elif last:
            file.seek(0, 2)
            file.write(b"\n")


def _cut(path: Path, step: int) -> bool:
    """Drop what the latest run did after a step. Whether there is a run at all."""
    found, end = False, None
    for start, entry in entries(path):
        if "schema" in entry:
            found, end = True, None
        elif end is None and entry.get("step", 0) > step:
            end = start
    if end is not None:
        with path.open("rb+") as file:
            file.truncate(end)
    return found
