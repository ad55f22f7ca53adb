"""A model in a folder of the Hugging Face layout: config.json beside safetensors."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Skipped
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    from torch import nn


def load(folder: Path) -> tuple[nn.Module, tuple[str, ...], tuple[Skipped, ...]]:
    """The live model of a folder, built by transformers, notes on how it loaded, and what was not loaded.

    No code of the folder is run: a model whose code lies beside its weights is refused.

    Raises:
        MhcDiagError: no config.json, transformers is not installed or does not know the architecture, or the
            weights do not load.
    """
    name = _architecture(folder)
    if importlib.util.find_spec("transformers") is None:
        raise MhcDiagError(
            f"{printable(folder)} holds a {name}, and transformers, which builds it, is not installed",
            hint="pip install 'mhc-diag[hf]', or scan its .safetensors file for the static part",
        )
    import transformers

    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise MhcDiagError(
            f"{printable(folder)} holds a {name}, unknown to transformers {transformers.__version__}",
            hint="update transformers, or give the code with package.module:factory",
        )
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
                dtype="auto",
                output_loading_info=True,
            )
    except Exception as e:
        raise _refused(folder, e) from e
    finally:
        log.set_verbosity(verbosity)
    return model, _notes(info), _random(info)


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


def _architecture(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return str(config["architectures"][0])
    except FileNotFoundError as e:
        raise MhcDiagError(
            f"{printable(folder)} is a folder without config.json",
            hint="name a model folder of the Hugging Face layout, or a file of tensors in it",
        ) from e
    except (OSError, ValueError, LookupError, TypeError) as e:
        raise MhcDiagError(
            f"{printable(folder / 'config.json')} names no model class under `architectures`",
            hint="save the model with save_pretrained, or give package.module:factory",
        ) from e


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
