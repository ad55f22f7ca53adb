"""What a live model is called with: the user's file, or random tokens of its vocabulary."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import offloaded
from mhc_diag.sources.files.bytes import LocalBytes
from mhc_diag.sources.files.safetensors_file import SafetensorsFile
from mhc_diag.sources.files.sniff import sniff
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    from torch import Tensor, nn

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
SUFFIXES = (".pt", ".pth", ".npy", ".safetensors")


def as_call(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example input as positional and keyword arguments.

    Example:
        >>> as_call({"input_ids": 1})
        ((), {'input_ids': 1})
        >>> as_call([1, 2])
        ((1, 2), {})
    """
    if isinstance(example, Mapping):
        return (), dict(example)
    match example:
        case (tuple(), dict()):
            return example
    return (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}


def from_file(path: Path) -> Arguments:
    """Arguments from a file: an array (.npy), a tensor, list or dictionary (.pt), tensors (.safetensors).

    Raises:
        MhcDiagError: the file is missing, of another kind, or damaged.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise MhcDiagError(
            f"--input {printable(path)} ends in {printable(suffix or 'no suffix')}",
            hint=f"give a file that ends in one of {', '.join(SUFFIXES)}",
        )
    if not path.is_file():
        raise MhcDiagError(f"--input {printable(path)}: there is no such file", hint="check the path")
    is_safe = suffix != ".npy" and sniff(LocalBytes(path)) == "safetensors"
    reader = _numpy if suffix == ".npy" else _safetensors if is_safe else _torch
    try:
        return as_call(reader(path))
    except Exception as e:
        what = printable(" ".join(f"{type(e).__name__}: {e}".split()))
        if isinstance(e, pickle.UnpicklingError):  # its text advises to run what is not trusted
            what = "it holds more than tensors and plain containers"
        raise MhcDiagError(
            f"--input {printable(path)} cannot be read: {what}",
            hint="save a tensor, a list of positional or a dictionary of keyword arguments, without code",
        ) from e


def random_tokens(module: nn.Module, *, tokens: int, batch: int, seed: int) -> tuple[Tensor, int]:
    """Token numbers drawn uniformly from the vocabulary: (batch, tokens) int64, and the vocabulary's size.

    Raises:
        MhcDiagError: the model has no embedding that would say how large its vocabulary is.
    """
    import torch

    embedding = _embedding(module)
    if embedding is None:
        raise MhcDiagError(
            f"{type(module).__name__} has no embedding, so no tokens can be drawn for it",
            hint="give --input FILE, or return (module, example input) from the factory",
        )
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, embedding.num_embeddings, (batch, tokens), generator=draw)
    if offloaded.away(module):  # the hooks that bring weights in move the input too
        return drawn, embedding.num_embeddings
    return drawn.to(embedding.weight.device), embedding.num_embeddings


def _embedding(module: nn.Module) -> nn.Embedding | None:
    """The model's own answer, as transformers has it, or the first embedding in it."""
    import torch

    chosen = None
    with contextlib.suppress(NotImplementedError):  # how transformers says that a model has none
        getter = getattr(module, "get_input_embeddings", None)
        chosen = getter() if callable(getter) else None
    embeddings = (m for m in (chosen, *module.modules()) if isinstance(m, torch.nn.Embedding))
    return next(embeddings, None)


def _numpy(path: Path) -> Any:
    import numpy as np
    import torch

    with path.open("rb") as stream:
        return torch.from_numpy(np.lib.format.read_array(stream, allow_pickle=False))


def _torch(path: Path) -> Any:
    import torch

    with path.open("rb") as stream:  # a path would be read by its suffix
        return torch.load(stream, map_location="cpu", weights_only=True)


def _safetensors(path: Path) -> Any:
    tensors = SafetensorsFile(LocalBytes(path)).state_dict()
    return next(iter(tensors.values())) if len(tensors) == 1 else tensors
