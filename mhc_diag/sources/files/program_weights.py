"""The JSON text in an exported program that says which view of which bytes each parameter is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.archive import Archive
from mhc_diag.sources.files.bounded_json import LONGEST, parsed
from mhc_diag.sources.files.pickled_objects import Damaged
from mhc_diag.sources.files.torch_dtypes import BYTES
from mhc_diag.sources.files.torch_rebuild import Storage, StoredTensor
from mhc_diag.sources.files.torch_views import check_extent, is_expanded
from mhc_diag.sources.printable import printable

DTYPES = {  # torch._export.serde.schema.ScalarType
    **{1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64"},
    **{9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16"},
    **{29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz"},
    **{33: "float8_e8m0fnu", 34: "uint32", 35: "uint64"},
}
STRIDED = 7
LARGEST = 1 << 62
MOST_DIMENSIONS = 64
Weights = tuple[dict[str, StoredTensor], tuple[str, ...]]


def read_weights(archive: Archive, member: str, file: str) -> Weights:
    """The tensors that a table describes, each compared with the bytes that it is a view of.

    Args:
        archive: the program's.
        member: the table.
        file: its name, printable.

    Returns:
        Tensors by the model's names, whose storages are named by their members; and notes.

    Raises:
        MhcDiagError: the table is damaged, or does not match the archive.
    """
    try:
        if archive.members[member].size > LONGEST:
            raise Damaged(f"it has {archive.members[member].size} bytes, expected at most {LONGEST}")
        table = _object(_object(parsed(archive.whole(member))).get("config"))
        folder = member[: member.rindex("/") + 1]
        tensors = {
            weight: _tensor(weight, _object(about), folder, archive) for weight, about in table.items()
        }
    except (Damaged, ValueError) as e:
        raise MhcDiagError(
            f"{file} is a damaged program: {printable(member)}: {printable(e)}",
            hint="download it again, or export it again with torch.export.save",
        ) from e
    plain = {weight: tensor for weight, tensor in tensors.items() if tensor is not None}
    pickled = len(tensors) - len(plain)
    note = f"{pickled} of the program's weights are pickled tensors of other classes, and were not read"
    return plain, (note,) * bool(pickled)


def _tensor(weight: str, about: Mapping[str, Any], folder: str, archive: Archive) -> StoredTensor | None:
    """One weight; None where it is pickled."""
    if about.get("use_pickle"):
        return None
    path, meta = about.get("path_name"), _object(about.get("tensor_meta"))
    member = archive.members.get(f"{folder}{path}") if type(path) is str else None
    code = meta.get("dtype")
    dtype = DTYPES.get(code) if type(code) is int else None
    if member is None or dtype is None:
        raise Damaged(f"{weight} is in no member of the archive, or of no dtype that is known")
    shape, stride = _numbers(meta.get("sizes")), _numbers(meta.get("strides"))
    (offset,) = _numbers([meta.get("storage_offset")])
    if len(shape) != len(stride):
        raise Damaged(f"{weight} has {len(stride)} strides for {len(shape)} dimensions")
    storage = Storage(f"{folder}{path}", dtype, member.size // BYTES[dtype], "cpu")
    tensor = StoredTensor(shape, dtype, storage, stride, offset)
    if meta.get("layout") != STRIDED:
        return StoredTensor(shape, dtype, storage, stride, offset, "sparse")
    if member.size == 0 and 0 not in shape:
        return StoredTensor(shape, dtype, storage, stride, offset, "meta")
    check_extent(tensor, weight, member.size)
    return StoredTensor(shape, dtype, storage, stride, offset, "expanded") if is_expanded(tensor) else tensor


def _numbers(values: Any) -> tuple[int, ...]:
    """Whole numbers, each in an object of its own."""
    if not isinstance(values, list) or len(values) > MOST_DIMENSIONS:
        raise Damaged("it has something else in place of a shape")
    numbers: list[Any] = [_object(value).get("as_int") for value in values]
    if not all(type(number) is int and 0 <= number < LARGEST for number in numbers):
        raise Damaged("it has a shape of impossible numbers")
    return tuple(numbers)


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Damaged("it has something else in place of an object")
    return value
