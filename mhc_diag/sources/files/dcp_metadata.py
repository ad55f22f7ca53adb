"""What the `.metadata` of a distributed checkpoint says: which file holds which part of which tensor.

torch.distributed.checkpoint pickles it, and unpickling would run whatever code it names. It is read as a
record here, and every number in it is checked, so that a reader of the tensors can rely on them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.bytes import Bytes, check_plain
from mhc_diag.sources.files.pickled import LARGEST_PICKLE, unpickle
from mhc_diag.sources.files.pickled_objects import Damaged, Foreign, TooLarge
from mhc_diag.sources.files.torch_dtypes import BYTES, Dtype
from mhc_diag.sources.printable import printable

METADATA = ".metadata"
LARGEST = 1 << 62
MOST_DIMENSIONS = 64
MOST_CHUNKS = 2_000_000
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A block of a tensor, and the bytes of a file that hold it."""

    offsets: Shape
    sizes: Shape
    file: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Described:
    """A tensor of a distributed checkpoint. Its chunks cover it, if no two of them overlap."""

    shape: Shape
    dtype: str
    """With `compressed` before it where the bytes were transformed by an extension."""
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a distributed checkpoint holds."""

    tensors: Mapping[str, Described]
    objects: tuple[str, ...]
    """Names of what is pickled in it beside the tensors."""
    paths: Mapping[str, tuple[str, ...]]
    """Where in the nested state each entry was, by its name; empty where the writer did not say."""


def read_metadata(file: Bytes, *, trusted: bool = False) -> Metadata:
    """The table of contents of a checkpoint.

    Args:
        file: the table.
        trusted: read it however much it holds; none of its code is run in any case.

    Raises:
        MhcDiagError: it is damaged, contradicts itself, names a file outside the folder, or would run code.
    """
    try:
        if file.size > LARGEST_PICKLE and not trusted:
            raise TooLarge(f"it has {file.size} bytes, at most {LARGEST_PICKLE} are read")
        top = unpickle(b"".join(file.read([(0, file.size)])), file.name, trusted=trusted).value
        return _metadata(_attributes(top, "state_dict_metadata", "storage_data"), file.name)
    except Damaged as e:
        raise MhcDiagError(
            f"{file.name} is a truncated or damaged table of a distributed checkpoint: {printable(e)}",
            hint=e.hint or "copy the folder again, with all its files",
        ) from e


def _metadata(top: Mapping[str, Any], where: str) -> Metadata:
    stored = _stored(_table(top["storage_data"]))
    tensors: dict[str, Described] = {}
    objects: list[str] = []
    for name, entry in _table(top["state_dict_metadata"]).items():
        if type(name) is not str:
            raise Damaged("an entry has no name")
        if isinstance(entry, Foreign) and "size" in entry.attributes:
            tensors[name] = _tensor(name, entry.attributes, stored, where)
        else:
            objects.append(name)
    return Metadata(tensors, tuple(objects), _paths(top.get("planner_data")))


def _stored(storage_data: Mapping[Any, Any]) -> dict[tuple[str, Shape], Mapping[str, Any]]:
    """Where each chunk lies, by the tensor's name and the chunk's offsets."""
    found: dict[tuple[str, Shape], Mapping[str, Any]] = {}
    if len(storage_data) > MOST_CHUNKS:
        raise Damaged(f"it lists {len(storage_data)} chunks, expected at most {MOST_CHUNKS}")
    for index, info in storage_data.items():
        if getattr(index, "name", None) is None:
            raise Damaged("a chunk has no index")
        about = _attributes(index, "fqn")
        if type(about["fqn"]) is not str:
            raise Damaged("a chunk belongs to nothing")
        offset = about.get("offset")
        key = about["fqn"], () if offset is None else _sizes(offset)
        if key in found:
            raise Damaged(f"{key[0]} has two chunks at {key[1]}")
        found[key] = _attributes(info, "relative_path", "offset", "length")
    return found


def _tensor(
    name: str, entry: Mapping[str, Any], stored: Mapping[tuple[str, Shape], Mapping[str, Any]], where: str
) -> Described:
    shape, dtype = _sizes(entry["size"]), _dtype(entry.get("properties"))
    listed = entry.get("chunks")
    if not isinstance(listed, (list, tuple)):
        raise Damaged(f"{name} has no list of chunks")
    chunks = []
    for about in listed:
        block = _attributes(about, "offsets", "sizes")
        offsets, sizes = _sizes(block["offsets"]), _sizes(block["sizes"])
        if len(offsets) != len(shape) or len(sizes) != len(shape):
            raise Damaged(f"{name} has a chunk of {len(sizes)} dimensions, expected {len(shape)}")
        if any(a + b > c for a, b, c in zip(offsets, sizes, shape, strict=True)):
            raise Damaged(f"{name} has a chunk that reaches outside its shape {shape}")
        info = stored.get((name, offsets))
        if info is None:
            raise Damaged(f"no file holds the chunk of {name} at {offsets}")
        if info.get("transform_descriptors"):
            dtype = dtype if dtype.startswith("compressed") else f"compressed {dtype}"
        chunks.append(Chunk(offsets, sizes, *_place(info, where)))
    if math.prod(max(size, 1) for size in shape) >= LARGEST:
        raise Damaged(f"{name} has an impossible shape")
    held = sum(math.prod(chunk.sizes) for chunk in chunks)
    if held != math.prod(shape):
        raise Damaged(f"the chunks of {name} hold {held} numbers, its shape {shape} {math.prod(shape)}")
    return Described(shape, dtype, tuple(chunks))


def _place(info: Mapping[str, Any], where: str) -> tuple[str, int, int]:
    """File, offset and length, for a file of the very folder."""
    path, start, length = info["relative_path"], info["offset"], info["length"]
    if type(path) is not str:
        raise Damaged("a chunk is in no file")
    check_plain(where, path)
    if not all(type(number) is int and 0 <= number < LARGEST for number in (start, length)):
        raise Damaged(f"a chunk in {path} has no offset or length")
    return path, start, length


def _dtype(properties: Any) -> str:
    state = properties.state if isinstance(properties, Foreign) else None
    first = state[0] if type(state) is tuple and state else None
    if not isinstance(first, Dtype) or first.name not in BYTES:
        raise Damaged("a tensor has no dtype that is known")
    return first.name


def _paths(planner_data: Any) -> dict[str, tuple[str, ...]]:
    """Of each entry the keys that led to it; other writers keep other things there."""
    paths = {}
    for name, path in planner_data.items() if type(planner_data) is dict else ():
        if type(name) is str and type(path) is tuple and all(type(part) in (str, int) for part in path):
            paths[name] = tuple(map(str, path))
    return paths


def _attributes(value: Any, *names: str) -> Mapping[str, Any]:
    """What an object was stored with; it must have these."""
    found = value.attributes if isinstance(value, Foreign) else {}
    lacking = [name for name in names if name not in found]
    if lacking:
        raise Damaged(f"it has no {lacking[0]} where one is expected")
    return found


def _table(value: Any) -> Mapping[Any, Any]:
    if type(value) is not dict:
        raise Damaged(f"it has a {type(value).__name__} in place of a table")
    return value


def _sizes(values: Any) -> Shape:
    if type(values) not in (tuple, list) or len(values) > MOST_DIMENSIONS:
        raise Damaged("it has something else in place of a shape")
    if not all(type(value) is int and 0 <= value < LARGEST for value in values):
        raise Damaged("it has a shape of impossible numbers")
    return tuple(values)
