"""What torch.save writes for tensors, storages and dtypes, read as descriptions.

A tensor is a view of a storage: an offset, a shape and strides, which a file may set as it likes. They are
kept here and compared with the storage before anything is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mhc_diag.sources.files.pickled_objects import Damaged, Foreign, Known
from mhc_diag.sources.files.torch_dtypes import Dtype, StorageType

LARGEST = 1 << 63
MOST_DIMENSIONS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Where numbers lie."""

    key: str
    """The file's name for it."""
    dtype: str
    count: int
    """Of elements."""
    location: str
    start: int = 0
    """Where it begins in the storage of that name, in elements; other than 0 in the oldest files."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """A tensor as the file describes it; (shape, stride, offset) are in elements."""

    shape: tuple[int, ...]
    dtype: str
    storage: Storage | None = None
    stride: tuple[int, ...] = ()
    offset: int = 0
    kind: str = ""
    """Why its numbers are not plainly stored, in a word: `meta`, `sparse_coo`; empty if they are."""

    def build(self, state: Any) -> None:
        """Attributes that somebody hung on a tensor are of no interest."""


def stored_storage(identifier: Any) -> Any:
    """What a persistent identifier names: a storage, or in older files the class of a module.

    Raises:
        Damaged: it is none of torch's.
    """
    if type(identifier) is tuple and len(identifier) == 4 and text(identifier[0]) == "module":
        return identifier[1]  # with its source code, which is of no interest here
    if type(identifier) is not tuple or len(identifier) < 5 or text(identifier[0]) != "storage":
        raise Damaged("it refers to something that is no storage")
    _, kind, key, location, count, *view = identifier
    if not isinstance(kind, StorageType) or type(count) is not int or not 0 <= count < LARGEST:
        raise Damaged("it refers to a storage of no kind or size")
    if not view or view[0] is None:
        return Storage(text(key), kind.dtype, count, text(location))
    if type(view[0]) is not tuple or len(view[0]) != 3 or not _sizes(view[0][1:]):
        raise Damaged("it refers to a part of a storage that is none")
    return Storage(text(key), kind.dtype, view[0][2], text(location), view[0][1])


def text(value: Any) -> str:
    """A text, which Python 2 wrote as bytes."""
    if type(value) is bytes:
        return value.decode("utf-8", "replace")
    if type(value) is not str:
        raise Damaged(f"it has a {type(value).__name__} for a name")
    return value


def _sizes(values: Any) -> bool:
    return (
        type(values) is tuple
        and len(values) <= MOST_DIMENSIONS
        and all(type(value) is int and 0 <= value < LARGEST for value in values)
    )


def _view(
    storage: Any, offset: Any, shape: Any, stride: Any, *_: Any, dtype: str = "", kind: str = ""
) -> StoredTensor:
    """A tensor that is a view of a storage."""
    if not isinstance(storage, Storage) or not _sizes((offset,)) or not _sizes(shape) or not _sizes(stride):
        raise Damaged("it describes a tensor without a storage, or of no shape")
    if len(shape) != len(stride):
        raise Damaged("it describes a tensor with strides that do not belong to its shape")
    kind = kind or ("meta" if storage.location == "meta" else "")
    return StoredTensor(shape, dtype or storage.dtype, storage, stride, offset, kind)


def _view_v2(*args: Any) -> StoredTensor:
    """The usual way: storage, offset, shape, stride, requires_grad, hooks, and what its bits mean."""
    return _marked(_view(*args), args[6] if len(args) > 6 else None)


def _view_v3(*args: Any) -> StoredTensor:
    """With a dtype, because the storage has none."""
    return _marked(_view(*args, dtype=_dtype(args[6])), args[7] if len(args) > 7 else None)


def _marked(tensor: StoredTensor, marks: Any) -> StoredTensor:
    """A view that also negates or conjugates its numbers."""
    if type(marks) is dict and any(marks.get(mark) for mark in ("neg", "conj")):
        return replace(tensor, kind=tensor.kind or "negated")
    return tensor


def _dtype(value: Any) -> str:
    if not isinstance(value, Dtype):
        raise Damaged("it describes a tensor of no dtype")
    return value.name


def _nowhere(shape: Any, dtype: Any, kind: str) -> StoredTensor:
    if isinstance(shape, list):
        shape = tuple(shape[: MOST_DIMENSIONS + 1])
    if not _sizes(shape):
        raise Damaged("it describes a tensor of no shape")
    return StoredTensor(shape, _dtype(dtype), kind=kind)


def _sparse(layout: Any, data: Any) -> Any:
    """Indices and values, in one of several layouts."""
    if type(data) is not tuple:
        raise Damaged("it describes a sparse tensor of nothing")
    values = next((part for part in reversed(data) if isinstance(part, StoredTensor)), None)
    shape = next((part for part in data if _sizes(part)), None)
    if values is None or shape is None:
        raise Damaged("it describes a sparse tensor of nothing")
    return StoredTensor(shape, values.dtype, kind=text(layout).removeprefix("torch."))


def _nested(buffer: Any, sizes: Any, *_: Any) -> Any:
    """Tensors of different shapes behind each other."""
    if not isinstance(buffer, StoredTensor) or not isinstance(sizes, StoredTensor):
        raise Damaged("it describes a nested tensor of nothing")
    return StoredTensor(sizes.shape[:1], buffer.dtype, kind="nested")


def _parameter(data: Any = None, *_: Any) -> Any:
    return data if isinstance(data, StoredTensor) else Foreign("torch.nn.parameter.Parameter", (data,))


def _of_type(function: Any, kind: Any, args: Any, state: Any = None) -> Any:
    """A tensor of a subclass, or one with attributes."""
    if not isinstance(function, Known) or type(args) is not tuple:
        return Foreign(getattr(kind, "name", "?"), (function, args, state))
    made = function.make(*args)
    if isinstance(made, StoredTensor) and getattr(kind, "name", "").endswith(".DTensor"):
        return _distributed(made, state)
    return made


def _distributed(whole: StoredTensor, state: Any) -> StoredTensor:
    """A DTensor: this process's part of a tensor, which may be all of it."""
    parts = state if type(state) is tuple else (state,)
    local = next(
        (part["_local_tensor"] for part in parts if isinstance(part, Mapping) and "_local_tensor" in part),
        None,
    )
    spec = next((part["_spec"] for part in parts if isinstance(part, Mapping) and "_spec" in part), None)
    summand = not isinstance(spec, Foreign) or _is_summand(spec.attributes.get("placements"))
    if not isinstance(local, StoredTensor) or local.shape != whole.shape or summand:
        return replace(whole, storage=None, kind="sharded")
    return local


def _is_summand(placements: Any) -> bool:
    """Whether the whole is the sum of the processes' parts."""
    known = type(placements) in (tuple, list) and all(isinstance(p, Foreign) for p in placements)
    return not known or any("Partial" in p.name for p in placements)


def _same(*args: Any) -> Any:
    """The one argument, which is not copied."""
    return args[0]


KNOWN = [
    Known("torch._utils._rebuild_tensor", _view),
    Known("torch._utils._rebuild_tensor_v2", _view_v2),
    Known("torch._utils._rebuild_tensor_v3", _view_v3),
    Known("torch._utils._rebuild_parameter", _parameter),
    Known("torch._utils._rebuild_parameter_with_state", _parameter),
    Known("torch.nn.parameter.Parameter", _parameter),
    Known("torch._utils._rebuild_qtensor", lambda *args: _view(*args[:4], kind="quantized")),
    Known("torch._utils._rebuild_sparse_tensor", _sparse),
    Known("torch._utils._rebuild_nested_tensor", _nested),
    Known("torch._utils._rebuild_sparse_csr_tensor", _sparse),
    Known(
        "torch._utils._rebuild_meta_tensor_no_storage",
        lambda dtype, shape, *_: _nowhere(shape, dtype, "meta"),
    ),
    Known(
        "torch._utils._rebuild_wrapper_subclass",
        lambda kind, dtype, shape, *_: _nowhere(shape, dtype, "wrapped"),
    ),
    Known("torch._tensor._rebuild_from_type_v2", _of_type),
    Known("torch._tensor._rebuild_from_type", _of_type),
    Known("torch.Size", _same),
    Known("torch.device", lambda *args: Foreign("torch.device", args)),
    Known("torch.serialization._get_layout", _same),
]
