"""Stored bytes as numbers: every floating dtype of torch widened to float32 or float64, exactly."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

PLAIN = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}
EIGHT_BITS = {  # exponent bits, mantissa bits, bias; what else the dtype does with its 256 patterns
    "float8_e4m3fn": (4, 3, 7),
    "float8_e5m2": (5, 2, 15),
    "float8_e4m3fnuz": (4, 3, 8),
    "float8_e5m2fnuz": (5, 2, 16),
    "float8_e8m0fnu": (8, 0, 127),
}
WIDTHS = {name: int(code[2:]) for name, code in PLAIN.items()} | dict.fromkeys(EIGHT_BITS, 1)
"""Bytes of one number, by the dtypes whose numbers can be read."""


def bits(dtype: str) -> int | None:
    """Bits that a number of a dtype takes, None where that is not known.

    Example:
        >>> bits("bfloat16"), bits("uint8"), bits("bool"), bits("float8_e4m3fn"), bits("quint")
        (16, 8, 8, 8, None)
    """
    if found := re.match(r"(?:[a-z]+ )*(?:b?float|u?int|complex)(\d+)", dtype):
        return int(found[1])
    return 8 if dtype == "bool" else None


def widened(raw: Any, dtype: str) -> np.ndarray[Any, Any]:
    """The numbers in a buffer of little-endian bytes, (count) float32 or float64.

    Args:
        raw: bytes, or anything with a buffer.
        dtype: one of `WIDTHS`.

    Example:
        >>> widened(bytes([0x80, 0x3F, 0x40, 0xC0]), "bfloat16").tolist()
        [1.0, -3.0]
        >>> widened(bytes([0x38, 0x7E, 0x7F]), "float8_e4m3fn").tolist()
        [1.0, 448.0, nan]
    """
    if dtype in EIGHT_BITS:
        return _table(dtype)[np.frombuffer(raw, np.uint8)]
    numbers = np.frombuffer(raw, PLAIN[dtype])
    if dtype == "bfloat16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.result_type(numbers.dtype, np.float32))


def _table(dtype: str) -> np.ndarray[Any, Any]:
    """The value of each of the 256 patterns, float32."""
    exponents, mantissas, bias = EIGHT_BITS[dtype]
    return np.array([_value(bits, dtype, exponents, mantissas, bias) for bits in range(256)], np.float32)


def _value(bits: int, dtype: str, exponents: int, mantissas: int, bias: int) -> float:
    if dtype == "float8_e8m0fnu":  # a power of two without sign
        return np.nan if bits == 0xFF else 2.0 ** (bits - bias)
    if dtype.endswith("fnuz") and bits == 0x80:
        return np.nan
    sign = -1.0 if bits & 0x80 else 1.0
    exponent, mantissa = (bits & 0x7F) >> mantissas, bits & ((1 << mantissas) - 1)
    if dtype == "float8_e5m2" and exponent == (1 << exponents) - 1:
        return sign * np.inf if mantissa == 0 else np.nan
    if dtype == "float8_e4m3fn" and bits & 0x7F == 0x7F:
        return np.nan
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - bias - mantissas)
    return sign * (1 + mantissa / (1 << mantissas)) * 2.0 ** (exponent - bias)
