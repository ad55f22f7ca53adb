"""A file of what was measured: arrays of numpy, and a header that says of what."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.measuring import Measurement
from mhc_diag.sources.printable import printable
from mhc_diag.sweeps.plan import Plan, Task
from mhc_diag.sweeps.shards import Shard
from mhc_diag.sweeps.state import from_arrays, to_arrays

SCHEMA, VERSION, SUFFIX = "mhc-diag/sweep", 1, ".npz"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file says of itself."""

    path: Path
    settings: dict[str, Any]
    shard: Shard
    tasks: tuple[Task, ...]

    def found(self, plan: Plan) -> dict[int, Measurement]:
        """What it holds, by case.

        Raises:
            MhcDiagError: it is damaged.
        """
        import numpy as np

        made: dict[int, Measurement] = {}
        try:
            with self.path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                for k in sorted({task.case for task in self.tasks}):
                    prefix, case = f"case-{k}/", plan.cases[k]
                    names = [name for name in file.files if name.startswith(prefix)]
                    arrays = {name.removeprefix(prefix): file[name] for name in names}
                    made[k] = from_arrays(arrays, case.depth, plan.simulation.streams, case.seeds)
                    if {Task(k, part) for part in made[k].tokens} != {t for t in self.tasks if t.case == k}:
                        raise ValueError("parts other than its header names")
        except (ValueError, KeyError, IndexError, TypeError, OSError, EOFError, zipfile.BadZipFile) as e:
            raise damaged(self.path, e) from e
        return made


def content(
    settings: Mapping[str, Any], shard: Shard, tasks: Iterable[Task], found: Mapping[int, Measurement]
) -> bytes:
    """The file of some parts."""
    import numpy as np

    header = {
        "schema": SCHEMA,
        "version": VERSION,
        "settings": settings,
        "shard": [shard.number, shard.of],
        "tasks": sorted(tasks),
    }
    arrays = {f"case-{k}/{n}": a for k, made in sorted(found.items()) for n, a in to_arrays(made).items()}
    file = io.BytesIO()
    np.savez(file, header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), **arrays)
    return file.getvalue()


def look(path: Path) -> Saved:
    """What a file says of itself.

    Raises:
        MhcDiagError: it cannot be read, or is no file of a sweep.
    """
    import numpy as np

    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
        if (header["schema"], header["version"]) != (SCHEMA, VERSION):
            raise ValueError(f"{header['schema']} version {header['version']}, expected {SCHEMA} {VERSION}")
        tasks = tuple(Task(int(case), int(part)) for case, part in header["tasks"])
        return Saved(path, dict(header["settings"]), Shard(*map(int, header["shard"])), tasks)
    except FileNotFoundError as e:
        raise MhcDiagError(f"there is no {printable(path)}", hint="name folders or files of --state") from e
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise damaged(path, e) from e


def damaged(path: Path, why: Exception) -> MhcDiagError:
    """The refusal of a file that is none of a sweep, or no longer."""
    return MhcDiagError(
        f"{printable(path)} is no intact file of a sweep: {printable(why)}",
        hint="delete it and run the same command again, which measures its parts anew",
    )


def difference(path: Path, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """In which settings a file is not of this sweep; empty where it is."""
    names = [name for name in {**theirs, **mine} if mine.get(name) != theirs.get(name)]
    told = [f"{name} {theirs.get(name)!r} and not {mine.get(name)!r}" for name in names]
    return f"{printable(path)} was measured with {', '.join(told)}" if told else ""
