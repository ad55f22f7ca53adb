"""How branches are injected into the streams: directions p, from what is added and a branch's output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from mhc_diag.sources.probe.call import Call, Pass
from mhc_diag.sources.probe.layout import Labels, flattened

TOLERANCE = 1e-5
"""Largest part of a token's injected term that is not p f, in float32."""
ROUNDINGS = 2.0
"""The same in units of the last place, for coarser formats."""
SUMS = {"add", "sub"}


def injected(call: Call, outcome: Pass) -> tuple[Tensor, list[Tensor]] | None:
    """What an operation is about to add to the streams, and the arguments that it makes it of.

    That is what the operation gives with zeros in place of the streams.
    """
    leaves: list[Tensor] = []

    def without(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        signal = call.signal(value)
        if signal is not None and signal.code is outcome.signal.code:
            return torch.zeros_like(value)
        leaves.append(value)
        return value

    mutates = call.func._schema.is_mutable
    first = call.signal(call.args[0])
    streams_first = first is not None and first.code is outcome.signal.code
    if call.name in SUMS and streams_first and call.kwargs.get("alpha", 1) == 1:
        other = call.args[1]
        return (other if call.name == "add" else -other, [other]) if isinstance(other, Tensor) else None
    args, kwargs = tree_map(without, (call.args, call.kwargs))
    if mutates and not streams_first:
        args = (args[0].clone(), *args[1:])
    made = call.func(*args, **kwargs)
    return (made, leaves) if isinstance(made, Tensor) else None


def gathered(term: Tensor, tensor: Tensor, labels: Labels) -> Tensor:
    """(T, C, n): a term that was added to a tensor, which may be a part of the memory of the streams."""
    term = term.expand(tensor.shape)
    if tensor.numel() == labels.flat.numel() and tensor.is_contiguous():
        return labels.gather(flattened(term))
    memory = torch.zeros(labels.flat.shape, dtype=term.dtype, device=term.device)
    memory.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(term)
    return labels.gather(memory)


def direction(term: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """The weights with which a branch's output was written to the streams.

    Formula: p_i = <b_i, f> / <f, f>, and the residual is max_i |b_i - p_i f| / max_i |b_i|, of each token.

    Args:
        term: b, (T, C, n).
        output: f, (T, C).

    Returns:
        p (T, n), NaN where f is zero, and the residual (T).

    Example:
        >>> f = torch.tensor([[1.0, -2.0]])
        >>> p, residual = direction(torch.stack([f, 3 * f], dim=-1), f)
        >>> p.tolist(), residual.tolist()
        ([[1.0, 3.0]], [0.0])
    """
    wide = torch.promote_types(torch.promote_types(term.dtype, output.dtype), torch.float32)
    b, f = term.to(wide), output.to(wide)
    size = f.abs().amax(dim=1, keepdim=True)
    f = f / size  # whose square would overflow or vanish where f is very large or small
    p = (b * f[..., None]).sum(dim=1) / (f * f).sum(dim=1, keepdim=True)
    missed = (b - p[:, None] * f[..., None]).norm(dim=1).amax(dim=1)
    return p / size, missed / b.norm(dim=1).amax(dim=1)


def tolerance(term: Tensor, output: Tensor) -> float:
    """The largest residual with which a term is a branch's output times a weight for each stream."""
    coarse = max(torch.finfo(values.dtype).eps for values in (term, output))
    return max(TOLERANCE, ROUNDINGS * coarse)


def fits(p: Tensor, residual: Tensor, allowed: float) -> bool:
    """Whether all tokens fit for which there is a direction."""
    known = p.isfinite().all(dim=1)
    return bool(known.any()) and bool((residual[known].nan_to_num(0.0) <= allowed).all())


def orders(output: Tensor, read: Labels | None, tokens: int) -> Iterator[Tensor]:
    """A branch's output as (T, C): in the order of what the branch read, and token by token."""
    flat = flattened(output)
    if read is not None and read.flat.numel() == flat.numel():
        yield read.gather(flat)[..., 0]
    yield flat.view(tokens, -1)
