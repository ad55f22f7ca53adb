"""What is expected, as a project writes it down: `[tool.mhc-diag]` of pyproject.toml, or mhc-diag.toml.

    [tool.mhc-diag]
    targets = ["checkpoints/model.safetensors"]
    profile = "mhc"
    max-gain = 4

    [[tool.mhc-diag.limits]]
    metric = "uniformity"
    scope = "prefix"
    statistic = "p50"
    at-least = 0.05
    level = "warn"

    [tool.mhc-diag.findings]
    MHC503 = "off"

In mhc-diag.toml the same stands at the top level. The file is looked for in the working directory and above
it, up to the root of the repository or the home folder; in one folder mhc-diag.toml counts before
pyproject.toml. Paths are relative to the file. The variables `MHC_DIAG_...` count over it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.policy import Policy, limits, values
from mhc_diag.policy.given import PREFIX, Given, Settings, from_environment, settled
from mhc_diag.sources.factory import is_spec
from mhc_diag.sources.files.addresses import is_address
from mhc_diag.sources.printable import printable

OWN, SHARED = "mhc-diag.toml", "pyproject.toml"
TABLE = "[tool.mhc-diag]"
KEYS = ("targets", "profile", "max-gain", "baseline", "tolerance", "limits", "findings")


def find(config: str | Path | None = None, *, start: Path | None = None) -> Policy:
    """What the configuration and the environment expect.

    Args:
        config: the file, instead of the one that is found.
        start: where to begin looking, instead of the working directory.

    Raises:
        MhcDiagError: the file or a variable is at fault.
    """
    return settings(config, start=start).policy


def settings(
    config: str | Path | None = None, *, start: Path | None = None, over: Given | None = None
) -> Settings:
    """What the configuration, the environment and, over them, the command line say.

    Args:
        config: the file, instead of the one that is found.
        start: where to begin looking, instead of the working directory.
        over: what counts over everything else.

    Raises:
        MhcDiagError: the file or a variable is at fault.
    """
    begin = Path.cwd() if start is None else start
    environment = from_environment(os.environ)
    named = config or os.environ.get(f"{PREFIX}CONFIG", "").strip()
    file = begin / named if named else located(begin)
    written = Given() if file is None else read(file)
    return settled([written, environment, over or Given()])


def located(start: Path) -> Path | None:
    """The configuration that counts in a folder, if there is one.

    Raises:
        MhcDiagError: a file on the way is no TOML.
    """
    for folder in _upwards(start):
        if (folder / OWN).is_file():
            return folder / OWN
        shared = folder / SHARED
        if shared.is_file() and _tool(_parsed(shared), shared) is not None:
            return shared
    return None


def read(path: Path) -> Given:
    """What a file says.

    Raises:
        MhcDiagError: it cannot be read, is no TOML, or a key or value in it is wrong.
    """
    table: Any = _parsed(path)
    if path.name == SHARED:
        table = _tool(table, path)
        if table is None:
            raise MhcDiagError(f"{_shown(path)} has no {TABLE}", hint=f"add {TABLE} to it")
    return _given(table, path)


def _upwards(start: Path) -> Iterator[Path]:
    """A folder and those above it, to the root of its repository or the home folder."""
    home = Path(os.path.expanduser("~"))
    for folder in (absolute := start.absolute(), *absolute.parents):
        yield folder
        if (folder / ".git").exists() or folder == home:
            return


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as e:
        raise MhcDiagError(
            f"{_shown(path)} cannot be read: {e.strerror}", hint="check the path and its permissions"
        ) from e
    except (ValueError, RecursionError) as e:  # of which a wrong encoding is one
        raise MhcDiagError(f"{_shown(path)} is no TOML: {printable(e)}", hint="correct that line") from e


def _tool(document: Mapping[str, Any], path: Path) -> Any:
    tools = document.get("tool", {})
    if not isinstance(tools, Mapping):
        raise MhcDiagError(f"{_shown(path)}: tool is no table", hint=f"write {TABLE}")
    return tools.get("mhc-diag")


def _given(table: Any, path: Path) -> Given:
    name = _shown(path)
    if not isinstance(table, Mapping):
        raise MhcDiagError(f"{name}: tool.mhc-diag is {table!r}, expected a table", hint=f"write {TABLE}")
    for key in table:
        if key not in KEYS:
            hint = (
                f"in a file of that name, leave {TABLE} out" if key == "tool" else values.nearest(key, KEYS)
            )
            raise MhcDiagError(f"{name} has the unknown key {printable(key)}", hint=hint)
    single = ("profile", "max-gain", "baseline", "tolerance")
    profile, most, baseline, tolerance = (table.get(key) for key in single)
    levels = _levels(name, table.get("findings", {}))
    origins = {key.replace("-", "_"): name for key in (*single, "targets") if key in table}
    return Given(
        profile=None if profile is None else values.profile(f"{name}: profile", profile),
        max_gain=None if most is None else values.gain(f"{name}: max-gain", most),
        limits=_limits(name, table.get("limits", [])),
        levels=levels,
        baseline=None if baseline is None else _beside(path, values.text(f"{name}: baseline", baseline)),
        tolerance=None if tolerance is None else values.tolerance(f"{name}: tolerance", tolerance),
        targets=tuple(_target(path, t) for t in values.texts(f"{name}: targets", table.get("targets", []))),
        origins={**origins, **dict.fromkeys(levels, name)},
    )


def _limits(name: str, tables: Any) -> tuple[Any, ...]:
    if not isinstance(tables, list):
        raise MhcDiagError(f"{name}: limits is no list of tables", hint="begin each limit with [[limits]]")
    made = (limits.of_table(f"{name}: limits[{i}]", table, name) for i, table in enumerate(tables, start=1))
    return limits.joined(made)


def _levels(name: str, table: Any) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise MhcDiagError(f"{name}: findings is no table", hint="write it as [findings] and MHC101 = 'warn'")
    return {
        values.finding(f"{name}: findings", key): values.level(f"{name}: findings.{key}", level)
        for key, level in table.items()
    }


def _target(path: Path, target: str) -> str:
    """A target as seen from the working directory: addresses and code are the same everywhere."""
    beside = _beside(path, target)
    if is_address(target) or (is_spec(target) and not beside.exists()):
        return target
    return str(beside)


def _beside(path: Path, name: str) -> Path:
    return Path(os.path.relpath(path.parent / os.path.expanduser(name)))


def _shown(path: Path) -> str:
    """The file as seen from the working directory, or in full where it lies elsewhere."""
    seen = os.path.relpath(path)
    return printable(Path(path if seen.startswith((os.pardir, "profile ")) else seen))
