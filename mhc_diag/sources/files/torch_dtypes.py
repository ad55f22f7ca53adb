"""torch's names for what a number is."""

from __future__ import annotations

from dataclasses import dataclass

STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
    "Untyped": "uint8",
    "Typed": "uint8",
}
BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "bool": 1,
    "complex32": 4,
    "complex64": 8,
    "complex128": 16,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1,
    "qint8": 1,
    "quint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
}
"""Bytes of one element, by dtype."""


@dataclass(frozen=True, slots=True)
class Dtype:
    """A dtype in torch's words."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class StorageType:
    """A class of storages: what its elements are."""

    dtype: str


def torch_name(full: str) -> Dtype | StorageType | None:
    """A dtype or a class of storages, if a name is one.

    Example:
        >>> torch_name("torch.bfloat16"), torch_name("torch.cuda.HalfStorage").dtype
        (Dtype(name='bfloat16'), 'float16')
    """
    module, _, name = full.rpartition(".")
    if module == "torch" and name in BYTES:
        return Dtype(name)
    kind = name.removesuffix("Storage")
    if module in {"torch", "torch.cuda", "torch.storage"} and kind != name and kind in STORAGES:
        return StorageType(STORAGES[kind])
    return None
