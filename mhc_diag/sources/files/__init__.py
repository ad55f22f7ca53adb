"""Files of named tensors: one file of this folder = one container format.

A format lists names, shapes and dtypes without reading numbers, and then reads the tensors that are asked
for. It sees a file only as `Bytes` that can be read in ranges, so that the same code reads a disk and a web
server, and it runs no code that a file holds. torch is not needed for any of them.

    tensors      the door: what is at a path or an address, under the names that the model gave its tensors
    located      where a target is: a file or a folder, on disk or elsewhere
    opened       which format reads it; `sharded` where it is several files, `folders` says which of a folder
    sniff        what a file is, from its first bytes
    bytes        ranges of a file, and folders of files, on disk
    remote       the same elsewhere, over `web` or `object_store`
    pickled      pickles worked through without running them; `pickled_*` are its parts
    torch_file   what torch.save writes, in either container (`torch_zip`, `torch_legacy`)
    dcp          folders of torch.distributed.checkpoint; `dcp_*` are its parts
    program_file the weights of a program that torch.export.save wrote
    scales       float8 numbers and the tensors that scale them
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file says of one of its tensors, known without reading its numbers."""

    shape: tuple[int, ...]
    dtype: str
    """In torch's words, such as `bfloat16`; with a word before it where its numbers are not plainly stored,
    such as `meta float32`."""
    file: str = ""
    """Which of several files holds it, by name; empty where there is one."""


class Stored(Protocol):
    """What each format provides. Names are the file's own."""

    format: str
    """What it is, for people: `safetensors`, `torch zip archive`."""
    entries: Mapping[str, Entry]
    """In the order of the file."""
    config: Mapping[str, Any] | None
    """The model's configuration, where the file holds one."""
    metadata: Mapping[str, Any]
    """What else the file says about itself: texts and numbers."""
    notes: tuple[str, ...]
    """What a reader of the numbers must know, in sentences: objects in the file that were not loaded."""

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor as float32 or float64, in whatever order reads least.

        One tensor is held at a time; whoever wants them all collects them.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model."""
