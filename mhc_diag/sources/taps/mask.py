"""Which argument of a forward pass tells padding from tokens, so that taps leave padding out as probes do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Mask:
    """An argument that has the shape of the tokens."""

    name: str
    reversed: bool
    """Whether its axes stand the other way round."""

    def kept(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """Which tokens of a forward pass count, (T), without waiting for the device; None without a mask."""
        import torch

        from mhc_diag.sources.probe.padding import PADS, named_arguments

        value = dict(named_arguments(model, (args, kwargs))).get(self.name)
        if not isinstance(value, torch.Tensor) or value.ndim != 2:
            return None
        value = value.T if self.reversed else value
        return ((value == 0) if self.name in PADS else (value != 0)).flatten()


def mask_of(model: nn.Module, example: Any, token_shape: Sequence[int]) -> Mask | None:
    """The mask among the arguments of an example, by its name and shape.

    Args:
        model: what is called.
        example: as for `mhc_diag.probe`.
        token_shape: of what was measured.
    """
    import torch

    from mhc_diag.sources.inputs import as_call
    from mhc_diag.sources.probe.padding import KEEPS, PADS, named_arguments

    for name, value in named_arguments(model, as_call(example)):
        if name in KEEPS + PADS and isinstance(value, torch.Tensor) and not value.is_floating_point():
            shape = tuple(value.shape)
            if len(shape) == 2 and tuple(token_shape) in (shape, shape[::-1]):
                return Mask(name, shape != tuple(token_shape))
    return None
