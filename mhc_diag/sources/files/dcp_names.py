"""Which tensors of a distributed checkpoint are the model's, and what the model calls them.

A training saves a nested state, and its names are the keys on the way joined by dots. Where the writer also
says what the keys were, the part that holds the model is found; else the names are taken as they are.
"""

from __future__ import annotations

from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.dcp_metadata import Described, Metadata
from mhc_diag.sources.files.torch_tables import NESTS, Tables
from mhc_diag.sources.printable import printable

OPTIMIZERS = ("optimizer", "optim", "optimizers", "optimizer_states", "optimizer_state_dict")
"""Where a training keeps what the optimizer remembers of each parameter."""
LISTED = 8


def chosen(metadata: Metadata, key: str | None, folder: str) -> tuple[dict[str, Described], tuple[str, ...]]:
    """The model's tensors by the model's names, and sentences on what is left out.

    Args:
        metadata: of the checkpoint.
        key: the part of the state to take; None to find it.
        folder: its name, printable.

    Raises:
        MhcDiagError: there is no such part, or several could be meant.
    """
    if key is not None:
        return _below(key, metadata, folder), ()
    state: dict[str, Any] = {}
    optimizer = 0
    for name, tensor in metadata.tensors.items():
        path = metadata.paths.get(name)
        path = path if path is not None and ".".join(path) == name else (name,)
        if name.partition(".")[0] in OPTIMIZERS and name not in OPTIMIZERS:
            optimizer += 1
        else:
            _put(state, path, tensor)
    table = Tables(state, Described, lambda node: node, folder).choose(None)
    others = len(metadata.tensors) - optimizer - len(table.tensors)
    notes = [f"{_were(optimizer)} left out: of the optimizer"] if optimizer else []
    notes += [f"{_were(others)} left out: outside {printable(table.path)!r}"] if others else []
    return table.tensors, tuple(notes)


def _were(count: int) -> str:
    return "1 tensor was" if count == 1 else f"{count} tensors were"


def _put(state: dict[str, Any], path: tuple[str, ...], tensor: Described) -> None:
    """Nest a tensor under the keys that tables of models have; what follows is the model's own name."""
    depth = 0
    while depth < len(path) - 1 and path[depth] in NESTS:
        inner = state.setdefault(path[depth], {})
        if not isinstance(inner, dict):  # a tensor of that very name
            break
        state, depth = inner, depth + 1
    state[".".join(path[depth:])] = tensor


def _below(key: str, metadata: Metadata, folder: str) -> dict[str, Described]:
    """What lies under a prefix."""
    found = {n[len(key) + 1 :]: tensor for n, tensor in metadata.tensors.items() if n.startswith(f"{key}.")}
    if not found:
        tops = list(dict.fromkeys(name.partition(".")[0] for name in metadata.tensors))
        more = f" and {len(tops) - LISTED} more" if len(tops) > LISTED else ""
        raise MhcDiagError(
            f"{folder} holds no tensors under {printable(key)!r}; its names begin with "
            f"{', '.join(map(printable, tops[:LISTED])) or 'nothing'}{more}",
            hint="give one of these with --key, or leave it out",
        )
    return found
