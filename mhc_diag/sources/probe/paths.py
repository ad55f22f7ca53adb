"""Which module of a model is running, and what comes out of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from mhc_diag.sources.files.names import WRAPPERS
from mhc_diag.sources.probe.follow import Follow, shares_memory


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules with their paths, without what compiling or data parallelism puts into a path.

    Example:
        >>> model = nn.DataParallel(nn.Sequential(nn.Identity()))
        >>> [path for path, _ in named_modules(model)]
        ['', '', '0']
    """
    by_path = dict(model.named_modules())
    for path, module in by_path.items():
        names = path.split(".")
        kept = []
        for i, name in enumerate(names):
            parent = by_path[".".join(names[:i])]
            parallel = isinstance(parent, (nn.DataParallel, nn.parallel.DistributedDataParallel))
            if name not in WRAPPERS or (name == "module" and not parallel):
                kept.append(name)
        yield ".".join(kept), module


@contextlib.contextmanager
def followed(model: nn.Module, mode: Follow) -> Iterator[None]:
    """Keep `mode.modules` at the path of the modules that are running, and note what comes out of each."""
    handles: list[RemovableHandle] = []
    scripted = {}
    try:
        for path, module in named_modules(model):
            if isinstance(module, torch.jit.ScriptModule):
                scripted[id(module)] = path
            else:
                handles += _announce(module, path, mode)
        if scripted:
            handles += _announce_scripted(scripted, mode)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _announce(module: nn.Module, path: str, mode: Follow) -> list[RemovableHandle]:
    def enter(_module: nn.Module, _args: Any) -> None:
        mode.modules.append(path)

    def leave(_module: nn.Module, args: Any, out: Any) -> None:
        _leave(mode, path, args, out)

    return [  # before the user's own, one of which may raise: then what was entered is still left
        module.register_forward_pre_hook(enter, prepend=True),
        module.register_forward_hook(leave, always_call=True),
    ]


def _leave(mode: Follow, path: str, args: Any, out: Any) -> None:
    mode.modules.pop()
    given = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
    for tensor in tree_leaves(out):
        fresh = isinstance(tensor, Tensor) and not shares_memory(tensor, given)
        if fresh and mode.memory.depends(tensor):
            mode.lineage.produced(tensor, path)
            mode.branches.output(tensor)


def _announce_scripted(paths: dict[int, str], mode: Follow) -> list[RemovableHandle]:
    """Scripted modules take no hooks of their own, but those for all modules see them called from outside."""

    def enter(module: nn.Module, _args: Any) -> None:
        if id(module) in paths:
            mode.modules.append(paths[id(module)])

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        if id(module) in paths:
            _leave(mode, paths[id(module)], args, out)

    return [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
