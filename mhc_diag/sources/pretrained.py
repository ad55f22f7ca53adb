"""A model in a folder of the Hugging Face layout: config.json beside safetensors."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Skipped
from mhc_diag.sources import placed
from mhc_diag.sources.files.bytes import LocalFolder
from mhc_diag.sources.files.configuration import configuration
from mhc_diag.sources.plausible import implausible
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    from torch import nn


SHARE = 0.5
"""Of the free memory that the weights of a model may take."""
PLAUSIBLE = 4
"""How many times the size of its files a model that is spread may have by its configuration."""


def unbuildable(folder: Path, *, spread: bool = False) -> str:
    """Why the model of a folder cannot be run here, in a few words; empty where it can be tried.

    Args:
        folder: with config.json.
        spread: whether what does not fit in memory may stay on disk, which accelerate sees to.

    Raises:
        MhcDiagError: config.json cannot be read or names no model.
    """
    name = printable(_architecture(folder))
    if not name:
        return "config.json names no model class under `architectures`"
    if importlib.util.find_spec("transformers") is None:
        return f"transformers, which builds a {name}, is not installed (mhc-diag[hf])"
    if spread and importlib.util.find_spec("accelerate") is None:
        return f"accelerate, which spreads a {name}, is not installed (mhc-diag[train])"
    size, free = _weights(folder), _free_memory()
    if size > SHARE * free and not spread:
        return f"its weights take {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free"
    if reason := implausible(_configuration(folder), max(SHARE * free, PLAUSIBLE * size * spread)):
        return reason
    import transformers

    if not hasattr(transformers, name):
        return f"transformers {transformers.__version__} does not know a {name}"
    return ""


def _weights(folder: Path) -> int:
    """Bytes of all files that may be weights."""
    suffixes = {".safetensors", ".bin", ".pt", ".pth"}
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in suffixes and file.is_file())


def _free_memory() -> float:
    """Bytes that can be had without swapping, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        return float("inf")


def load(
    folder: Path, *, dtype: str | None = None, spill: Path | None = None
) -> tuple[nn.Module, tuple[str, ...], tuple[Skipped, ...]]:
    """The live model of a folder, built by transformers, notes on how it loaded, and what was not loaded.

    No code of the folder is run: a model whose code lies beside its weights is refused.

    Args:
        folder: with config.json.
        dtype: what the weights become, by its short name; that of the files if None.
        spill: a folder for what finds no place on an accelerator or in half of the free memory, which must
            stay while the model runs. None: all of the model goes to memory.

    Raises:
        MhcDiagError: no config.json, transformers is not installed or does not know the architecture, or the
            weights do not load.
    """
    import transformers

    model_class = getattr(transformers, _architecture(folder))
    log: Any = transformers.utils.logging
    verbosity = log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        with warnings.catch_warnings(action="ignore"):
            model, info = model_class.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,  # left open, an Auto class asks on standard input
                dtype="auto" if dtype is None else placed.dtype(dtype),
                output_loading_info=True,
                **({} if spill is None else _spread(spill)),
            )
    except Exception as e:
        raise _refused(folder, e) from e
    finally:
        log.set_verbosity(verbosity)
    return model, _notes(info), _random(info)


def _spread(spill: Path) -> dict[str, Any]:
    """How transformers is told to spread a model."""
    from accelerate.utils import get_max_memory

    room: dict[int | str, Any] = get_max_memory()
    room["cpu"] = int(min(room["cpu"], SHARE * _free_memory()))
    return {"device_map": "auto", "max_memory": room, "offload_folder": spill}


def _refused(folder: Path, error: Exception) -> MhcDiagError:
    if "trust_remote_code" in str(error):
        return MhcDiagError(
            f"{printable(folder)} holds code of its own, which is never run",
            hint="read it, and load the model in a factory of yours: package.module:factory",
        )
    what = printable(" ".join(f"{type(error).__name__}: {error}".split()))
    return MhcDiagError(
        f"transformers cannot load {printable(folder)}: {what}",
        hint="check that all weight files are there and belong to this config.json",
    )


def _configuration(folder: Path) -> Mapping[str, Any]:
    return configuration(LocalFolder(folder), "the weights") or {}


def _architecture(folder: Path) -> str:
    """The model class that config.json names; empty where it names none.

    Raises:
        MhcDiagError: config.json cannot be read.
    """
    named = _configuration(folder).get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def _notes(info: dict[str, Any]) -> tuple[str, ...]:
    extra = sorted(map(str, info.get("unexpected_keys", ())))
    if not extra:
        return ()
    return (f"{len(extra)} tensors of the files are not in the model, first {printable(extra[0])}",)


def _random(info: dict[str, Any]) -> tuple[Skipped, ...]:
    missing = sorted(map(str, info.get("missing_keys", ())))
    if not missing:
        return ()
    what = f"{len(missing)} tensors of the model, first {printable(missing[0])}"
    return (Skipped(what, "not in the files, so what they take part in has random values"),)
