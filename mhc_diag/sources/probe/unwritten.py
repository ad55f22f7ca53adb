"""Memory that is read although no operation has written to it: a kernel did that torch does not show.

Kernels that are launched directly, such as Triton's and those of C++ extensions, are no operations of torch.
What can be seen of them is that memory is allocated, and that it holds something later on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from mhc_diag.sources.probe.call import written
from mhc_diag.sources.probe.storages import Storages

ALLOCATES = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


@dataclass(eq=False)
class _Note:
    unwritten: bool = False


class Unwritten:
    """The memory that was allocated and not written to so far."""

    def __init__(self) -> None:
        self._notes = Storages(_Note)
        self._any = False

    def read(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: Sequence[Tensor]
    ) -> list[Tensor]:
        """Which of the arguments an operation is about to read, although none has written to them."""
        if not self._any or func.is_view:
            return []
        filled = written(func, args, kwargs) if func._schema.is_mutable else []
        for tensor in filled:
            self._done(tensor)
        return [tensor for tensor in inputs if self._done(tensor)]

    def made(self, name: str, out: Any) -> None:
        """Note what an operation, by its name, has allocated."""
        if name in ALLOCATES:
            for tensor in tree_leaves(out):
                note = self._notes.make(tensor) if isinstance(tensor, Tensor) and tensor.numel() else None
                if note is not None:
                    note.unwritten = self._any = True

    def _done(self, tensor: Any) -> bool:
        note = self._notes.get(tensor) if isinstance(tensor, Tensor) else None
        was = note is not None and note.unwritten
        if note is not None:
            note.unwritten = False
        return was
