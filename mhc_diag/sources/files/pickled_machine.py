"""The stack machine that pickles are programs for, with every operation that does something taken out.

Names become stand-ins, calls become records, and sizes are compared with the bytes that are there before
anything is made. No operation makes anything larger than the bytes that it reads: a call with a long text
would otherwise copy it as often as the file says. Nothing recurses.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import Any

from mhc_diag.sources.files.pickled_objects import Damaged, Foreign, ForeignClass, Known, as_key

LONGEST_NUMBER = 1024  # bytes; Python prints numbers of up to 4,300 digits
HALF, MOST_HALVES = b"\xed", 100_000
Persistent = Callable[[Any], Any]
Names = Callable[[str, str], Any]


class CutShort(Damaged):
    """The bytes end before the pickle does."""


class Machine:
    """One pickle in a buffer.

    Args:
        data: the bytes; the pickle may be followed by others.
        names: what a module and a name in it stand for.
        persistent: what an object that is stored elsewhere stands for, by its identifier.
        start: where the pickle begins.
    """

    def __init__(self, data: bytes, names: Names, persistent: Persistent, start: int = 0) -> None:
        self.data, self.pos = data, start
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.protocol = 0
        self.halves = 0

    def take(self, length: int) -> bytes:
        """The next bytes."""
        begin = self.pos
        self.pos += length
        if not 0 <= length <= len(self.data) - begin:
            raise CutShort("it ends too early")
        return self.data[begin : self.pos]

    def line(self) -> bytes:
        """The bytes up to the end of the line."""
        end = self.data.find(b"\n", self.pos)
        if end < 0:
            raise CutShort("it ends too early")
        begin, self.pos = self.pos, end + 1
        return self.data[begin:end]

    def number(self, form: struct.Struct) -> Any:
        """The next number, stored in so many bytes."""
        return form.unpack(self.take(form.size))[0]

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """What was put on the stack since it was last marked."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def call(self, function: Any, args: Any) -> Any:
        """What stands for the result of a call."""
        if isinstance(function, Known):
            return function.make(*args)
        if isinstance(function, (ForeignClass, Foreign)):
            return Foreign(function.name, args)
        raise Damaged(f"it calls a {type(function).__name__}")

    def build(self) -> None:
        """Give an object its state."""
        state = self.stack.pop()
        target = self.stack[-1]
        if hasattr(target, "build"):
            target.build(state)  # containers have attributes too, which nobody wants

    def extend(self, items: list[Any]) -> None:
        """Add to a list, or to what a foreign class made of one."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif isinstance(target, Foreign):
            target.append(items)
        else:
            raise Damaged(f"it appends to a {type(target).__name__}")

    def update(self, items: list[Any]) -> None:
        """Add to a table, keys and values by turns."""
        table = target = self.stack[-1]
        if isinstance(target, Foreign):
            table = target.entries = target.entries or {}
        if type(table) is not dict:
            raise Damaged(f"it sets entries of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            table[key if type(key) is str else as_key(key)] = value

    def table(self) -> None:
        """DICT: a table of what lies above the mark."""
        items = self.since_mark()
        self.push({})
        self.update(items)

    def add(self, items: list[Any]) -> None:
        """Add to a set, or to what a foreign class made of one."""
        target = self.stack[-1]
        if type(target) is set:
            target.update(map(as_key, items))
        elif isinstance(target, Foreign):
            target.append(items)
        else:
            raise Damaged(f"it adds to a {type(target).__name__}")

    def text_global(self) -> None:
        """A name, spelled out on two lines."""
        module, name = (str(self.line(), "utf-8") for _ in range(2))
        self.push(self.names(module, name))

    def stack_global(self) -> None:
        """A name whose parts lie on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise Damaged("it names something by no text")
        self.push(self.names(module, name))

    def instance(self) -> None:
        """INST: a call whose name is spelled out."""
        module, name = (str(self.line(), "utf-8") for _ in range(2))
        self.since_mark_call(self.names(module, name))

    def since_mark_call(self, function: Any = None) -> None:
        """A call with what lies above the mark; OBJ has the function there too."""
        items = self.since_mark()
        function = items.pop(0) if function is None else function
        self.push(self.call(function, tuple(items)))

    def reduce(self) -> None:
        """REDUCE and NEWOBJ: a call."""
        args = self.stack.pop()
        if type(args) is not tuple:
            raise Damaged(f"it calls with a {type(args).__name__}")
        self.stack[-1] = self.call(self.stack[-1], args)

    def reduce_named(self) -> None:
        """NEWOBJ_EX: a call with named arguments, which nothing that is known takes."""
        named, args, function = self.stack.pop(), self.stack.pop(), self.stack.pop()
        made = Foreign(getattr(function, "name", "?"), args)
        made.state = named
        self.push(made)

    def long(self, length: int) -> None:
        """A whole number of any size."""
        if not 0 <= length <= LONGEST_NUMBER:
            raise Damaged(f"it holds a whole number of {length} bytes")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def text_int(self) -> None:
        """INT and LONG: a whole number in digits, or one of two truth values."""
        digits = self.line()
        if digits in (b"00", b"01"):
            self.push(digits == b"01")
        elif len(digits) > LONGEST_NUMBER:
            raise Damaged(f"it holds a whole number of {len(digits)} digits")
        else:
            self.push(int(digits.removesuffix(b"L")))

    def old_string(self, raw: bytes) -> None:
        """A string of Python 2, which did not say whether it was text."""
        try:
            self.push(raw.decode("utf-8"))
        except UnicodeDecodeError:
            self.push(raw)

    def text_string(self) -> None:
        """STRING: an old string in quotes."""
        line = self.line().strip()
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
            raise Damaged("it holds a string without quotes")
        self.old_string(codecs.escape_decode(line[1:-1])[0])

    def text(self, raw: bytes) -> str:
        """Text, which Python lets hold halves of the pairs that UTF-16 makes; decoding them is very slow."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.halves += raw.count(HALF)
            if self.halves > MOST_HALVES:
                raise Damaged("it holds text that is none") from None
            return raw.decode("utf-8", "surrogatepass")

    def put(self, index: int) -> None:
        """Remember what lies on the stack."""
        self.memo[index] = self.stack[-1]

    def head(self) -> None:
        """PROTO: the version of the language."""
        self.protocol = self.take(1)[0]
        if self.protocol > pickle.HIGHEST_PROTOCOL:
            raise Damaged(f"it is a pickle of version {self.protocol}")

    def pop(self) -> None:
        """Drop the last item, or the mark."""
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def refuse(self) -> None:
        """An operation that no file of tensors has: extension codes, buffers kept elsewhere, rubbish."""
        raise Damaged(f"operation {self.data[self.pos - 1]:#04x} at byte {self.pos - 1}")
