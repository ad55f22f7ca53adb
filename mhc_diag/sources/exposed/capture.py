"""Keep what a model shows while a probe runs: a few rows of every tensor that may be a mixing matrix."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mhc_diag.sources import offloaded
from mhc_diag.sources.exposed.places import Place, listening
from mhc_diag.sources.exposed.squares import LARGEST, Square, picked, square

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

ROWS = 64
"""Matrices kept of one tensor, evenly spread."""


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """A tensor that came by."""

    place: Place
    run: int
    """How often the place's module or function had run before."""
    form: Square
    index: Tensor
    """(K): which of the tensor's matrices were kept."""
    rows: Tensor
    """(K, n, n)."""


@dataclass(eq=False)
class Seen:
    """What a capture kept."""

    events: list[Event] = field(default_factory=list)
    dtypes: set[torch.dtype] = field(default_factory=set)
    """Floating types of all that came by."""


@contextlib.contextmanager
def capture(
    model: nn.Module,
    wanted: Collection[Place] | None = None,
) -> Iterator[Seen]:
    """Keep what comes by while the context is open; the tensors that modules hold are looked at in the end.

    Of several forward passes of the model, as a probe may need, the last one counts.

    Args:
        model: whose modules.
        wanted: places; all there are if None.

    Example:
        >>> import torch
        >>> mixing = torch.nn.Softmax(dim=-1)
        >>> with capture(mixing) as seen:
        ...     out = mixing(torch.zeros(2, 3, 4, 4))
        >>> [(event.place.spot, tuple(event.rows.shape)) for event in seen.events]
        [('argument 0', (6, 4, 4)), ('output', (6, 4, 4))]
    """
    seen = Seen()

    def heard(place: Place, run: int, tensor: Tensor) -> None:
        if tensor.is_floating_point():
            seen.dtypes.add(tensor.dtype)
        form = square(tensor) or square(tensor, _streams_now())
        if form is None or _is_batched(tensor):
            return
        with _unseen():
            seen.events.append(_kept(place, run, tensor, form))

    with listening(model, heard, wanted, begun=seen.events.clear):
        yield seen
        for place, tensor in held(model):
            if wanted is None or place in wanted:
                forms = (square(tensor), *(square(tensor, n) for n in range(2, LARGEST + 1)))
                form = next((f for f in forms if f is not None and f.count == 1), None)
                if form is not None:
                    seen.events.append(_kept(place, 0, tensor, form))


def held(model: nn.Module) -> Iterator[tuple[Place, Tensor]]:
    """The tensors that modules hold, small enough to be one matrix, wherever they lie."""
    away = offloaded.away(model)
    for path, module in model.named_modules():
        for kind, tensors in (("parameter", module._parameters), ("buffer", module._buffers)):
            for name, tensor in tensors.items():
                if tensor is None or tensor.numel() > LARGEST * LARGEST:
                    continue
                fetch = away.get(f"{path}.{name}".lstrip("."))
                yield Place(path, kind, (), name), tensor if fetch is None else fetch()  # type: ignore[arg-type]


def _kept(place: Place, run: int, tensor: Tensor, form: Square) -> Event:
    import torch

    take = min(form.count, ROWS)
    index = torch.arange(take, device=tensor.device) * form.count // take
    with torch.no_grad():
        return Event(place, run, form, index, picked(tensor, form, index))


def _streams_now() -> int:
    """The number of streams that a probe under way has met; 0 where none is under way."""
    from torch.utils._python_dispatch import _get_current_dispatch_mode

    from mhc_diag.sources.probe.follow import Follow

    mode = _get_current_dispatch_mode()
    codes = mode.memory.codes if isinstance(mode, Follow) else ()
    return max((code.streams for code in codes), default=0)


def _is_batched(tensor: Tensor) -> bool:
    """Whether a tensor belongs to a transform such as vmap, outside of which it means nothing."""
    import torch

    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """Compute without the probe under way seeing it, and without gradients."""
    import torch
    from torch.utils._python_dispatch import _disable_current_modes

    with torch.no_grad(), _disable_current_modes():
        yield
