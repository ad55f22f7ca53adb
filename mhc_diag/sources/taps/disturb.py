"""A model whose coefficients are shaken for a while: what still follows the operators then causes them.

At initialisation the matrices of many sites are equal, symmetric, or independent of what will be learnt: then
any of them may be taken for any other, for its transpose, or for a constant. Noise tells them apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

LARGEST = 2**20
"""Elements of the largest parameter that gets noise: coefficients are small, weights need not change."""
MOST = 2**26
"""Elements of all of them."""
RELATIVE = 0.05
ABSOLUTE = 0.02


@contextlib.contextmanager
def shaken(model: nn.Module, seed: int) -> Iterator[None]:
    """Other tensors in the place of small parameters and of matrices in buffers, and the old ones afterwards.

    No tensor is written to, but for shards of FSDP2, which keeps references of its own: those get their bits
    back. Signs stay as they are, for what must be positive.

    Args:
        model: a model that nobody else runs meanwhile.
        seed: of the noise.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    copies: dict[int, Tensor] = {}
    changed: list[tuple[Any, str, Tensor]] = []
    shards: list[tuple[Tensor, Tensor]] = []
    seen: set[int] = set()
    budget = MOST
    try:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if hasattr(tensor, "to_local") and id(tensor) not in seen:  # a DTensor
                        seen.add(id(tensor))
                        shards += _written(tensor, draw)
                    if tensor is None or not _can_be_shaken(tensor, tensors is module._buffers):
                        continue
                    if id(tensor) not in copies:
                        if tensor.numel() > budget:
                            continue
                        budget -= tensor.numel()
                        copies[id(tensor)] = _noisy(tensor, draw)
                    changed.append((tensors, name, tensor))
        for tensors, name, tensor in changed:
            tensors[name] = copies[id(tensor)]
        yield
    finally:
        for tensors, name, tensor in changed:
            tensors[name] = tensor
        for shard, was in shards:
            shard.copy_(was)


def _written(tensor: Any, draw: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """A shard that gets noise, and what it held; behind the back of autograd, which must not see a change."""
    if not tensor.is_floating_point() or tensor.numel() > LARGEST:
        return []
    shard = tensor.to_local().detach().data
    was = shard.clone()
    shard.copy_(_noisy(was, draw))
    return [(shard, was)]


def _can_be_shaken(tensor: Tensor, is_buffer: bool) -> bool:
    import torch

    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.is_floating_point()
    if not plain or tensor.is_meta or tensor.layout != torch.strided:
        return False
    if is_buffer:  # statistics and tables of positions stay; only what may be a matrix is shaken
        return tensor.ndim >= 2 and 2 <= tensor.shape[-1] == tensor.shape[-2] <= 16
    return tensor.numel() <= LARGEST


def _noisy(tensor: Tensor, draw: torch.Generator) -> Tensor:
    import torch

    with torch.no_grad():
        noise = torch.randn(tensor.shape, generator=draw).to(tensor.device, tensor.dtype)
        same_sign = tensor * (1 + RELATIVE * noise.clamp(-4, 4))
        made = torch.where(tensor == 0, ABSOLUTE * noise, same_sign)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made
