"""A program that torch.export.save wrote (.pt2): a model's operations as they were exported."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.inputs import Arguments
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    from torch import nn


def load(path: Path) -> tuple[nn.Module, Arguments | None]:
    """The program as a module with the names of the model's own modules, and its recorded example input.

    To load a program can run code that the file brings along, so only files that are trusted come here.

    Raises:
        MhcDiagError: the file is damaged, was written by another version of torch, or needs operators that
            are not registered here.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "double.pt2"
        >>> class Double(torch.nn.Module):
        ...     def forward(self, x): return 2 * x
        >>> torch.export.save(torch.export.export(Double(), (torch.ones(2),)), path)
        >>> module, example = load(path)
        >>> module(*example[0]).tolist()
        [2.0, 2.0]
    """
    import torch

    try:
        with path.open("rb") as stream, warnings.catch_warnings(action="ignore"):
            program = torch.export.load(stream)  # a path would be judged by its suffix
            module = torch.export.unflatten(program)
    except Exception as e:  # whatever a damaged archive, or a graph from another version, makes torch raise
        what = printable(" ".join(f"{type(e).__name__}: {e}".split()))
        raise MhcDiagError(
            f"torch {torch.__version__} cannot load the program {printable(path)}: {what}",
            hint="export it with this version of torch; if it has operators of its own, load it in a factory",
        ) from e
    return module, program.example_inputs
