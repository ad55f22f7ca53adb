"""JSON from a stranger, parsed only when it cannot take much more memory than it has bytes.

A bracket costs a parser twenty times its own size, and a number or a short text ten times, so both are
counted first. What is left is checked by whoever knows what should be in it.
"""

from __future__ import annotations

import json
from typing import Any

LONGEST = 48 << 20
MOST_OBJECTS = 220_000
"""One for each tensor in the header of a safetensors file."""
MOST_LISTS = 2 * MOST_OBJECTS
MOST_COMMAS = 5 << 19


def parsed(raw: bytes) -> Any:
    """What a JSON text says, each name of an object once.

    Raises:
        ValueError: it is too large to be parsed, no JSON, or names something twice.

    Example:
        >>> parsed(b'{"shape": [4, 4]}')
        {'shape': [4, 4]}
        >>> parsed(b'{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: it names something twice
    """
    if len(raw) > LONGEST:
        raise ValueError(f"{len(raw)} bytes of text, expected at most {LONGEST}")
    many = {b"{": MOST_OBJECTS, b"[": MOST_LISTS, b",": MOST_COMMAS}
    if any(raw.count(sign) > most for sign, most in many.items()):
        raise ValueError("it lists far more than any model has tensors")
    try:
        return json.loads(raw.decode(), object_pairs_hook=_unique)
    except RecursionError as e:
        raise ValueError("it is nested too deep") from e


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names differ: parsers disagree on which of two equal names counts."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("it names something twice")
    return table
