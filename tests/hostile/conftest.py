"""Files that mean harm, scanned by the program in a process that is watched and limited."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
BOUND = 450 << 20


@dataclass(frozen=True)
class Done:
    """How a scan ended; what may never be is checked already."""

    code: int
    out: str
    err: str
    peak: int

    def refused(self, code: int = 2) -> str:
        """The error line of a file that was refused."""
        assert self.code == code, self
        return self.err.splitlines()[0]

    def reported(self) -> str:
        """The report of a file that was read."""
        assert self.code == 0, self
        return self.out


@pytest.fixture(scope="session")
def server() -> Iterator[subprocess.Popen[str]]:
    """`guard.py`, which scans one file after the other."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE", "COLUMNS"))}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("guard.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the hostile file lies; nothing outside it may be read."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What code in a file would make, if it ran."""
    return tmp_path / "marker"


@pytest.fixture
def scan(program: Callable[..., Done]) -> Callable[..., Done]:
    """`mhc-diag scan` of a name in `folder`."""
    return functools.partial(program, "scan")


@pytest.fixture
def inspect(program: Callable[..., Done]) -> Callable[..., Done]:
    """`mhc-diag inspect` of a name in `folder`."""
    return functools.partial(program, "inspect")


@pytest.fixture
def program(server: subprocess.Popen[str], folder: Path, marker: Path) -> Callable[..., Done]:
    """The program called in `folder`, and checked for everything that may never be."""

    def call(*arguments: str | Path) -> Done:
        before = _listed(folder.parent)
        request = {"arguments": list(map(str, arguments)), "folder": str(folder)}
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        done = json.loads(server.stdout.readline())
        assert not done["wrong"], done
        assert not done["torch"], "torch was imported"
        assert done["peak"] < BOUND, f"it took {done['peak'] >> 20} MB"
        assert not marker.exists(), "code in the file has run"
        assert _listed(folder.parent) == before, "something was written"
        return Done(done["code"], done["out"], done["err"], done["peak"])

    return call


@pytest.fixture
def evil(marker: Path) -> object:
    """An object whose unpickling makes the marker."""
    return Payload(f"touch {marker}")


class Payload:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.fixture
def ran(marker: Path) -> Callable[[bytes], bool]:
    """Whether an ordinary unpickler runs the code in these bytes: the attack is a real one."""

    def call(pickled: bytes) -> bool:
        with contextlib.suppress(Exception):  # after the code has run, whatever comes of it
            pickle.loads(pickled)
        made = marker.exists()
        marker.unlink(missing_ok=True)
        return made

    return call


@pytest.fixture
def safetensors_file(folder: Path) -> Callable[..., Path]:
    """Write a header as it stands, and data behind it."""

    def write(
        header: object, data: bytes = b"", name: str = "x.safetensors", length: int | None = None
    ) -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
        content = (len(text) if length is None else length).to_bytes(8, "little") + text + data
        (folder / name).write_bytes(content)
        return folder / name

    return write


@pytest.fixture
def mixing() -> tuple[dict[str, Any], bytes]:
    """Header and data of three layers that can be scanned."""
    data = np.eye(4, dtype="<f4").tobytes()
    entries = {
        f"blocks.{i}.mixing": {"dtype": "F32", "shape": [4, 4], "data_offsets": [64 * i, 64 * (i + 1)]}
        for i in range(3)
    }
    return entries, data * 3


def _listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Names, sizes and times of everything below, links not followed."""
    found = {}
    for parent, names, files in os.walk(folder):
        for name in (*names, *files):
            status = os.lstat(os.path.join(parent, name))
            found[os.path.join(parent, name)] = (status.st_size, status.st_mtime_ns)
    return found
