"""A run that goes on, read as it grows."""

from __future__ import annotations

from pathlib import Path

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.printable import printable
from mhc_diag.sources.runs import Run, parsed, take


class Following:
    """Reads what was added to a file since the last look, and all of it anew where it became shorter."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self.run = Run(printable(path))

    def look(self) -> bool:
        """Read on. Whether anything was there.

        Raises:
            MhcDiagError: the file cannot be read, or a line of it is damaged.
        """
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._read:  # a run that was resumed
                    self._read, self.run = 0, Run(self.run.name)
                file.seek(self._read)
                added = file.read()
        except OSError as e:
            raise MhcDiagError(
                f"{self.run.name} cannot be read: {e.strerror}", hint="check the path and its permissions"
            ) from e
        whole = added[: added.rfind(b"\n") + 1]  # the rest is being written
        self._read += len(whole)
        for line in whole.splitlines():
            entry = parsed(line)
            if entry is None:
                raise MhcDiagError(
                    f"{self.run.name} has a line that is no JSON object", hint="name a run of mhc_diag.watch"
                )
            take(self.run, entry)
        return bool(whole)
