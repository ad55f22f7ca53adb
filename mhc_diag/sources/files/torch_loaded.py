"""What torch itself makes of a file that it wrote, with the code that the file names: only if trusted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry
from mhc_diag.sources.files.torch_tables import Tables
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch


class TorchLoaded:
    """The tensors of a file that was loaded.

    Args:
        path: the file, already seen to be one of torch's.
        key: the path of a table inside it.

    Raises:
        MhcDiagError: the file is damaged, needs code that is not here, or holds no tensors.
    """

    format = "torch, with its code run"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, *, key: str | None = None) -> None:
        import torch

        top = load(path)
        found = Tables(top, torch.Tensor, _unfold, printable(path)).choose(key)
        self._tensors: dict[str, torch.Tensor] = found.tensors
        self.entries: Mapping[str, Entry] = {
            name: Entry(tuple(tensor.shape), _dtype(tensor)) for name, tensor in self._tensors.items()
        }
        beside = {str(k): v for table in reversed(found.around) for k, v in table.items()}
        config = beside.get("config")
        self.config: Mapping[str, Any] | None = config if isinstance(config, Mapping) else None
        self.metadata: Mapping[str, Any] = {
            k: v for k, v in beside.items() if isinstance(v, (str, int, float))
        }

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor, as float32 or float64."""
        import torch

        for name in names:
            tensor = self._tensors[name].detach()
            wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
            yield name, tensor.to(wide).numpy().copy()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model."""
        return dict(self._tensors)


def load(path: Path) -> Any:
    """What the file holds. Runs any code that it names.

    Raises:
        MhcDiagError: the file is damaged, or names classes that are not here.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as e:  # the file's own code may raise anything at all
        reason = (str(e).splitlines() or [""])[0].strip()
        raise MhcDiagError(
            f"{printable(path)} is truncated, damaged, or needs classes that are not here: "
            f"{printable(f'{type(e).__name__} {reason}')}",
            hint="download it again and compare the sizes, or save the bare state_dict",
        ) from e


def _unfold(node: Any) -> Any:
    import torch

    return node.state_dict() if isinstance(node, torch.nn.Module) else node


def _dtype(tensor: torch.Tensor) -> str:
    """The dtype's name; one that no reader accepts where the tensor has no plain numbers in memory."""
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        return f"meta {name}"
    return name if tensor.layout == torch.strided else f"{tensor.layout} {name}".removeprefix("torch.")
