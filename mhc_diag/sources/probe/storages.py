"""A record for each block of tensor memory, for as long as the block lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

SWEEP_EVERY = 64

Record = TypeVar("Record")


def storage_of(tensor: Tensor) -> torch.UntypedStorage | None:
    """The memory of a tensor; None for those that have none, such as sparse ones and wrapped ones.

    torch answers these with either of two errors, depending on the kind, and has no question to ask first.
    """
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among an operation's arguments or results, which hold no containers but these."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
        elif isinstance(value, dict):
            found += tensors_in(value.values())
    return found


class Storages(Generic[Record]):
    """Records by memory: all views of a tensor share one.

    Args:
        blank: makes a new record.
    """

    def __init__(self, blank: Callable[[], Record]) -> None:
        self._blank = blank
        self._records: dict[int, tuple[StorageWeakRef, Record]] = {}
        self._made = 0

    def get(self, tensor: Tensor) -> Record | None:
        """The record of a tensor's memory, if it has one."""
        storage = storage_of(tensor)
        found = None if storage is None else self._records.get(storage._cdata)
        return None if found is None else found[1]

    def reference(self, tensor: Tensor) -> StorageWeakRef:
        """A weak reference to memory that has a record."""
        return self._records[tensor.untyped_storage()._cdata][0]

    def make(self, tensor: Tensor) -> Record | None:
        """The record of a tensor's memory, made now if need be; None for a tensor without memory."""
        storage = storage_of(tensor)
        if storage is None:
            return None
        if storage._cdata not in self._records:
            self._made += 1
            if self._made % SWEEP_EVERY == 0:
                self._sweep()
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            self._records[storage._cdata] = (reference, self._blank())
        return self._records[storage._cdata][1]

    def _sweep(self) -> None:
        """Forget memory that the model released; a weak reference kept its number from being used again."""
        gone = [k for k, (ref, _) in self._records.items() if ref.expired()]  # type: ignore[no-untyped-call]
        for key in gone:
            del self._records[key]
