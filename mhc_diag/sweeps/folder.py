"""The folder in which a sweep keeps what it has measured: one file of much, and one for each part since.

Every file is written whole or not at all, so whatever ends the sweep, the next run goes on after the last
part that was finished.
"""

from __future__ import annotations

from pathlib import Path

from mhc_diag import atomic
from mhc_diag.errors import MhcDiagError
from mhc_diag.measuring import Measurement
from mhc_diag.sources.printable import printable
from mhc_diag.sweeps.plan import Found, Plan, Task
from mhc_diag.sweeps.saved import SUFFIX, Saved, content, difference, look
from mhc_diag.sweeps.shards import Shard

LOOSE = 2**26
"""Bytes in files of single parts from which on they are made one file, if that is not larger."""


class Folder:
    """The files of one shard, or of a sweep that is its only shard."""

    def __init__(self, path: Path, plan: Plan, shard: Shard) -> None:
        self.path, self.plan, self.shard = path, plan, shard
        self.settings = plan.settings()
        self.loose: list[Path] = []
        self.loose_bytes = self.bytes = 0

    @property
    def file(self) -> Path:
        """The file of all that there is."""
        return self.path / f"{self.shard.stem}{SUFFIX}"

    def open(self) -> Found:
        """What is there already; the folder is made if it is missing.

        Raises:
            MhcDiagError: it holds another sweep, or cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise MhcDiagError(
                f"cannot make the folder {printable(self.path)}: {e.strerror}", hint="choose another --state"
            ) from e
        atomic.check_writable(self.file)
        found = Found()
        for saved in map(look, self._files()):
            self._check(saved)
            if saved.shard != self.shard:
                continue
            if not found.tasks.isdisjoint(saved.tasks):  # a part that was gathered before the end came
                saved.path.unlink(missing_ok=True)
                continue
            size = saved.path.stat().st_size
            if is_part(saved.path):
                self.loose.append(saved.path)
                self.loose_bytes += size
            else:
                self.bytes = size
            found.take(set(saved.tasks), saved.found(self.plan))
        return found

    def keep(self, task: Task, measured: Measurement) -> None:
        """Write the file of a part."""
        path = self.path / f"{self.shard.stem}.part-{task.case}-{task.part}{SUFFIX}"
        data = content(self.settings, self.shard, [task], {task.case: measured})
        atomic.write(path, data)
        self.loose.append(path)
        self.loose_bytes += len(data)

    def gather(self, found: Found, *, always: bool = False) -> None:
        """Make all one file, once those of single parts take as much room."""
        if not always and self.loose_bytes < max(LOOSE, self.bytes):
            return
        data = content(self.settings, self.shard, found.tasks, found.cases)
        atomic.write(self.file, data)
        for path in self.loose:
            path.unlink(missing_ok=True)
        self.loose, self.loose_bytes, self.bytes = [], 0, len(data)

    def _files(self) -> list[Path]:
        """Those of this shard, and of others what cannot vanish while they are measured elsewhere."""
        there = sorted(self.path.glob(f"*{SUFFIX}"), key=_order)
        return [p for p in there if not is_part(p) or p.name.startswith(f"{self.shard.stem}.part-")]

    def _check(self, saved: Saved) -> None:
        told = difference(saved.path, self.settings, saved.settings)
        if told:
            raise MhcDiagError(told, hint="give this sweep a folder of its own, or the same settings")
        if saved.shard.of != self.shard.of:
            raise MhcDiagError(
                f"{printable(saved.path)} is shard {saved.shard.name}, and this is {self.shard.name}",
                hint="cut a sweep into the same number of shards, or choose another folder",
            )


def files_in(folder: Path) -> list[Saved]:
    """The files of sweeps in a folder, those of much before those of single parts.

    Raises:
        MhcDiagError: one is damaged.
    """
    return [look(path) for path in sorted(folder.glob(f"*{SUFFIX}"), key=_order)]


def is_part(path: Path) -> bool:
    """Whether a file is that of a single part, by its name."""
    return ".part-" in path.name


def _order(path: Path) -> tuple[bool, str]:
    return is_part(path), path.name
