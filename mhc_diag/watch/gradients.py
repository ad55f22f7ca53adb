"""How the gradient of the streams grows on its way back, beside what the mixing alone would make of it.

x (T, n, C) the streams before the first site, y those after the last, g_x and g_y the gradients of the loss.

observed   max over tokens of rms(g_x) / rms(g_y): through mixing and branches
predicted  max over tokens of rms((M_{L-1} ... M_0)^T g_y) / rms(g_y): of the same gradient, by mixing alone

The two are equal where no branch passes a gradient on. The streams are read at the boundaries of modules, and
a boundary is believed only if y - M x has, for every token, no more than one direction for each site inside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mhc_diag.watch.history import on_its_way

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mhc_diag.records import Site

OBSERVED, PREDICTED, STEP = "mhc/gradient_gain", "mhc/gradient_gain_predicted", "mhc/gradient_step"
OFF = "they were not asked for"
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


class Gradients:
    """Gains of the gradient over the recorded steps; the latest that went all the way back is kept.

    Args:
        reason: why none are taken; empty to take them.
    """

    def __init__(self, reason: str = "") -> None:
        self.ends: tuple[str, str] | None = None
        """Paths of the modules before which and after which the streams are read, once they are found."""
        self.reason = reason
        """Why there are no gains; empty where there are, or as long as that is not known."""
        self._passed = Passed()
        self._latest: tuple[int, Tensor, Any] | None = None
        self._told: dict[str, float] = {}

    @contextlib.contextmanager
    def listening(self, model: nn.Module, sites: tuple[Site, ...], streams: int) -> Iterator[None]:
        """Take the streams at boundaries while the model runs."""
        self._passed = passed = Passed()
        names = self.ends if self.ends is not None else () if self.reason else _around(sites)
        with contextlib.ExitStack() as hooks:
            for name in dict.fromkeys(names):
                module = model.get_submodule(name)
                for handle in _hooks(module, name, passed, streams):
                    hooks.callback(handle.remove)
            yield

    def expect(self, step: int, matrices: Tensor, numbers: Tensor | None, sites: tuple[Site, ...]) -> None:
        """Await the gradient of the pass that just ended; after the first pass, find the boundaries.

        Args:
            step: of the training run.
            matrices: (L, K, n, n).
            numbers: (K) which tokens those are of; None if of all, or the same for all.
            sites: L of them.
        """
        passed, self._passed = self._passed, Passed()
        if self.ends is None:
            if not self.reason:
                self.ends, self.reason = _found(passed, matrices, numbers, sites)
            if self.ends is None:
                return
        x, y = passed.before.get(self.ends[0]), passed.after.get(self.ends[1])
        if x is None or y is None or not (x.requires_grad and y.requires_grad):
            return
        come: list[Tensor] = []
        hook: Any = y.register_hook
        hook(lambda gradient: come.append(gradient.detach()))

        def arrived(gradient: Tensor) -> None:
            if come:
                first, last = (_tokens(g, matrices, numbers) for g in (gradient.detach(), come[-1]))
                self._latest = step, *on_its_way(_gains(matrices, first, last))

        hook = x.register_hook
        hook(arrived)

    def metrics(self, *, wait: bool = False) -> dict[str, float]:
        """The latest gains that have arrived, under flat names, with the step they are of.

        Args:
            wait: for the device.
        """
        if self._latest is not None:
            step, gains, event = self._latest
            if event is None or wait or event.query():
                if event is not None:
                    event.synchronize()
                observed, predicted = gains.tolist()
                self._told = {OBSERVED: observed, PREDICTED: predicted, STEP: float(step)}
                self._latest = None
        return dict(self._told)


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


def _found(
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
        mixing = _product(matrices[inside].to(torch.float64))
        before, after = (_tokens(t.detach(), matrices, numbers).to(torch.float64) for t in (x, y))
        if mixing.shape[0] not in (1, before.shape[0]):
            return False
        left = torch.linalg.svdvals(after - mixing @ before)[:, len(inside)]
        size = torch.linalg.vector_norm(after, dim=(-2, -1))
        allowed = COARSE if min(torch.finfo(t.dtype).bits for t in (x, y)) < 32 else FINE
        return bool((left <= allowed * size).all())


def _tokens(streams: Tensor, matrices: Tensor, numbers: Tensor | None) -> Tensor:
    """Streams (..., n, C) of the tokens that the matrices are of: (K, n, C)."""
    flat = streams.flatten(0, -3)
    fits = numbers is not None and matrices.shape[1] == len(numbers)
    return flat[numbers] if fits else flat


def _product(matrices: Tensor) -> Tensor:
    """M_{L-1} ... M_0 of every token: (L, K, n, n) to (K, n, n)."""
    import torch

    while len(matrices) > 1:
        odd = matrices[len(matrices) // 2 * 2 :]
        matrices = torch.cat([matrices[1::2] @ matrices[: len(matrices) // 2 * 2 : 2], odd])
    return matrices[0]


def _gains(matrices: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Observed and predicted gain, (2), over the tokens that have a gradient."""
    import torch

    with torch.no_grad():
        wide = torch.float32 if matrices.device.type == "mps" else torch.float64
        first, last = first.to(wide), last.to(wide)
        mixed = _product(matrices.to(wide)).mT @ last
        sizes = [torch.linalg.vector_norm(t, dim=(-2, -1)) for t in (first, mixed, last)]
        ratios = [torch.where(sizes[2] == 0, 0.0, size / sizes[2]) for size in sizes[:2]]
        return torch.stack([ratio.amax() for ratio in ratios])
