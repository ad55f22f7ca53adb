"""Where in a running model a matrix can stand, and how to listen there."""

from __future__ import annotations

import contextlib
import functools
import types
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

Kind = Literal["output", "argument", "result", "parameter", "buffer"]
Position = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """One place: a module's output or argument, the result of a function it holds, or a tensor it holds."""

    path: str
    kind: Kind
    position: Position = ()
    """Where in the output or the arguments: indices, keys and names of fields."""
    name: str = ""
    """The attribute that holds the function or the tensor."""

    @property
    def spot(self) -> str:
        """The place as seen from its module.

        Example:
            >>> Place("layers.0.attn_hc", "output", (1,)).spot
            'output 1'
            >>> Place("layers.0", "result", (), "constrain").spot
            'result of constrain'
        """
        word = f"{self.kind} of {self.name}" if self.kind == "result" else f"{self.kind} {self.name}"
        return " ".join([word.strip(), *map(str, self.position)])

    @property
    def call(self) -> tuple[str, Kind, str]:
        """What runs when a tensor comes by: places in one output share it."""
        return self.path, self.kind, self.name

    @property
    def is_static(self) -> bool:
        """Whether a tensor that the module holds stands here, and not one that is made in a forward pass."""
        return self.kind in {"parameter", "buffer"}


Heard = Callable[[Place, int, "Tensor"], None]


@contextlib.contextmanager
def listening(
    model: nn.Module,
    heard: Heard,
    wanted: Collection[Place] | None = None,
    *,
    begun: Callable[[], None] | None = None,
    deaf: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Hear of every tensor that comes by while the context is open, or of those at wanted places.

    Args:
        model: whose modules.
        heard: called with the place, how often its module or function ran before in this forward pass of the
            model, and the tensor.
        wanted: places; all there are if None. Static places make no sound.
        begun: called when a forward pass of the model begins.
        deaf: asked each time whether what runs is to be passed over, as if it did not run.
    """
    ear = _Ear(model, heard, wanted, begun, deaf)
    try:
        ear.open()
        yield
    finally:
        ear.close()


class _Ear:
    def __init__(
        self,
        model: nn.Module,
        heard: Heard,
        wanted: Collection[Place] | None,
        begun: Callable[[], None] | None,
        deaf: Callable[[], bool] | None,
    ) -> None:
        self.model, self.heard, self.begun, self.deaf = model, heard, begun, deaf
        self.runs: Counter[tuple[str, Kind, str]] = Counter()
        self.places: dict[tuple[str, Kind, str], list[Place]] | None = None
        if wanted is not None:
            self.places = {}
            for place in wanted:
                self.places.setdefault(place.call, []).append(place)
        self.handles: list[Any] = []
        self.wrapped: list[tuple[dict[str, Any], str, Any, Any]] = []

    def open(self) -> None:
        if _can_be_hooked(self.model):
            self.handles.append(self.model.register_forward_pre_hook(lambda _module, _args: self._begin()))
        if self.places is None:
            for path, module in self.model.named_modules():
                if _can_be_hooked(module):
                    calls = [(path, "output", ""), (path, "argument", "")]
                    calls += [(path, "result", name) for name in _functions(module)]
                    for call in calls:
                        self._listen(module, call)  # type: ignore[arg-type]
            return
        for call in self.places:
            self._listen(self.model.get_submodule(call[0]), call)

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()
        for attributes, name, original, ours in self.wrapped:
            if attributes.get(name) is ours:
                attributes[name] = original

    def _listen(self, module: nn.Module, call: tuple[str, Kind, str]) -> None:
        _, kind, name = call
        if kind == "output":
            after = lambda _module, _args, out: self._hear(call, out)  # noqa: E731
            self.handles.append(module.register_forward_hook(after))
        elif kind == "argument":
            before = lambda _module, args, kwargs: self._hear(call, _named(args, kwargs))  # noqa: E731
            self.handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        elif kind == "result" and name in vars(module):
            attributes, original = vars(module), vars(module)[name]
            ours = _spied(original, lambda out: self._hear(call, out))
            attributes[name] = ours
            self.wrapped.append((attributes, name, original, ours))

    def _begin(self) -> None:
        if self.deaf is None or not self.deaf():
            self.runs.clear()
            if self.begun is not None:
                self.begun()

    def _hear(self, call: tuple[str, Kind, str], value: Any) -> None:
        if self.deaf is not None and self.deaf():
            return
        run = self.runs[call]
        self.runs[call] = run + 1
        if self.places is None:
            for position, tensor in tensors(value):
                self.heard(Place(call[0], call[1], position, call[2]), run, tensor)
            return
        for place in self.places[call]:
            found = at(value, place.position)
            if found is not None:
                self.heard(place, run, found)


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[int | str, Any]:
    named: dict[int | str, Any] = dict(enumerate(args))
    named.update(kwargs)
    return named


def _can_be_hooked(module: nn.Module) -> bool:
    import torch

    return not isinstance(module, torch.jit.ScriptModule)


def _functions(module: nn.Module) -> list[str]:
    """Names of plain functions that an instance holds, such as a constraint that it was given."""
    kinds = (types.FunctionType, types.BuiltinFunctionType, functools.partial)
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, kinds) and not name.startswith("_") and name != "forward"
    ]


def _spied(function: Any, heard: Callable[[Any], None]) -> Any:
    if isinstance(function, functools.partial):  # stays one, for code that looks into it
        return functools.partial(_spied(function.func, heard), *function.args, **function.keywords)

    @functools.wraps(function)
    def spied(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        heard(out)
        return out

    return spied


def tensors(value: Any, position: Position = ()) -> Iterator[tuple[Position, Tensor]]:
    """Every tensor in tuples, lists, dictionaries and dataclasses, with where it stands.

    Example:
        >>> import torch
        >>> [where for where, _ in tensors({"a": (torch.ones(1), torch.ones(2)), "b": 3})]
        [('a', 0), ('a', 1)]
    """
    import torch

    if isinstance(value, torch.Tensor):
        yield position, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors(item, (*position, key))
    elif isinstance(value, (tuple, list)):
        for key, item in enumerate(value):
            yield from tensors(item, (*position, key))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors(getattr(value, field.name, None), (*position, field.name))


def at(value: Any, position: Position) -> Tensor | None:
    """The tensor at a position, or None where there is none.

    Example:
        >>> import torch
        >>> at({"a": (1, torch.ones(2))}, ("a", 1))
        tensor([1., 1.])
        >>> at({"a": (1, torch.ones(2))}, ("b", 1)) is None
        True
    """
    import torch

    for step in position:
        try:
            plain = isinstance(step, str) and is_dataclass(value) and not isinstance(value, Mapping)
            value = getattr(value, str(step)) if plain else value[step]
        except (AttributeError, IndexError, KeyError, TypeError):
            return None
    return value if isinstance(value, torch.Tensor) else None
