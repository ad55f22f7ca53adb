"""A module made by the user's own code: `package.module:factory`."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.inputs import Arguments, as_call
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    from torch import nn

SPEC = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A module, and what to call it with where its maker said so."""

    module: nn.Module
    example: Arguments | None = None


def is_spec(text: str) -> bool:
    """Whether a target reads `package.module:factory`.

    Example:
        >>> is_spec("my_package.models:build"), is_spec("model.pt"), is_spec("https://host/model.pt")
        (True, False, False)
    """
    return SPEC.fullmatch(text) is not None


def make(spec: str, *, seed: int = 0) -> Made:
    """Import a factory and call it.

    Modules are found as Python finds them, with the working directory first. The factory takes no arguments
    and returns a module, or a pair of a module and an example input: a tensor, a tuple of positional
    arguments or a dictionary of keyword arguments. The name may also be that of a module itself. Torch's
    random numbers start at the seed, so that a random model is the same each time.

    Raises:
        MhcDiagError: there is no such module or factory, it raised, or it returned something else.
    """
    if not is_spec(spec):
        raise MhcDiagError(
            f"{printable(spec)} is not package.module:factory",
            hint="name a Python module and a function in it, with a colon between",
        )
    module_name, name = spec.split(":")
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = _find(module_name, name)
        torch.manual_seed(seed)  # again, as the import may have drawn some
        made = _call(found, spec)

    if isinstance(made, torch.nn.Module):
        return Made(made)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module):
        return Made(made[0], as_call(made[1]))
    raise MhcDiagError(
        f"{spec} returned {type(made).__name__}, expected a torch.nn.Module or (module, example input)",
        hint="return the module from the factory",
    )


def search_here() -> Path:
    """Let Python find modules in the working directory, as `python -m` does; returns that directory."""
    here = Path.cwd()
    if str(here) not in sys.path:
        sys.path.insert(0, str(here))
    return here


def _find(module_name: str, name: str) -> Any:
    here = search_here()
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        parents = [module_name[: m.start()] for m in re.finditer(r"\.|$", module_name)]
        if e.name in parents:
            raise MhcDiagError(
                f"there is no Python module {e.name} (for {module_name}:{name})",
                hint=f"run from the folder that holds it (now {here}), or install its package",
            ) from e
        raise _raised(f"importing {module_name}", e, "install what it imports") from e
    except (Exception, SystemExit) as e:
        hint = "the module must import without side effects; try it in Python first"
        raise _raised(f"importing {module_name}", e, hint) from e
    module = found
    for part in name.split("."):
        if not hasattr(found, part):
            raise MhcDiagError(f"{module_name} has no {name}", hint=_offer(module))
        found = getattr(found, part)
    return found


def _offer(module: ModuleType) -> str:
    """What a module itself defines that could be meant."""
    public = [n for n, v in vars(module).items() if not n.startswith("_") and callable(v)]
    own = sorted(n for n in public if getattr(vars(module)[n], "__module__", None) == module.__name__)
    return f"it has {', '.join(own[:12])}" if own else "it defines no function or class"


def _call(found: Any, spec: str) -> Any:
    import torch

    if isinstance(found, (torch.nn.Module, tuple)):
        return found
    if not callable(found):
        raise MhcDiagError(
            f"{spec} is of type {type(found).__name__}, expected a factory",
            hint="name a function that makes the module",
        )
    try:
        return found()
    except (Exception, SystemExit) as e:
        hint = "the factory is called without arguments; try it in Python first"
        raise _raised(spec, e, hint) from e


def _raised(what: str, error: BaseException, hint: str) -> MhcDiagError:
    text = printable(" ".join(str(error).split()))
    return MhcDiagError(f"{what} raised {type(error).__name__}: {text}", hint=hint)
