"""What a file says about itself, as short printable texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mhc_diag.sources.files.names import WRAPPERS
from mhc_diag.sources.files.tensors import TensorFile
from mhc_diag.sources.printable import printable

MOST_ENTRIES = 40
MIXING = re.compile(r"(^|[_.])m?hc(_|$)|hyper_?connection|sinkhorn|stream|h_res", re.IGNORECASE)
MODEL = (
    "model_type",
    "architectures",
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "hidden_size",
    "n_embd",
    "torch_dtype",
    "dtype",
)
NESTED = ("text_config", "model", "model_args", "mhc", "hyper_connections")


def metadata(found: Mapping[str, Any]) -> dict[str, str]:
    """At most `MOST_ENTRIES` of what lies beside the tensors."""
    return {printable(k): printable(v) for k, v in [*found.items()][:MOST_ENTRIES]}


def config(found: Mapping[str, Any] | None) -> dict[str, str]:
    """The settings that say what model it is, then those that have to do with mixing.

    Example:
        >>> config({"vocab_size": 128, "hc_mult": 4, "model_type": "deepseek_v4"})
        {'model_type': 'deepseek_v4', 'hc_mult': '4'}
    """
    entries = dict(_flat(found or {}))
    about = {k: v for k, v in entries.items() if k.rpartition(".")[2] in MODEL}
    mixing = {k: v for k, v in entries.items() if MIXING.search(k) and k not in about}
    chosen = [*about.items(), *mixing.items()][:MOST_ENTRIES]
    return {printable(k): printable(v) for k, v in chosen}


def prefixes(file: TensorFile) -> tuple[str, ...]:
    """What wrappers put into the names, the first found first."""
    parts = (part for name in file.names for part in _taken_off(name, file.raw(name)))
    return tuple(f"{part}." for part in dict.fromkeys(parts))


def _flat(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Numbers, texts and lists of them; those of a few well-known tables inside with the table's name."""
    for key, value in found.items():
        if isinstance(value, Mapping) and str(key) in NESTED:
            yield from ((f"{key}.{k}", v) for k, v in value.items() if not isinstance(v, Mapping))
        elif not isinstance(value, Mapping):
            yield str(key), value


def _taken_off(name: str, raw: str) -> list[str]:
    return [] if name == raw else [part for part in raw.split(".") if part in WRAPPERS]
