"""Which files of a folder are the model, where a folder holds it more than once or beside other things.

An index is preferred to files without one, the names of Hugging Face's tools to others, and safetensors to
pickles. `consolidated.safetensors` beside them holds the same model once more, under other names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.printable import printable

INDEX = ".index.json"
DISTRIBUTED = ".metadata"
"""Written by torch.distributed.checkpoint beside the files of a checkpoint."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
BESIDE = re.compile(
    r"(training_args|optimizer|scheduler|scaler|rng_state|random_states|adapter_model|consolidated|arguments)"
    r"[\w.-]*"
)
"""Names of what lies beside a model's weights: the trainer's state, adapters, the weights once more."""
NUMBERED = re.compile(r"(?P<start>.*-)(?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<end>\.\w+)")
MOST_NUMBERED = 9_999


@dataclass(frozen=True, slots=True)
class Choice:
    """What to read in a folder."""

    kind: Literal["distributed", "index", "files"]
    names: tuple[str, ...]
    """The index, or the files."""
    left: tuple[str, ...] = ()
    """Other files that look like weights."""


def choose(names: Sequence[str], folder: str) -> Choice:
    """What to read of the files in a folder.

    Args:
        names: of all files in it.
        folder: what to call it.

    Raises:
        MhcDiagError: there are no weights, or it is not clear which are the model's.

    Example:
        >>> choose(["config.json", "model.safetensors", "pytorch_model.bin"], "x").names
        ('model.safetensors',)
        >>> choose(["model-00002-of-00002.safetensors"], "x").names
        ('model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors')
    """
    if DISTRIBUTED in names:
        return Choice("distributed", (DISTRIBUTED,))
    weights = [n for n in names if n.endswith((".safetensors", *PICKLES))]
    if index := sorted((n for n in names if n.endswith(INDEX)), key=_rank):
        return Choice("index", (index[0],), (*index[1:], *weights))
    if not weights:
        raise MhcDiagError(
            f"{folder} holds no tensors: none of its {len(names)} files is .safetensors or .bin, or an index",
            hint="name a model folder of the Hugging Face layout, or a file of tensors in it",
        )
    chosen = _series(min(weights, key=_rank), weights)
    if len(chosen) > 1 and not NUMBERED.fullmatch(chosen[0]) and chosen[0].endswith(PICKLES):
        raise MhcDiagError(
            f"{folder} holds several checkpoints, and which is meant is not clear: "
            f"{printable(', '.join(chosen))}",
            hint="name one of them",
        )
    return Choice("files", chosen, tuple(n for n in weights if n not in chosen))


def left_out(left: Sequence[str], taken: str) -> tuple[str, ...]:
    """A note on files that were passed over, where there are any.

    Example:
        >>> left_out(["pytorch_model.bin"], "model.safetensors")
        ('model.safetensors was read, and not pytorch_model.bin beside it',)
    """
    telling = [name for name in left if not BESIDE.fullmatch(name) or name.startswith("consolidated")]
    if not telling:
        return ()
    more = f" and {len(telling) - 1} more" if len(telling) > 1 else ""
    return (f"{printable(taken)} was read, and not {printable(telling[0])}{more} beside it",)


def _rank(name: str) -> tuple[bool, bool, bool, str]:
    """Smallest for what is most likely the model."""
    usual = name.startswith(("model.safetensors", "model-", "pytorch_model"))
    return BESIDE.fullmatch(name) is not None, not usual, "safetensors" not in name, name


def _series(best: str, weights: Sequence[str]) -> tuple[str, ...]:
    """The files that belong together with one: its numbered fellows, or all of the same kind."""
    if best in {"model.safetensors", "pytorch_model.bin"}:
        return (best,)
    if (number := NUMBERED.fullmatch(best)) and 1 <= int(number["count"]) <= MOST_NUMBERED:
        width = len(number["number"])
        return tuple(
            f"{number['start']}{i:0{width}d}-of-{number['count']}{number['end']}"
            for i in range(1, int(number["count"]) + 1)
        )
    beside, _, foreign, _ = _rank(best)
    return tuple(sorted(n for n in weights if _rank(n)[::2] == (beside, foreign)))
