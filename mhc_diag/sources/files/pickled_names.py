"""What the names in a pickle stand for: what is known, what is let be, and what no checkpoint needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mhc_diag.sources.files.pickled_hostile import is_hostile
from mhc_diag.sources.files.pickled_objects import Damaged, Foreign, ForeignClass, Known
from mhc_diag.sources.files.torch_dtypes import torch_name
from mhc_diag.sources.files.torch_rebuild import KNOWN as TORCH


class Names:
    """Looks up the names of one pickle and remembers those that it does not know.

    Example:
        >>> names = Names()
        >>> _ = names("my.model", "Net"), names("posix", "system")
        >>> names.foreign, names.hostile
        (['my.model.Net'], ['posix.system'])
    """

    def __init__(self) -> None:
        self.foreign: list[str] = []
        """Classes and functions that were not loaded, each once."""
        self.hostile: list[str] = []
        """Names that only code needs which is to be run."""
        self._seen: dict[str, Any] = {}

    def __call__(self, module: str, name: str) -> Any:
        """What a name stands for."""
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full not in self._seen:
            self._seen[full] = self._look_up(full)
        return self._seen[full]

    def _look_up(self, full: str) -> Any:
        if full == "builtins.getattr":
            return Known(full, self._attribute)
        known = KNOWN.get(full) or torch_name(full)
        if known is not None:
            return known
        if full in QUIET or full.startswith(DISTRIBUTED):
            return ForeignClass(full)
        (self.hostile if is_hostile(full) else self.foreign).append(full)
        return ForeignClass(full)

    def _attribute(self, owner: Any, attribute: Any) -> ForeignClass:
        """How a pickle writes a member of an enumeration, or a method of an object."""
        public = type(attribute) is str and attribute.isidentifier() and not attribute.startswith("_")
        if not public or not isinstance(owner, (Foreign, ForeignClass)) or owner.name in QUIET:
            named = f"{getattr(owner, 'name', '')}.{attribute}" if type(attribute) is str else ""
            self.hostile.append(f"builtins.getattr {named}"[:200].strip())
            return ForeignClass("builtins.getattr")
        full = f"{owner.name}.{attribute}"
        if len(full) > 1000:
            raise Damaged("it has a name of more than 1,000 letters")
        return ForeignClass(full)


def _made_of(name: str, plain: Callable[[], Any]) -> Known:
    """A container: empty, or else what it was made from, which is not copied."""

    def make(*args: Any) -> Any:
        if not args or args == (None,):
            return plain()
        return args[0] if type(args[0]) is type(plain()) else Foreign(name, args)

    return Known(name, make)


def _default(*_: Any) -> dict[Any, Any]:
    """An empty table, whatever it makes of keys that it lacks."""
    return {}


def _listed(name: str) -> Known:
    """A set, a tuple or a queue that a pickle makes from a list, which then stands for it."""
    return Known(name, lambda *args: args[0] if args and type(args[0]) in (list, tuple) else [])


def _number(name: str) -> Known:
    return Known(
        name, lambda *args: args[0] if args and type(args[0]) in (bool, int, float) else Foreign(name, args)
    )


def _object(name: str) -> Known:
    """How copyreg makes an object of a class."""
    return Known(name, lambda kind, *args: Foreign(getattr(kind, "name", "?"), args))


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    """A number of numpy's."""
    code = dtype.args[0] if isinstance(dtype, Foreign) and type(dtype.args) is tuple and dtype.args else None
    content = raw_bytes(raw)
    if type(code) is not str or code not in SCALARS or content is None or len(content) != int(code[1:]):
        return Foreign("numpy.scalar", (dtype, raw))
    order = ">" if type(dtype.state) is tuple and dtype.state[1:2] == (">",) else "<"
    return np.frombuffer(content, order + code)[0].item()


def raw_bytes(value: Any) -> bytes | None:
    """The bytes that a pickle stores, which older versions of the language write as text; at most 16."""
    if isinstance(value, Foreign) and value.name == "_codecs.encode" and type(value.args) is tuple:
        value = value.args[0] if value.args else None
    if type(value) is str and len(value) <= 16:
        return value.encode("latin-1") if all(ord(c) < 256 for c in value) else None
    return value if type(value) is bytes and len(value) <= 16 else None


SCALARS = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1")
_CONTAINERS = [
    _made_of("collections.OrderedDict", dict),
    _made_of("collections.Counter", dict),
    _made_of("builtins.dict", dict),
    Known("collections.defaultdict", _default),
    *(_listed(f"builtins.{name}") for name in ("list", "tuple", "set", "frozenset")),
    _listed("collections.deque"),
]
KNOWN: dict[str, Known] = {
    known.name: known
    for known in (
        *_CONTAINERS,
        *(_number(f"builtins.{name}") for name in ("int", "long", "float", "bool")),
        *(
            _object(f"{module}.{name}")
            for module in ("copyreg", "copy_reg")
            for name in ("_reconstructor", "__newobj__")
        ),
        *(Known(f"numpy.{core}.multiarray.scalar", _scalar) for core in ("core", "_core")),
        *TORCH,
    )
}
_CLASSES = """_codecs.encode builtins.bytes builtins.bytearray builtins.complex builtins.str builtins.object
builtins.slice builtins.range argparse.Namespace types.SimpleNamespace numpy.dtype numpy.ndarray
numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct numpy.core.numeric._frombuffer
numpy._core.numeric._frombuffer datetime.datetime datetime.date datetime.timedelta"""
_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
QUIET = frozenset(_CLASSES.split()) | {
    f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS.split()
}
"""Plain things, whose names tell nobody anything; they are kept as they are stored."""
_PARTS = ("tensor", "_tensor", "device_mesh", "_mesh_layout")
DISTRIBUTED = tuple(f"torch.distributed.{part}." for part in _PARTS)
"""How a distributed tensor says which part of it there is; that is read off."""
