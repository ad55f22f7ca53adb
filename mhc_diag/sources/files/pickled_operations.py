"""The operations of the pickle language, what each costs in memory, and the loop that runs them."""

from __future__ import annotations

import gc
import pickle
import struct
from collections.abc import Callable
from typing import Any

from mhc_diag.sources.files.pickled_machine import CutShort, Machine
from mhc_diag.sources.files.pickled_objects import Damaged, TooLarge, as_key

MOST = 220_000_000
"""What the operations of a pickle may cost: bytes of memory, about, and time as well, of which a microsecond
of a slow machine counts as a hundred bytes. A byte of a pickle can become two hundred, or take as long."""
LEAST = 90
"""What an operation costs that calls a function, and makes nothing."""
LONGEST_OPERAND = 8

BINGET, BININT1, BININT2, LONG_BINPUT, MEMOIZE, MARK, TUPLE, STOP = (
    code[0]
    for code in (
        pickle.BINGET,
        pickle.BININT1,
        pickle.BININT2,
        pickle.LONG_BINPUT,
        pickle.MEMOIZE,
        pickle.MARK,
        pickle.TUPLE,
        pickle.STOP,
    )
)
_AT_ONCE = {
    BINGET: 62,
    BININT1: 50,
    BININT2: 60,
    LONG_BINPUT: 100,
    MEMOIZE: 100,
    MARK: 80,
    TUPLE: 64,
    STOP: 0,
}
"""What the loop does itself, and what it costs."""


def run(machine: Machine, most: float = MOST) -> Any:
    """The object that the machine's pickle describes; the machine is then behind it.

    What makes up two thirds of a checkpoint's pickle is done in the loop itself. No garbage is looked for
    meanwhile: a pickle makes none that counts, and looking at all that it has made takes a third of the time.

    Args:
        machine: at the beginning of the pickle.
        most: what its operations may cost.

    Raises:
        TooLarge: they cost more.
        Damaged: no pickler writes this.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return _run(machine, most)
    finally:
        if collects:
            gc.enable()


def _run(machine: Machine, left: float) -> Any:
    data, memo, marks = machine.data, machine.memo, machine.marks
    pos, stack, length = machine.pos, machine.stack, len(machine.data)
    costs, operations = COSTS, OPERATIONS
    try:
        while pos < length:
            code = data[pos]
            pos += 1
            left -= costs[code]
            if left < 0:
                raise TooLarge("it holds too many objects")
            if code == BINGET:
                stack.append(memo[data[pos]])
                pos += 1
            elif code == BININT1:
                stack.append(data[pos])
                pos += 1
            elif code == BININT2:
                stack.append(data[pos] | data[pos + 1] << 8)
                pos += 2
            elif code == LONG_BINPUT:
                memo[U32.unpack_from(data, pos)[0]] = stack[-1]
                pos += 4
            elif code == MEMOIZE:
                memo[len(memo)] = stack[-1]
            elif code == MARK:
                marks.append(stack)
                stack = []
            elif code == TUPLE:
                items, stack = stack, marks.pop()
                stack.append(tuple(items))
            else:
                machine.pos, machine.stack = pos, stack
                if code == STOP:
                    return stack.pop()
                operations[code](machine)
                pos, stack = machine.pos, machine.stack
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as e:
        pos = max(pos, machine.pos)
        if pos + LONGEST_OPERAND > length:
            raise CutShort("it ends too early") from e
        raise Damaged(f"{type(e).__name__} at byte {pos}: {e}") from e
    raise CutShort("it ends too early")


U8, I32, U32, U64 = (struct.Struct(form) for form in ("<B", "<i", "<I", "<Q"))
F64 = struct.Struct(">d")

# The operations that a checkpoint has many of make no calls, and do not look how much is left: they fail at
# the end of the bytes.


def _push(value: Any) -> Callable[[Machine], None]:
    """Puts a value on the stack."""
    return lambda m: m.stack.append(value)


def _int(m: Machine) -> None:
    m.stack.append(I32.unpack_from(m.data, m.pos)[0])
    m.pos += 4


def _text(m: Machine) -> None:
    begin = m.pos + 4
    end = begin + U32.unpack_from(m.data, m.pos)[0]
    if end > len(m.data):
        raise CutShort("it ends too early")
    m.stack.append(m.text(m.data[begin:end]))
    m.pos = end


def _short_text(m: Machine) -> None:
    begin = m.pos + 1
    end = begin + m.data[m.pos]
    if end > len(m.data):
        raise CutShort("it ends too early")
    m.stack.append(m.text(m.data[begin:end]))
    m.pos = end


def _float(m: Machine) -> None:
    m.stack.append(F64.unpack_from(m.data, m.pos)[0])
    m.pos += 8


def _long_get(m: Machine) -> None:
    m.stack.append(m.memo[U32.unpack_from(m.data, m.pos)[0]])
    m.pos += 4


def _put(m: Machine) -> None:
    m.memo[m.data[m.pos]] = m.stack[-1]
    m.pos += 1


def _tuple1(m: Machine) -> None:
    m.stack[-1] = (m.stack[-1],)


def _tuple2(m: Machine) -> None:
    last = m.stack.pop()
    m.stack[-1] = (m.stack[-1], last)


def _tuple3(m: Machine) -> None:
    last, middle = m.stack.pop(), m.stack.pop()
    m.stack[-1] = (m.stack[-1], middle, last)


_CALLED: dict[bytes, tuple[int, Callable[[Machine], Any]]] = {  # what an operation costs, and does
    pickle.PROTO: (140, Machine.head),
    pickle.FRAME: (140, lambda m: m.take(8)),
    pickle.POP: (100, Machine.pop),
    pickle.POP_MARK: (100, Machine.since_mark),
    pickle.DUP: (100, lambda m: m.push(m.stack[-1])),
    pickle.NONE: (8, _push(None)),
    pickle.NEWTRUE: (8, _push(True)),
    pickle.NEWFALSE: (8, _push(False)),
    pickle.INT: (220, Machine.text_int),
    pickle.LONG: (220, Machine.text_int),
    pickle.BININT: (120, _int),
    pickle.LONG1: (270, lambda m: m.long(m.number(U8))),
    pickle.LONG4: (270, lambda m: m.long(m.number(I32))),
    pickle.FLOAT: (200, lambda m: m.push(float(m.line()))),
    pickle.BINFLOAT: (120, _float),
    pickle.STRING: (230, Machine.text_string),
    pickle.BINSTRING: (220, lambda m: m.old_string(m.take(m.number(I32)))),
    pickle.SHORT_BINSTRING: (340, lambda m: m.old_string(m.take(m.number(U8)))),
    pickle.BINBYTES: (170, lambda m: m.push(m.take(m.number(U32)))),
    pickle.SHORT_BINBYTES: (170, lambda m: m.push(m.take(m.number(U8)))),
    pickle.BINBYTES8: (180, lambda m: m.push(m.take(m.number(U64)))),
    pickle.BYTEARRAY8: (180, lambda m: m.push(m.take(m.number(U64)))),
    pickle.UNICODE: (250, lambda m: m.push(str(m.line(), "raw-unicode-escape"))),
    pickle.BINUNICODE: (130, _text),
    pickle.SHORT_BINUNICODE: (130, _short_text),
    pickle.BINUNICODE8: (200, lambda m: m.push(m.text(m.take(m.number(U64))))),
    pickle.EMPTY_LIST: (140, lambda m: m.push([])),
    pickle.EMPTY_TUPLE: (8, _push(())),
    pickle.EMPTY_DICT: (140, lambda m: m.push({})),
    pickle.EMPTY_SET: (224, lambda m: m.push(set())),
    pickle.LIST: (90, lambda m: m.push(m.since_mark())),
    pickle.TUPLE1: (100, _tuple1),
    pickle.TUPLE2: (100, _tuple2),
    pickle.TUPLE3: (110, _tuple3),
    pickle.DICT: (260, Machine.table),
    pickle.FROZENSET: (224, lambda m: m.push(frozenset(map(as_key, m.since_mark())))),
    pickle.APPEND: (150, lambda m: m.extend([m.stack.pop()])),
    pickle.APPENDS: (130, lambda m: m.extend(m.since_mark())),
    pickle.SETITEM: (380, lambda m: m.update([m.stack.pop(-2), m.stack.pop()])),
    pickle.SETITEMS: (260, lambda m: m.update(m.since_mark())),
    pickle.ADDITEMS: (180, lambda m: m.add(m.since_mark())),
    pickle.PUT: (230, lambda m: m.put(int(m.line()[:20]))),
    pickle.BINPUT: (115, _put),
    pickle.GET: (170, lambda m: m.push(m.memo[int(m.line()[:20])])),
    pickle.LONG_BINGET: (120, _long_get),
    pickle.GLOBAL: (2000, Machine.text_global),  # looking up takes time, and picklers write a name once
    pickle.STACK_GLOBAL: (2000, Machine.stack_global),
    pickle.REDUCE: (250, Machine.reduce),
    pickle.NEWOBJ: (250, Machine.reduce),
    pickle.NEWOBJ_EX: (250, Machine.reduce_named),
    pickle.INST: (2200, Machine.instance),
    pickle.OBJ: (250, Machine.since_mark_call),
    pickle.BUILD: (150, Machine.build),
    pickle.PERSID: (200, lambda m: m.push(m.persistent(str(m.line(), "ascii")))),
    pickle.BINPERSID: (200, lambda m: m.push(m.persistent(m.stack.pop()))),
}
COSTS = [LEAST] * 256
OPERATIONS: list[Callable[[Machine], Any]] = [Machine.refuse] * 256
for _code, _cost in _AT_ONCE.items():
    COSTS[_code] = _cost
for _name, (_cost, _operation) in _CALLED.items():
    COSTS[_name[0]], OPERATIONS[_name[0]] = max(LEAST, _cost), _operation
