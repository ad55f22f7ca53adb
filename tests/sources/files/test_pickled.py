"""Pickles are read as records: what they say is kept, and nothing that they name is imported or called."""

import argparse
import collections
import enum
import pickle
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import pickled
from mhc_diag.sources.files.pickled import unpickle
from mhc_diag.sources.files.pickled_machine import CutShort
from mhc_diag.sources.files.pickled_objects import Damaged, Foreign, ForeignClass, OddKey, TooLarge
from mhc_diag.sources.files.torch_dtypes import Dtype

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Act(enum.Enum):
    GELU = "gelu"


@dataclass
class Config:
    streams: int = 4
    act: Act = Act.GELU
    sizes: list[int] = field(default_factory=lambda: [1, 2])


class Slotted:
    __slots__ = ("eps",)

    def __init__(self) -> None:
        self.eps = 0.5


def read(data: bytes) -> Any:
    return unpickle(data, "x.pt").value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_are_what_they_were(protocol: int) -> None:
    plain = {
        "whole": [0, 1, -1, 255, 256, 65536, -(2**31), 2**31, 2**63, -(2**70), 10**40],
        "real": [0.0, -1.5, 1e300, float("inf")],
        "truth": (True, False, None),
        "text": ["", "a", "é\n'\"\\", "\ud800", "x" * 300],
        "deep": {"a": {"b": [{"c": ()}]}, 3: (1, (2, (3, 4, 5, 6)))},
        "ordered": collections.OrderedDict(a=1, b=2),
        "default": collections.defaultdict(int, {"k": 1}),
    }
    assert read(pickle.dumps(plain, protocol)) == plain


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_values_that_training_scripts_store(protocol: int) -> None:
    stored = {
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "loss": np.float32(0.1),
        "step": np.int64(-7),
        "big": np.dtype(">f8").type(2.5),
        "args": argparse.Namespace(lr=0.1),
    }
    found = unpickle(pickle.dumps(stored, protocol), "x.pt")
    value = found.value
    assert value["size"] == (2, 3) and value["dtype"] == Dtype("bfloat16")
    assert value["loss"] == float(np.float32(0.1)) and value["step"] == -7 and value["big"] == 2.5
    assert value["args"].attributes == {"lr": 0.1}
    assert found.foreign == () and found.notes == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_of_other_classes_keep_their_state_and_are_told(protocol: int) -> None:
    found = unpickle(pickle.dumps([Config(8), Config(2)], protocol), "x.pt")
    config = found.value[0]
    assert isinstance(config, Foreign) and config.name == f"{__name__}.Config"
    assert config.attributes["streams"] == 8 and config.attributes["sizes"] == [1, 2]
    assert set(found.foreign) == {f"{__name__}.Config", f"{__name__}.Act"}
    assert f"{__name__}.Config" in found.notes[0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_slots_and_subclasses_of_containers(protocol: int) -> None:
    import types

    assert read(pickle.dumps(Slotted(), protocol)).attributes == {"eps": 0.5}
    for made in (types.new_class("Table", (dict,)), types.new_class("Row", (list,))):
        made.__module__ = __name__
        setattr(sys.modules[__name__], made.__name__, made)
    table, row = sys.modules[__name__].Table(a=1), sys.modules[__name__].Row([1, 2])  # type: ignore[attr-defined]
    assert read(pickle.dumps(table, protocol)).entries == {"a": 1}
    assert read(pickle.dumps(row, protocol)).items == [1, 2]


def test_pickles_behind_each_other(tmp_path: Path) -> None:
    data = pickle.dumps("first") + pickle.dumps([2]) + b"rest"
    first = unpickle(data, "x.pt")
    second = unpickle(data, "x.pt", start=first.end)
    assert (first.value, second.value, data[second.end :]) == ("first", [2], b"rest")


def test_what_is_stored_elsewhere_is_asked_for() -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("elsewhere", value.name) if isinstance(value, Path) else None

    import io

    stream = io.BytesIO()
    Pickler(stream).dump({"a": Path("there")})
    assert unpickle(stream.getvalue(), "x", persistent=lambda i: i[1]).value == {"a": "there"}
    with pytest.raises(Damaged, match="outside itself"):
        read(stream.getvalue())


# Pickles that nobody's pickler writes, each of which would run `touch MARK` or harm in another way.


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def calls(mark: Path) -> dict[str, bytes]:
    command = text(f"touch {mark}")
    return {
        "REDUCE": b"\x80\x02cposix\nsystem\n" + command + b"\x85R.",
        "INST": b"(" + command + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + command + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + command + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n" + command + b"\x85}" + b"\x92.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + command + b"\x85R.",
        "BUILD": b"\x80\x02c__main__\nX\n)\x81}"
        + text("__setstate__")
        + b"cos\nsystem\nsb"
        + command
        + b"b.",
        "eval": b"\x80\x02cbuiltins\neval\n" + text(f"open({str(mark)!r}, 'w')") + b"\x85R.",
        "__import__": b"\x80\x02c__builtin__\n__import__\n" + text("os") + b"\x85R.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncpathlib\nPosixPath\n" + text("touch") + b"\x86R.",
        "dunder": b"\x80\x02cbuiltins\ngetattr\nc__main__\nX\n" + text("__subclasses__") + b"\x86R.",
        "dotted": b"\x80\x04\x8c\x07pathlib\x8c\x0aPath.touch\x93(" + text(str(mark)) + b"tR.",
        "before damage": b"\x80\x02cposix\nsystem\n" + command + b"\x85R\xff",
    }


@pytest.mark.parametrize("how", calls(Path()))
def test_code_is_named_and_not_run(how: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(
        MhcDiagError, match=r"(os|posix|subprocess|builtins|pathlib)\.[\w.]+.*would run"
    ) as error:
        unpickle(calls(mark)[how], "x.pt")
    assert "do not load" in error.value.hint and not mark.exists()


def test_the_same_pickles_do_run_in_the_usual_reader(tmp_path: Path) -> None:
    for how in ("REDUCE", "INST", "OBJ", "STACK_GLOBAL"):
        pickle.loads(calls(tmp_path / how)[how])
        assert (tmp_path / how).exists()


def test_nothing_is_imported() -> None:
    code = (
        "import sys; from mhc_diag.sources.files.pickled import unpickle;"
        "before = set(sys.modules);"
        r"unpickle(b'\x80\x02cthis\nx\ncwave\nopen\nctorch.nn\nLinear\n.', 'x');"
        "print(sorted(set(sys.modules) - before), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[] False\n"), done.stderr


def test_members_of_enumerations_and_methods_are_let_be() -> None:
    member = read(b"\x80\x02cbuiltins\ngetattr\nc__main__\nAct\n" + text("GELU") + b"\x86R.")
    assert isinstance(member, ForeignClass) and member.name == "__main__.Act.GELU"


HARMFUL = {
    "a memo as large as memory": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "bytes that are not there": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",
    "more bytes that are not there": b"\x80\x05\x8e" + struct.pack("<Q", (1 << 64) - 1) + b".",
    "a number that takes for ever to print": b"\x80\x02\x8b" + struct.pack("<i", 10**6) + bytes(10**6) + b".",
    "a number in a million digits": b"I" + b"1" * 1_000_000 + b"\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a buffer from elsewhere": b"\x80\x05\x97.",
    "a call of a text": text("x") + b")R.",
    "a call with no tuple": b"c__main__\nX\nNR.",
    "a name that is a number": b"\x80\x04K\x01K\x02\x93.",
    "nothing on the stack": b".",
    "no mark": b"t.",
    "entries of a text": text("x") + b"NNs.",
    "items of a text": b"\x80\x04" + text("x") + b"(N\x90.",
    "an odd number of entries": b"}(Nu.",
    "an unknown version": b"\x80\x77N.",
    "rubbish": b"\x80\x02rubbish",
    "other code": b"Pname\n.",
    "a module without state": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
}  # fmt: skip


@pytest.mark.parametrize("what", HARMFUL)
def test_harmful_pickles_are_damage(what: str) -> None:
    if what == "a memo as large as memory":
        assert read(HARMFUL[what]) is None  # a table of one entry
        return
    with pytest.raises(Damaged):
        read(HARMFUL[what])


def test_nested_keys_are_not_hashed() -> None:
    """Tuples nested deep overflow the stack; ones that share their parts take 2^100 steps."""
    deep = b"\x80\x02})" + b"\x85" * 300_000 + b"Ns."
    shared = b"\x80\x02})" + b"2\x86" * 100 + b"Ns."
    for data in (deep, shared):
        ((key, value),) = read(data).items()
        assert isinstance(key, OddKey) and value is None


def test_numbers_whose_hashes_collide_take_no_time() -> None:
    modulus = (1 << 61) - 1
    numbers = b"".join(b"\x8a\x0a" + (k * modulus).to_bytes(10, "little") + b"N" for k in range(1, 50_000))
    assert len(read(b"\x80\x02}(" + numbers + b"u.")) == 49_999


def test_what_is_called_again_and_again_is_not_copied() -> None:
    """A long text or list that a thousand calls take would fill the memory, were it copied by each."""
    for call, what in (
        ("c_codecs\nencode", text("x" * 1_000_000)),
        ("cbuiltins\nset", b"](" + b"N" * 10**6 + b"e"),
    ):
        data = (
            b"\x80\x02"
            + call.encode()
            + b"\nq\x000"
            + what
            + b"q\x010("
            + b"h\x00h\x01\x85R" * 10_000
            + b"l."
        )
        assert len(read(data)) == 10_000


def test_a_list_within_itself() -> None:
    loop = read(b"\x80\x02]q\x00h\x00a.")
    assert loop[0] is loop


def test_objects_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MOST", 4_000_000)
    monkeypatch.setattr(pickled, "LARGEST_PICKLE", 400_000)
    for operation in (b"\x8f", b"]", b"N", b"2"):
        with pytest.raises(Damaged, match="too many objects"):
            read(b"\x80\x02N" + operation * 300_000)
    with pytest.raises(Damaged, match="400006 bytes, at most 400000"):
        read(b"\x80\x02X" + struct.pack("<I", 400_000) + b"x" * 399_999)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_cut_short_anywhere(protocol: int) -> None:
    data = pickle.dumps({"config": Config(), "numbers": [1, 2.5, 2**40], "text": "x" * 300}, protocol)
    for end in range(len(data)):
        with pytest.raises(CutShort):
            read(data[:end])


def test_text_with_halves_of_characters_is_read_as_it_is_and_not_without_end() -> None:
    odd = "a\ud800\udfff"
    assert read(pickle.dumps({odd: odd})) == {odd: odd}
    assert read(pickle.dumps(odd * 40_000)) == odd * 40_000
    for many in (pickle.dumps(odd * 60_000), pickle.dumps([f"{odd}{i}" for i in range(60_000)])):
        with pytest.raises(Damaged, match="text that is none"):
            read(many)
    with pytest.raises(Damaged, match="UnicodeDecodeError"):
        read(b"X\x04\0\0\0a\xffbc" + b"N" * 20)


def test_one_that_is_vouched_for_is_read_however_much_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(list(range(70_000)))
    monkeypatch.setattr(pickled, "MOST", 1_000_000)
    monkeypatch.setattr(pickled, "LARGEST_PICKLE", 100_000)
    with pytest.raises(TooLarge, match=f"{len(data)} bytes, at most 100000"):
        unpickle(data, "x.pt")
    assert unpickle(data, "x.pt", trusted=True).value == list(range(70_000))
    with pytest.raises(TooLarge, match="too many objects"):
        unpickle(pickle.dumps(list(range(20_000))), "x.pt")
