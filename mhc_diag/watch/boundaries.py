"""Where the streams themselves can be read: boundaries of modules, around the first and the last site.

A boundary is believed only if y - M x has, for every token, no more directions than there are sites inside:
x are the streams before it, y those after it, and M is what the sites inside multiply to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mhc_diag.records import Site

FINE, COARSE = 1e-4, 5e-2
"""How far a boundary may be off, relative to the streams, in float32 and in the shorter types."""


@dataclass(slots=True)
class Passed:
    """Streams that passed the boundaries of modules in one forward pass."""

    before: dict[str, Tensor] = field(default_factory=dict)
    """By path of the module, at its first call."""
    after: dict[str, Tensor] = field(default_factory=dict)
    """At its last."""
    calls: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def listening(
    model: nn.Module, sites: tuple[Site, ...], ends: tuple[str, str] | None, streams: int
) -> Iterator[Passed]:
    """Take the streams at boundaries while the model runs.

    Args:
        model: which runs.
        sites: of it.
        ends: the boundaries, if they are known; if not, all around the first and the last site.
        streams: how many there are.
    """
    from mhc_diag.sources.probe.paths import named_modules

    passed, modules = Passed(), dict(named_modules(model))  # of a wrapper and what it wraps, the latter
    with contextlib.ExitStack() as hooks:
        for name in dict.fromkeys(_around(sites) if ends is None else ends):
            for handle in _hooks(modules[name], name, passed, streams):
                hooks.callback(handle.remove)
        yield passed


def _around(sites: tuple[Site, ...]) -> Iterator[str]:
    """The modules around the first and around the last site, the innermost first."""
    for site in (sites[0], sites[-1]):
        parts = site.path.split(".")
        yield from (".".join(parts[:length]) for length in range(len(parts), 0, -1))


def _hooks(module: nn.Module, name: str, passed: Passed, streams: int) -> Iterator[Any]:
    def before(_: nn.Module, args: Any, kwargs: Any) -> None:
        found = _streams((args, kwargs), streams)
        passed.calls[name] = passed.calls.get(name, 0) + 1
        if found is not None:
            passed.before.setdefault(name, found)

    def after(_: nn.Module, args: Any, output: Any) -> None:
        found = _streams(output, streams)
        if found is not None:
            passed.after[name] = found

    yield module.register_forward_pre_hook(before, with_kwargs=True)
    yield module.register_forward_hook(after)


def _streams(values: Any, streams: int) -> Tensor | None:
    """The first tensor (..., n, C) among some values."""
    from torch.utils._pytree import tree_leaves

    for leaf in tree_leaves(values):
        shape: Any = getattr(leaf, "shape", ())
        if len(shape) >= 3 and shape[-2] == streams and leaf.is_floating_point() and shape[-1] > streams:
            return leaf
    return None


def found(
    passed: Passed, matrices: Tensor, numbers: Tensor | None, sites: tuple[Site, ...]
) -> tuple[tuple[str, str] | None, str]:
    """The innermost boundaries that are right about the first and the last site; or why there are none."""
    ends = []
    for site, whole in ((0, range(len(sites))), (len(sites) - 1, range(len(sites) - 1, -1, -1))):
        for name in dict.fromkeys(_around((sites[site],))):
            inside = [i for i in whole if f"{sites[i].path}.".startswith(f"{name}.")]
            contiguous = inside == list(whole[: len(inside)])
            if contiguous and _is_right(name, sorted(inside), passed, matrices, numbers):
                ends.append(name)
                break
        else:
            which = "first" if site == 0 else "last"
            return None, f"no boundary of a module shows the streams at the {which} site"
    return (ends[0], ends[1]), ""


def _is_right(name: str, inside: list[int], passed: Passed, matrices: Tensor, numbers: Tensor | None) -> bool:
    """Whether y - M x has no more directions than there are sites inside."""
    import torch

    x, y = passed.before.get(name), passed.after.get(name)
    if x is None or y is None or x.shape != y.shape or passed.calls[name] != 1:
        return False
    if len(inside) >= matrices.shape[-1] or not inside:
        return False
    with torch.no_grad():
        mixing = product(matrices[inside].to(torch.float64))
        before, after = (tokens_of(t.detach(), matrices, numbers).to(torch.float64) for t in (x, y))
        if mixing.shape[0] not in (1, before.shape[0]):
            return False
        left = torch.linalg.svdvals(after - mixing @ before)[:, len(inside)]
        size = torch.linalg.vector_norm(after, dim=(-2, -1))
        allowed = COARSE if min(torch.finfo(t.dtype).bits for t in (x, y)) < 32 else FINE
        return bool((left <= allowed * size).all())


def tokens_of(streams: Tensor, matrices: Tensor, numbers: Tensor | None) -> Tensor:
    """Streams (..., n, C) of the tokens that the matrices are of: (K, n, C)."""
    flat = streams.flatten(0, -3)
    fits = numbers is not None and matrices.shape[1] == len(numbers)
    return flat[numbers] if fits else flat


def product(matrices: Tensor) -> Tensor:
    """M_{L-1} ... M_0 of every token: (L, K, n, n) to (K, n, n)."""
    import torch

    while len(matrices) > 1:
        odd = matrices[len(matrices) // 2 * 2 :]
        matrices = torch.cat([matrices[1::2] @ matrices[: len(matrices) // 2 * 2 : 2], odd])
    return matrices[0]
