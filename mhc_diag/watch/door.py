"""The door through which every call of a model passes while it is watched.

It stands where `Module.compile` puts its compiled code: in an attribute that Module leaves out of copies and
of what it pickles. So a watched model is copied and saved as if nobody watched, and a call that any exception
interrupts still closes what it opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

ATTRIBUTE = "_compiled_call_impl"


class Watcher(Protocol):
    """Somebody who stands at the door."""

    def around(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[None]:
        """What to do around a forward pass with these arguments."""


class Door:
    """Calls the model as it would be called without the door, with all watchers around it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.inner = vars(model).get(ATTRIBUTE)
        """Compiled code that was here before; None for a model that is not compiled."""
        self.watchers: list[Watcher] = []

    @staticmethod
    def of(model: nn.Module) -> Door:
        """The door of a model: the one it has, or a new one."""
        found = vars(model).get(ATTRIBUTE)
        if not isinstance(found, Door):
            found = vars(model)[ATTRIBUTE] = Door(model)
        return found

    def leave(self, watcher: Watcher) -> None:
        """Take a watcher away, and with the last one the door."""
        if watcher in self.watchers:
            self.watchers.remove(watcher)
        if not self.watchers and vars(self.model).get(ATTRIBUTE) is self:
            if self.inner is None:
                del vars(self.model)[ATTRIBUTE]
            else:
                vars(self.model)[ATTRIBUTE] = self.inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One call of the model. What is traced, and what a probe runs, passes as if nobody watched."""
        import torch

        call = self.model._call_impl if self.inner is None else self.inner
        if torch.compiler.is_compiling() or not self.watchers or is_probed():
            return call(*args, **kwargs)
        with ExitStack() as around:
            for watcher in self.watchers:
                around.enter_context(watcher.around(args, kwargs))
            return call(*args, **kwargs)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # for modules with a __getstate__ of their own: a copy has no door


_probing = 0


@contextlib.contextmanager
def probing() -> Iterator[None]:
    """While a probe runs the model no watcher looks, and autocast keeps none of its casts.

    Versions of torch up to 2025 keep casts that were made without gradients: the training step that follows
    would use them, and the weights would get no gradient.
    """
    import torch

    global _probing
    kept = torch.is_autocast_cache_enabled()
    _probing += 1
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(kept)
        _probing -= 1


def is_probed() -> bool:
    """Whether this call is part of a probe, one of ours or somebody else's."""
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    from mhc_diag.sources.probe.follow import Follow

    return _probing > 0 or any(isinstance(mode, Follow) for mode in _get_current_dispatch_mode_stack())
