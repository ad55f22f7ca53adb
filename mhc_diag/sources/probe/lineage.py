"""Where tensors came from: the module that made them, and the ends of paths that they were computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from mhc_diag.sources.probe.storages import Storages


@dataclass(eq=False)
class _Note:
    producer: tuple[int, str] = (0, "")
    cut: int = -1
    made_of_cuts: int = 0


class Lineage:
    """Notes on all memory that depends on the streams, beside its shadows."""

    def __init__(self) -> None:
        self._notes = Storages(_Note)
        self._clock = 0
        self._cuts = 0

    @property
    def all_cuts(self) -> int:
        """All outputs at which a path ended so far, as a set of bits by their numbers."""
        return (1 << self._cuts) - 1

    def producer(self, tensor: Tensor) -> tuple[int, str]:
        """The module that the tensor last came out of, and when."""
        note = self._notes.get(tensor)
        return (0, "") if note is None else note.producer

    def produced(self, tensor: Tensor, producer: tuple[int, str] | str) -> None:
        """Note which module a tensor came out of: now, or as it was noted for what the tensor was made of."""
        note = self._notes.make(tensor)
        if note is not None:
            if isinstance(producer, str):
                self._clock += 1
                producer = (self._clock, producer)
            note.producer = producer

    def mark_cut(self, tensor: Tensor, made_of_cuts: int) -> None:
        """Number an output at which a path ended, to know later what was computed from it."""
        note = self._notes.make(tensor)
        if note is not None:
            note.cut, self._cuts = self._cuts, self._cuts + 1
            note.made_of_cuts = made_of_cuts

    def cut(self, tensor: Tensor) -> int:
        """The number of such an output; one that no other has where it is none."""
        note = self._notes.get(tensor)
        return self._cuts if note is None or note.cut < 0 else note.cut

    def made_of_cuts(self, tensors: Iterable[Tensor]) -> int:
        """Which such outputs tensors were computed from or are, as a set of bits by their numbers."""
        made_of = 0
        for tensor in tensors:
            note = self._notes.get(tensor)
            if note is not None:
                made_of |= note.made_of_cuts | (1 << note.cut if note.cut >= 0 else 0)
        return made_of

    def is_made_of(self, branch: Tensor, streams: Tensor) -> bool:
        """Whether one untracked tensor was computed from another: then their sum is a residual update."""
        note = self._notes.get(streams)
        if note is None or note.cut < 0 or self._notes.get(branch) is note:
            return False
        return bool(self.made_of_cuts([branch]) >> note.cut & 1)
