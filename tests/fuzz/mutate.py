"""Damage to files: of their bytes, and of what the bytes mean (JSON, pickle opcodes, zip directories)."""

from __future__ import annotations

import io
import json
import pickletools
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

Files = dict[str, bytes]
NUMBERS = [0, 1, 2, 3, 4, 7, 16, 63, 64, 127, 128, 255, 256, 65535, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31]
NUMBERS += [(1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 10**30]
WORDS = [
    *(
        "",
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "\\\\host\\x",
        "C:\\x",
        ".",
        "a\0b",
        "\ud800",
    ),
    *("\x1b[31mred\x1b]0;t\x07", "[bold]x[/]", "\u202egnp", "\n\nerror: x", "x" * 5000, "1" * 5000, "9" * 20),
    *("layers.0.hc_attn_fn", "blocks.0.mixing", "F4", "F8_E4M3", "I64", "BOOL", "__metadata__", "config"),
    *("layers.99999999999999999999.hc_attn_fn", "torch", "float32", "FloatStorage", "_rebuild_tensor_v2"),
]
ODD: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [[]],
    1.5,
    -1,
    -(1 << 63),
    1e308,
    float("nan"),
    float("inf"),
    "x",
    -0.0,
]
PICKLES = ("data.pkl", ".metadata")
Change = Callable[[random.Random, bytes], bytes]


def mutated(random_: random.Random, files: Files, others: list[bytes]) -> Files:
    """A copy of a valid checkpoint with one to three kinds of damage in one or two of its files."""
    files = dict(files)
    for _ in range(random_.choice((1, 1, 1, 2))):
        name = random_.choice(sorted(files))
        if len(files) > 1 and random_.random() < 0.05:
            del files[name]
            if not files:
                return {name: b""}
            continue
        if len(files) > 1 and random_.random() < 0.05:
            files[name] = files[random_.choice(sorted(files))]
            continue
        for _ in range(random_.choice((1, 1, 2, 3))):
            files[name] = _file(random_, files[name], others)
    return files


def _file(r: random.Random, data: bytes, others: list[bytes]) -> bytes:
    kinds: list[Change] = [_bytes]
    if data[:2] == b"PK":
        kinds += [_members] * 5 + [_directory] * 3
    elif data[:1] == b"{" or data[8:9] == b"{":
        kinds += [_json] * 6
    elif data[:1] == b"\x80":
        kinds += [_pickle] * 6
    elif b"PK\x03\x04" in data:  # archives one after another, as in a .distcp
        kinds += [_chunk] * 4
    if r.random() < 0.15:
        return _values(r, data)
    if r.random() < 0.08:
        return _spliced(r, data, r.choice(others))
    return r.choice(kinds)(r, data)


def _bytes(r: random.Random, data: bytes) -> bytes:
    """Blind damage."""
    work, size = bytearray(data), max(len(data), 1)
    at, kind = r.randrange(size), r.randrange(8)
    length = min(r.choice((1, 2, 4, 8, 40, 300)), size)
    if kind == 0:
        return bytes(work[:at])
    if kind == 1:
        del work[at : at + length]
    elif kind == 2:
        work[at:at] = work[max(0, at - length) : at]
    elif kind == 3:
        work[at:at] = r.randbytes(length)
    elif kind == 4:
        work += r.choice((b"\0", b" ", b"PK\x05\x06" + bytes(18), bytes(r.randrange(4000))))
    elif kind == 5:
        work[at : at + length] = r.randbytes(length)
    elif kind == 6:
        width = r.choice((2, 4, 8))
        work[at : at + width] = (r.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, "little")
    elif work:
        work[at] ^= 1 << r.randrange(8)
    return bytes(work)


def _values(r: random.Random, data: bytes) -> bytes:
    """Numbers that no training leaves behind, where numbers may be: towards the end, four bytes each."""
    work = bytearray(data)
    for _ in range(r.choice((1, 3, 30))):
        at = 4 * r.randrange(len(work) // 8, len(work) // 4 + 1)
        value = r.choice((float("nan"), float("inf"), -float("inf"), 3e38, -1e30, 1e-45, -0.0, 1e6))
        work[at : at + 4] = struct.pack("<f", value)[: len(work) - at]
    return bytes(work)


def _spliced(r: random.Random, data: bytes, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return data[: r.randrange(len(data) + 1)] + other[r.randrange(len(other) + 1) :]


def _json(r: random.Random, data: bytes) -> bytes:
    """One node of a JSON text exchanged, and the length before it put right, mostly."""
    start = 8 if data[:1] != b"{" else 0
    end = start + int.from_bytes(data[:8], "little") if start else len(data)
    if r.random() < 0.15:
        text = _strange_text(r, data[start:end])
    else:
        try:
            tree = json.loads(data[start:end])
        except (ValueError, RecursionError):
            return _bytes(r, data)
        text = json.dumps(_node(r, tree, r.randrange(8)), ensure_ascii=r.random() < 0.5).encode(
            "utf8", "replace"
        )
    if not start:
        return text
    length = len(text) if r.random() < 0.9 else r.choice(NUMBERS) % (1 << 64)
    return length.to_bytes(8, "little") + text + data[end:]


def _strange_text(r: random.Random, text: bytes) -> bytes:
    """What no writer of JSON would write."""
    depth, inner = r.choice((10, 900, 100_000)), text[1:-1]
    return r.choice(
        (
            b"[" * depth + b"]" * depth,
            b'{"a":' * depth + b"1" + b"}" * depth,
            b"{" + inner + b"," + inner + b"}",
            text.replace(b":", b":" + b"9" * r.choice((20, 400, 5000)), 1),
            text.replace(b"0", b"NaN", 1),
            text.replace(b"[", b"[1e999,", 1),
            b"\xef\xbb\xbf" + text,
            text.decode("utf8", "replace").encode("utf-16"),
            b'{"x":"' + b"\x1b[2J\\u001b" + b'",' + inner + b"}",
            b"[" + b"{}," * r.choice((10, 300_000)) + b"{}]",
        )
    )


def _node(r: random.Random, tree: Any, depth: int) -> Any:
    """The tree with one node changed, `depth` levels down or higher."""
    if isinstance(tree, dict) and tree:
        key = r.choice(list(tree))
        if depth and isinstance(tree[key], (dict, list)) or r.random() < 0.4:
            return {**tree, key: _node(r, tree[key], depth - 1)}
        if r.random() < 0.3:
            return {k: v for k, v in tree.items() if k != key}
        return {(r.choice(WORDS) if k == key else k): v for k, v in tree.items()}
    if isinstance(tree, list) and tree and r.random() < 0.85:
        at = r.randrange(len(tree))
        change = r.randrange(6)
        if change == 0:
            return tree[:at] + tree[at + 1 :]
        if change == 1:
            return tree * r.choice((2, 5, 100))
        if change == 2:
            return [*tree[:at], r.choice(NUMBERS), *tree[at:]]
        return [*tree[:at], _node(r, tree[at], depth - 1), *tree[at + 1 :]]
    return _value(r, tree)


def _value(r: random.Random, old: Any) -> Any:
    if isinstance(old, int) and r.random() < 0.5:
        return old + r.choice((-1, 1, 2, 8, -old))
    return r.choice((r.choice(NUMBERS), r.choice(ODD), r.choice(WORDS)))


def _pickle(r: random.Random, data: bytes) -> bytes:
    """Opcodes left out, doubled, exchanged, with other arguments, or others put in."""
    pickles = _pickles(data)
    if not pickles:
        return _bytes(r, data)
    ops = max(pickles, key=len) if r.random() < 0.8 else r.choice(pickles)
    number = pickles.index(ops)
    ops = list(ops)
    for _ in range(r.choice((1, 1, 2, 4))):
        _change(r, ops)
        ops = ops or [b"N."]
    before = sum(len(op) for part in pickles[:number] for op in part)
    after = before + sum(map(len, pickles[number]))
    return data[:before] + b"".join(ops) + data[after:]


def _pickles(data: bytes) -> list[list[bytes]]:
    """The operations of each pickle, where some follow each other at the beginning."""
    found: list[list[bytes]] = []
    start = 0
    while data[start : start + 1] == b"\x80":
        try:
            places = [start + place for _, _, place in pickletools.genops(data[start:]) if place is not None]
        except Exception:
            break
        ends = [*places[1:], places[-1] + 1]
        found.append([data[a:b] for a, b in zip(places, ends, strict=True)])
        start = ends[-1]
    return found


def _change(r: random.Random, ops: list[bytes]) -> None:
    """Change one operation of a pickle."""
    at, kind = r.randrange(len(ops)), r.randrange(7)
    if kind == 0:
        del ops[at]
    elif kind == 1:
        ops.insert(at, ops[at])
    elif kind == 2:
        other = r.randrange(len(ops))
        ops[at], ops[other] = ops[other], ops[at]
    elif kind == 3:
        ops.insert(at, _opcode(r))
    elif kind == 4:
        numbers = [i for i, op in enumerate(ops) if op[:1] in b"KMJ\x8a"] or [at]
        ops[r.choice(numbers)] = _number(r)
    elif kind == 5:
        texts = [i for i, op in enumerate(ops) if op[:1] in b"cX\x8c"] or [at]
        ops[r.choice(texts)] = _text(r)
    else:
        ops[at] = _opcode(r)


def _number(r: random.Random) -> bytes:
    number = r.choice((r.choice(NUMBERS), -1, -(1 << 40), r.randrange(70)))
    if 0 <= number < 256:
        return b"K" + bytes([number])
    if -(1 << 31) <= number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x10" + number.to_bytes(16, "little", signed=True)


def _text(r: random.Random) -> bytes:
    word = r.choice(WORDS).encode("utf8", "replace")
    if r.random() < 0.4:
        return r.choice((b"cos\nsystem\n", b"ctorch\nHalfStorage\n", b"cbuiltins\neval\n", b"ctorch\nSize\n"))
    return b"X" + struct.pack("<I", len(word)) + word


def _opcode(r: random.Random) -> bytes:
    """One that a writer of tensors has no use for, or with an argument without measure."""
    many = r.choice((30, 3000, 200_000))
    return r.choice(
        (
            b"X\xff\xff\xff\x7f",
            b"\x8d" + (1 << 62).to_bytes(8, "little"),
            b"\x8b\xff\xff\xff\x7f",
            b"r\xff\xff\xff\x7f",
            b"j\xff\xff\xff\x7f",
            b"\x95" + (1 << 60).to_bytes(8, "little"),
            b"I" + b"9" * many + b"\n",
            b"L" + b"9" * many + b"L\n",
            b"F" + b"1e999\n",
            b"(" * many,
            b"]" * many,
            b"(]" + b"]a" * 10 + b"t",
            b"2" * many,
            b"2\x86" * r.choice((30, 60)),
            b"]" + b"\x94h\x00a" * 3,
            b"\x85" * many,
            b"]q\x00" + b"]" * 5 + b"h\x00a" * 3,
            b"\x82\x01",
            b"P0\n",
            b"Q",
            b"R",
            b"b",
            b"\x81",
            b"\x92",
            b"s",
            b"u",
            b"(d",
            b".",
            b"0",
            b"\x8f(\x90",
            b"cos\nsystem\n(X\x06\x00\x00\x00touch xtR",
            bytes([r.randrange(256)]),
        )
    )


def _chunk(r: random.Random, data: bytes) -> bytes:
    """Damage to one of several archives in a file, of the same length as before where that can be."""
    starts = [i for i in range(len(data) - 4) if data[i : i + 4] == b"PK\x05\x06"]
    end = r.choice(starts or [len(data)]) + 22
    begin = max((i + 22 for i in starts if i + 22 < end), default=0)
    part = r.choice((_members, _directory, _bytes))(r, data[begin:end])
    return data[:begin] + part[: end - begin].ljust(end - begin, b"\0") + data[end:]


def _members(r: random.Random, data: bytes) -> bytes:
    """A zip archive written anew, with one of its members changed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(m.filename, archive.read(m)) for m in archive.infolist()]
    except Exception:
        return _bytes(r, data)
    at = r.randrange(len(members)) if members else 0
    telling = [i for i, (name, held) in enumerate(members) if _telling(name)]
    if telling and r.random() < 0.8:
        at = r.choice(telling)
    kind, packed = r.randrange(10), zipfile.ZIP_STORED
    if not members or kind == 0:
        members.append((r.choice(WORDS).replace("\ud800", "x") or "x", b"x"))
    elif kind == 1:
        del members[at]
    elif kind == 2:
        members.append(members[at])
    elif kind == 3:
        members[at] = (members[at][0], members[r.randrange(len(members))][1])
    elif kind == 4:
        packed = zipfile.ZIP_DEFLATED
    else:
        name, held = members[at]
        members[at] = (name, _member(r, name, held))
    stream = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream, "w", packed) as archive:
        for name, held in members:
            archive.writestr(name, held)
    return stream.getvalue()


def _telling(name: str) -> bool:
    """Whether a member is one that a reader of tensors has to understand."""
    return name.endswith((*PICKLES, "weights_config.json", "byteorder"))


def _member(r: random.Random, name: str, held: bytes) -> bytes:
    if name.endswith(PICKLES) or held[:1] == b"\x80":
        return _pickle(r, held)
    if held[:1] == b"{":
        return _json(r, held)
    if name.endswith("byteorder"):
        return r.choice((b"big", b"", b"x", b"little\n"))
    return _members(r, held) if held[:2] == b"PK" else _bytes(r, held)


def _directory(r: random.Random, data: bytes) -> bytes:
    """A number in the directory of a zip archive, or in the headers of its members, replaced."""
    work = bytearray(data)
    fields = {
        b"PK\x01\x02": ((4, 2), (8, 2), (10, 2), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)),
        b"PK\x03\x04": ((6, 2), (8, 2), (18, 4), (22, 4), (26, 2), (28, 2)),
        b"PK\x05\x06": ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
        b"PK\x06\x06": ((4, 8), (24, 8), (32, 8), (40, 8), (48, 8)),
        b"PK\x06\x07": ((8, 8), (16, 4)),
    }
    mark = r.choice(list(fields))
    starts = [i for i in range(len(work) - 4) if work[i : i + 4] == mark]
    if not starts:
        return _bytes(r, data)
    offset, width = r.choice(fields[mark])
    at = r.choice(starts) + offset
    old = int.from_bytes(work[at : at + width], "little")
    new = r.choice((r.choice(NUMBERS), old + 1, old - 1, old * 2, old + 64, len(data), 8)) % (1 << 8 * width)
    work[at : at + width] = new.to_bytes(width, "little")
    return bytes(work)
