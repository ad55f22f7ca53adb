"""What an operation adds to the streams, by running it once more with the streams set to zero."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mhc_diag.sources.probe.call import Call, written
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.layout import Labels, flattened
from mhc_diag.sources.probe.storages import storage_of


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """The branch as it is added to the streams."""

    value: Tensor
    """What is added, of a shape that can be broadcast to that of the result."""
    sources: tuple[Tensor, ...]
    """The arguments that it was made of."""
    overwritten: frozenset[int]
    """The memory that the operation is about to write to."""

    def as_before(self, tensor: Tensor) -> Tensor:
        """A tensor with the values that it has before the operation runs."""
        return tensor.clone() if _memory(tensor) in self.overwritten else tensor

    def laid_out(self, result: Tensor, labels: Labels) -> Tensor:
        """What is added to each channel and stream, (T, C, m).

        Args:
            result: the tensor that holds the sum, which may be a part of the streams' memory.
            labels: of that memory. What lies around the result has nothing added to it.
        """
        value = self.value.expand(result.shape)
        if result.numel() == labels.flat.numel() and result.is_contiguous():
            return labels.gather(flattened(value))
        flat = value.new_zeros(labels.flat.numel())
        flat.as_strided(result.shape, result.stride(), result.storage_offset()).copy_(value)
        return labels.gather(flat)


def added(call: Call, streams: Code) -> Added | None:
    """What an operation that is about to run, and is linear in the streams, adds to them; None if untold.

    Args:
        call: the call.
        streams: the code of its result. Arguments with tangents that do not yield to this are the streams.
    """
    tensors = [x for x in call.args if isinstance(x, Tensor)]
    main = [x for x in tensors if _is_streams(call, x, streams)]
    sources = [x for x in tensors if call.depends(x) and not any(x is m for m in main)]
    if not main or not sources or "out" in call.kwargs:
        return None
    target = written(call.func, call.args, call.kwargs) if call.func._schema.is_mutable else []
    found = Added(sources[0], tuple(sources), frozenset(map(_memory, target)))
    if call.name == "add" and len(tensors) == 2 and call.kwargs.get("alpha", 1) == 1:
        return replace(found, value=found.as_before(sources[0]))
    fresh = {id(x): torch.zeros_like(x) for x in main} | {id(x): found.as_before(x) for x in sources}
    return replace(found, value=call.func(*(fresh.get(id(x), x) for x in call.args), **call.kwargs))


def _memory(tensor: Tensor) -> int:
    storage = storage_of(tensor)
    return id(tensor) if storage is None else int(storage._cdata)


def _is_streams(call: Call, tensor: Tensor, streams: Code) -> bool:
    shadow = call.memory.shadow(tensor)
    return shadow is not None and call.signal(tensor) is not None and not shadow.code.yields_to(streams)
