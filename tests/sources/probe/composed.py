"""Models put together at random from a recipe, with two accounts of what they apply.

The first is their own: every step says which matrix it applied. The second knows nothing of any matrix: the
forward pass is run again with all coefficients and branches as they were recorded, and once more with a
random change of all streams at one point. What arrives at a later point is what the operator does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from composed_parts import BRANCHES, INJECTIONS, LAYOUTS, STEPS
from composed_traps import TRAPS, UNSEEN
from torch import Tensor, nn

WORDS = 13


@dataclass(frozen=True)
class Block:
    """One site: what happens to the streams, what the branch is and how it is added."""

    steps: tuple[str, ...]
    branch: str = "norm and linear"
    injection: str = "add"


@dataclass(frozen=True)
class Recipe:
    """All that a model is made of; equal recipes make equal models."""

    batch: int
    tokens: int
    streams: int
    channels: int
    blocks: tuple[Block, ...]
    entry: str = "embedding"
    expansion: str = "expand"
    layout: str = "bsnc"
    early: int = 0
    """How many of the blocks come before the streams are expanded."""
    shared: bool = False
    """Whether all blocks use the weights of the first."""
    double: bool = True
    seed: int = 0

    @property
    def plain(self) -> bool:
        """Whether there is nothing in it that cannot or need not be measured."""
        steps = [step for block in self.blocks for step in block.steps]
        traps = any(step not in STEPS and step not in LAYOUTS for step in steps)
        few = self.channels < 2 * self.streams or (self.streams == 1 and self.batch * self.tokens == 1)
        return not traps and not self.early and not few

    @property
    def ambiguous(self) -> bool:
        """Whether what follows a norm may as well be a branch, as what was before it is added again."""
        steps = [step for block in self.blocks for step in block.steps if step in TRAPS]
        return "long skip" in steps and len({*steps}) > 1


@dataclass
class Point:
    """The streams at one point of the forward pass, and from where their tokens and channels came."""

    block: int
    streams: Tensor
    origin: Tensor
    trap: bool = False
    expanded: bool = False


@dataclass
class Tape:
    """What one forward pass computed: written down, or played back."""

    playing: bool = False
    values: list[Tensor] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    change: tuple[int, Tensor] | None = None
    origin: Tensor = field(default_factory=lambda: torch.empty(0))
    truth: dict[int, Tensor | None] = field(default_factory=dict)
    at: int = 0

    def freeze(self, value: Tensor) -> Tensor:
        if not self.playing:
            self.values.append(value.detach().clone())
            return value
        value = self.values[self.at]
        self.at += 1
        return value.double() if value.is_floating_point() else value

    def by_token(self, matrix: Tensor) -> Tensor:
        """[B,S,n,n] as (T, n, n), each token in the place that it had at the entry."""
        placed = torch.empty_like(matrix.flatten(0, 1))
        placed[self.origin[..., 0].flatten() // self.origin.shape[2]] = matrix.flatten(0, 1)
        return placed.detach()

    def pass_by(self, block: int, y: Tensor, *, trap: bool = False, expanded: bool = False) -> Tensor:
        if self.change is not None and self.change[0] == len(self.points):
            y = y + self.change[1]
        self.points.append(Point(block, y.detach().clone(), self.origin.clone(), trap, expanded))
        return y


class Net(nn.Module):
    """A residual network that serves as a branch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Part(nn.Module):
    """A block: all weights that any step or branch could need."""

    def __init__(self, n: int, channels: int) -> None:
        super().__init__()
        self.n, self.channels = n, channels
        self.weights, self.gate = nn.Linear(channels, n * n), nn.Linear(channels, 1)
        self.static = nn.Parameter(torch.randn(n, n))
        self.shift = nn.Parameter(torch.randn(n, channels))
        self.pre, self.post = nn.Parameter(torch.randn(n, 1)), nn.Parameter(torch.randn(n, 1))
        self.channel = nn.Parameter(torch.randn(channels))
        self.norm, self.linear = nn.LayerNorm(channels), nn.Linear(channels, channels)
        self.inner = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels), nn.GELU())
        self.net = Net(self.inner)
        self.flat = nn.Linear(n * channels, n * channels)
        self.convolution = nn.Conv1d(channels, channels, 3, padding=1)
        self.attention = nn.Linear(channels, 3 * channels)
        self.recipe = Block(())
        self.number = 0
        self.tape: Tape | None = None
        self.first = torch.empty(0)

    def freeze(self, value: Tensor) -> Tensor:
        return value if self.tape is None else self.tape.freeze(value)

    def moved(self, move: Callable[[Tensor], Tensor]) -> None:
        """Say that tokens or channels, with all their streams, were moved."""
        if self.tape is not None:
            self.tape.origin = move(self.tape.origin)

    def forward(self, y: Tensor, layout: str) -> Tensor:
        there, back = LAYOUTS[layout]
        y = back(there(y), self)
        truth: Tensor | None = torch.eye(self.n, dtype=y.dtype).expand(*y.shape[:2], -1, -1)
        for step in self.recipe.steps:
            if step in LAYOUTS:
                y = LAYOUTS[step][1](LAYOUTS[step][0](y), self)
                continue
            y, m = (STEPS | TRAPS | UNSEEN)[step](self, y)
            truth = None if m is None or truth is None else m @ truth
            if self.tape is not None:
                y = self.tape.pass_by(self.number, y, trap=step in TRAPS)
        f = self.freeze(BRANCHES[self.recipe.branch](self, y))
        y = INJECTIONS[self.recipe.injection](self, y, f, there)
        if self.tape is not None:
            self.tape.truth[self.number] = None if truth is None else self.tape.by_token(truth)
            y = self.tape.pass_by(self.number + 1, y)
        return y


class Composed(nn.Module):
    """Entry, expansion, blocks, head."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.words, self.places = nn.Embedding(WORDS, recipe.channels), nn.Embedding(4, recipe.channels)
        self.project = nn.Linear(recipe.channels, recipe.channels)
        self.parts = nn.ModuleList(
            Part(1 if i < recipe.early else recipe.streams, recipe.channels)
            for i, _ in enumerate(recipe.blocks)
        )
        if recipe.shared and not recipe.early:
            for part in self.parts:
                part.linear, part.weights = self.parts[0].linear, self.parts[0].weights
        self.tape: Tape | None = None
        self.to(torch.float64 if recipe.double else torch.float32)

    def forward(self, given: Tensor) -> Tensor:
        r = self.recipe
        x = ENTRIES[r.entry](self, given)
        if self.tape is not None:
            self.tape.origin = torch.arange(x.numel()).view(x.shape)
        y = x.unsqueeze(2) if r.early else EXPANSIONS[r.expansion](x, r.streams)
        first = y
        for i, (block, part) in enumerate(zip(r.blocks, self.parts, strict=True)):
            if i and i == r.early:
                y = EXPANSIONS[r.expansion](y.squeeze(2), r.streams)
            if self.tape is not None and i in (0, r.early):
                y = self.tape.pass_by(i, y, expanded=True)
            part.recipe, part.number, part.tape = block, i, self.tape
            first = y if i in (0, r.early) else first
            part.first = first
            y = part(y, "bsnc" if i < r.early else r.layout)
        return torch.tanh(y.sum(2))


def given(recipe: Recipe) -> Tensor:
    """What the model is called with."""
    draw = torch.Generator().manual_seed(recipe.seed)
    if recipe.entry in ("floats", "projected floats"):
        x = torch.randn(recipe.batch, recipe.tokens, recipe.channels, generator=draw)
        return x.double() if recipe.double else x
    return torch.randint(0, WORDS, (recipe.batch, recipe.tokens), generator=draw)


ENTRIES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "embedding": lambda m, x: m.words(x),
    "positions": lambda m, x: m.words(x) + m.places(torch.arange(x.shape[1])),
    "scaled": lambda m, x: m.words(x) * 3.0,
    "normed": lambda m, x: nn.functional.layer_norm(m.words(x), (m.recipe.channels,)),
    "projected": lambda m, x: m.project(m.words(x)),
    "floats": lambda m, x: x,
    "projected floats": lambda m, x: m.project(x),
}
# one stream [B,S,C] to the same in n copies [B,S,n,C]
EXPANSIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "expand": lambda x, n: x.unsqueeze(2).expand(-1, -1, n, -1),
    "repeat": lambda x, n: x.unsqueeze(2).repeat(1, 1, n, 1),
    "stack": lambda x, n: torch.stack([x] * n, 2),
    "cat": lambda x, n: torch.cat([x.unsqueeze(2)] * n, 2),
    "wide": lambda x, n: x.repeat(1, 1, n).unflatten(2, (n, -1)),
    "interleave": lambda x, n: x.repeat_interleave(n, dim=0).unflatten(0, (-1, n)).transpose(1, 2),
    "last": lambda x, n: x.unsqueeze(3).expand(-1, -1, -1, n).transpose(2, 3),
    "first": lambda x, n: x.expand(n, *x.shape).contiguous().permute(1, 2, 0, 3),
    "tiled": lambda x, n: x.unsqueeze(2).tile(1, 1, n, 1),
}


def record(recipe: Recipe) -> Tape:
    """A forward pass of the model without any probe, with everything written down."""
    model, tape = Composed(recipe).eval(), Tape()
    model.tape = tape
    with torch.no_grad():
        model(given(recipe))
    return tape


def play(recipe: Recipe, tape: Tape, change: tuple[int, Tensor] | None = None) -> list[Point]:
    """The points of a forward pass in float64, all coefficients frozen and one point changed."""
    model = Composed(recipe).double().eval()
    model.tape = Tape(playing=True, values=tape.values, change=change)
    x = given(recipe)
    with torch.no_grad():
        model(x.double() if x.is_floating_point() else x)
    return model.tape.points


def by_origin(point: Point, streams: Tensor) -> Tensor:
    """[B,S,n,C] as (T, C, n), each token and channel in the place that it had at the entry."""
    b, s, n, c = streams.shape
    placed = torch.empty(b * s * c, n, dtype=streams.dtype)
    placed[point.origin.flatten()] = streams.transpose(2, 3).reshape(-1, n)
    return placed.view(b * s, c, n)
