"""The operations of the pickle language, what each costs in memory, and the loop that runs them."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

from mhc_diag.sources.files.pickled_machine import CutShort, Machine
from mhc_diag.sources.files.pickled_objects import Damaged, as_key

OBJECT_BYTES = 300_000_000
"""What the objects of one pickle may take in memory, about; a byte of it can become two hundred."""
LEAST = 40
"""What an operation costs that makes nothing: time."""
LONGEST_OPERAND = 8


def run(machine: Machine) -> Any:
    """The object that the machine's pickle describes; the machine is then behind it.

    Raises:
        Damaged: no pickler writes this.
    """
    data, stop, costs, operations, spent = machine.data, pickle.STOP[0], COSTS, OPERATIONS, 0
    try:
        while machine.pos < len(data):
            code = data[machine.pos]
            machine.pos += 1
            if code == stop:
                return machine.stack.pop()
            spent += costs[code]
            if spent > OBJECT_BYTES:
                raise Damaged("it holds too many objects")
            operations[code](machine)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as e:
        if machine.pos + LONGEST_OPERAND > len(data):
            raise CutShort("it ends too early") from e
        raise Damaged(f"{type(e).__name__} at byte {machine.pos}: {e}") from e
    raise CutShort("it ends too early")


U8, U16, I32, U32, U64 = (struct.Struct(form) for form in ("<B", "<H", "<i", "<I", "<Q"))
F64 = struct.Struct(">d")

# The operations that most of a checkpoint consists of make no calls, and do not look how much is left: they
# fail at the end of the bytes.


def _push(value: Any) -> Callable[[Machine], None]:
    """Puts a value on the stack."""
    return lambda m: m.stack.append(value)


def _byte(m: Machine) -> None:
    m.stack.append(m.data[m.pos])
    m.pos += 1


def _int(m: Machine) -> None:
    m.stack.append(I32.unpack_from(m.data, m.pos)[0])
    m.pos += 4


def _short(m: Machine) -> None:
    m.stack.append(U16.unpack_from(m.data, m.pos)[0])
    m.pos += 2


def _text(m: Machine) -> None:
    begin = m.pos + 4
    end = begin + U32.unpack_from(m.data, m.pos)[0]
    if end > len(m.data):
        raise CutShort("it ends too early")
    m.stack.append(str(m.data[begin:end], "utf-8", "surrogatepass"))
    m.pos = end


def _get(m: Machine) -> None:
    m.stack.append(m.memo[m.data[m.pos]])
    m.pos += 1


def _long_get(m: Machine) -> None:
    m.stack.append(m.memo[U32.unpack_from(m.data, m.pos)[0]])
    m.pos += 4


def _put(m: Machine) -> None:
    m.memo[m.data[m.pos]] = m.stack[-1]
    m.pos += 1


def _long_put(m: Machine) -> None:
    m.memo[U32.unpack_from(m.data, m.pos)[0]] = m.stack[-1]
    m.pos += 4


def _tuple(m: Machine) -> None:
    items = m.stack
    m.stack = m.marks.pop()
    m.stack.append(tuple(items))


_TABLE: dict[bytes, tuple[int, Callable[[Machine], Any]]] = {  # what an operation costs in memory, and does
    pickle.PROTO: (0, Machine.head),
    pickle.FRAME: (0, lambda m: m.take(8)),
    pickle.MARK: (80, Machine.mark),
    pickle.POP: (0, Machine.pop),
    pickle.POP_MARK: (0, Machine.since_mark),
    pickle.DUP: (8, lambda m: m.push(m.stack[-1])),
    pickle.NONE: (8, _push(None)),
    pickle.NEWTRUE: (8, _push(True)),
    pickle.NEWFALSE: (8, _push(False)),
    pickle.INT: (40, Machine.text_int),
    pickle.LONG: (40, Machine.text_int),
    pickle.BININT: (40, _int),
    pickle.BININT1: (8, _byte),
    pickle.BININT2: (40, _short),
    pickle.LONG1: (40, lambda m: m.long(m.number(U8))),
    pickle.LONG4: (40, lambda m: m.long(m.number(I32))),
    pickle.FLOAT: (32, lambda m: m.push(float(m.line()))),
    pickle.BINFLOAT: (32, lambda m: m.push(m.number(F64))),
    pickle.STRING: (64, Machine.text_string),
    pickle.BINSTRING: (64, lambda m: m.old_string(m.take(m.number(I32)))),
    pickle.SHORT_BINSTRING: (64, lambda m: m.old_string(m.take(m.number(U8)))),
    pickle.BINBYTES: (48, lambda m: m.push(m.take(m.number(U32)))),
    pickle.SHORT_BINBYTES: (48, lambda m: m.push(m.take(m.number(U8)))),
    pickle.BINBYTES8: (48, lambda m: m.push(m.take(m.number(U64)))),
    pickle.BYTEARRAY8: (48, lambda m: m.push(m.take(m.number(U64)))),
    pickle.UNICODE: (64, lambda m: m.push(str(m.line(), "raw-unicode-escape"))),
    pickle.BINUNICODE: (64, _text),
    pickle.SHORT_BINUNICODE: (64, lambda m: m.unicode(m.number(U8))),
    pickle.BINUNICODE8: (64, lambda m: m.unicode(m.number(U64))),
    pickle.EMPTY_LIST: (80, lambda m: m.push([])),
    pickle.EMPTY_TUPLE: (8, _push(())),
    pickle.EMPTY_DICT: (72, lambda m: m.push({})),
    pickle.EMPTY_SET: (224, lambda m: m.push(set())),
    pickle.LIST: (64, lambda m: m.push(m.since_mark())),
    pickle.TUPLE: (64, _tuple),
    pickle.TUPLE1: (100, lambda m: m.tuple_of(1)),
    pickle.TUPLE2: (100, lambda m: m.tuple_of(2)),
    pickle.TUPLE3: (100, lambda m: m.tuple_of(3)),
    pickle.DICT: (72, Machine.table),
    pickle.FROZENSET: (224, lambda m: m.push(frozenset(map(as_key, m.since_mark())))),
    pickle.APPEND: (16, lambda m: m.extend([m.stack.pop()])),
    pickle.APPENDS: (0, lambda m: m.extend(m.since_mark())),
    pickle.SETITEM: (160, lambda m: m.update([m.stack.pop(-2), m.stack.pop()])),
    pickle.SETITEMS: (160, lambda m: m.update(m.since_mark())),
    pickle.ADDITEMS: (0, lambda m: m.add(m.since_mark())),
    pickle.PUT: (100, lambda m: m.put(int(m.line()[:20]))),
    pickle.BINPUT: (60, _put),
    pickle.LONG_BINPUT: (100, _long_put),
    pickle.MEMOIZE: (100, lambda m: m.put(len(m.memo))),
    pickle.GET: (8, lambda m: m.push(m.memo[int(m.line()[:20])])),
    pickle.BINGET: (8, _get),
    pickle.LONG_BINGET: (8, _long_get),
    pickle.GLOBAL: (600, Machine.text_global),  # looking a name up takes time, and picklers write each once
    pickle.STACK_GLOBAL: (600, Machine.stack_global),
    pickle.REDUCE: (250, Machine.reduce),
    pickle.NEWOBJ: (250, Machine.reduce),
    pickle.NEWOBJ_EX: (250, Machine.reduce_named),
    pickle.INST: (250, Machine.instance),
    pickle.OBJ: (250, Machine.since_mark_call),
    pickle.BUILD: (0, Machine.build),
    pickle.PERSID: (200, lambda m: m.push(m.persistent(str(m.line(), "ascii")))),
    pickle.BINPERSID: (200, lambda m: m.push(m.persistent(m.stack.pop()))),
}
COSTS = [max(LEAST, _TABLE.get(bytes([code]), (0, None))[0]) for code in range(256)]
OPERATIONS = [_TABLE.get(bytes([code]), (0, Machine.refuse))[1] for code in range(256)]
