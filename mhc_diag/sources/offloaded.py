"""Models whose weights lie elsewhere between forward passes, as accelerate offloads them to memory or disk.

Each module of such a model carries a hook, `_hf_hook`, which puts its tensors in place before the module runs
and takes them away afterwards. Meanwhile they have shapes and no numbers. Nothing of accelerate is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def hooks(model: nn.Module) -> Iterator[tuple[str, nn.Module, Any]]:
    """Every hook of accelerate's with the path and the module that carries it.

    Example:
        >>> import torch
        >>> list(hooks(torch.nn.Linear(2, 2)))
        []
    """
    for path, module in model.named_modules():
        hook = vars(module).get("_hf_hook")
        for one in getattr(hook, "hooks", () if hook is None else (hook,)):
            yield path, module, one


def away(model: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """The tensors that are brought in when their module runs: by path, what fetches the numbers.

    Example:
        >>> import torch
        >>> away(torch.nn.Linear(2, 2))
        {}
    """
    found: dict[str, Callable[[], Tensor]] = {}
    for path, module, hook in hooks(model):
        if not getattr(hook, "offload", False):
            continue
        for name, tensor in _tensors(module, deep=hook.place_submodules):
            if tensor.is_meta:
                found[f"{path}.{name}" if path else name] = _fetching(hook.weights_map, name)
    return found


def devices(model: nn.Module) -> set[torch.device]:
    """Where the modules of a model run: where their tensors are, or where hooks bring them.

    Example:
        >>> import torch
        >>> devices(torch.nn.Linear(2, 2))
        {device(type='cpu')}
    """
    import torch

    found = {t.device for t in (*model.parameters(), *model.buffers()) if not t.is_meta}
    for _, _, hook in hooks(model):
        where = getattr(hook, "execution_device", None)
        if where is not None:  # a number is that of a GPU
            found.add(torch.device("cuda", where) if isinstance(where, int) else torch.device(where))
    return found - {torch.device("meta")}


def kept(model: nn.Module) -> Callable[[], None]:
    """Remember what hooks note of a forward pass; the function that is returned puts it back.

    One that ends half-way leaves notes of tensors that several modules share, and with them the tensors.
    """
    every = {id(hook): hook for _, _, hook in hooks(model)}
    noted = [(hook, dict(vars(hook))) for hook in every.values()]
    shared = [vars(hook).get("tied_params_map") for hook in every.values()]
    tied = [(places, {key: dict(there) for key, there in places.items()}) for places in shared if places]

    def put_back() -> None:
        for hook, values in noted:
            vars(hook).clear()
            vars(hook).update(values)
        for places, before in tied:
            for key in places.keys() - before.keys():
                del places[key]
            for key, there in before.items():
                places[key].clear()
                places[key].update(there)

    return put_back


def _tensors(module: nn.Module, *, deep: bool) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=deep, remove_duplicate=False)
    yield from module.named_buffers(recurse=deep, remove_duplicate=False)


def _fetching(stored: Any, name: str) -> Callable[[], Tensor]:
    return lambda: stored[name]
