"""Random compositions: each site's operator is right, or the site is left out with a reason. Never wrong."""

from __future__ import annotations

from functools import reduce

import pytest
import torch
from composed import ENTRIES, EXPANSIONS, Block, Composed, Recipe, Tape, by_origin, given, play, record
from composed_parts import BRANCHES, INJECTIONS, LAYOUTS, STEPS
from composed_traps import TRAPS
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st
from torch import Tensor

from mhc_diag.errors import NothingToCheck
from mhc_diag.records import MixingStack
from mhc_diag.sources.probe import probe

QUICK = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=1000)


@st.composite
def recipes(draw: st.DrawFn, *, traps: bool) -> Recipe:
    streams = draw(st.sampled_from([4, 2, 3, 1, 5, 8]))
    enough = [2 * streams, 2 * streams + 1, 3 * streams, 4 * streams, streams * max(2, streams)]
    few = [2 * streams - 1, streams] if traps and streams > 1 else []
    steps = st.sampled_from([*STEPS, *LAYOUTS])
    some = steps | st.sampled_from([*TRAPS]) if traps else steps
    blocks = st.builds(
        Block,
        st.lists(some, max_size=3).map(tuple),
        st.sampled_from([*BRANCHES]),
        st.sampled_from([*INJECTIONS]),
    )
    made = tuple(draw(st.lists(blocks, min_size=1, max_size=4 if traps else 3)))
    return Recipe(
        batch=draw(st.sampled_from([2, 1, 4, streams])),
        tokens=draw(st.sampled_from([3, 1, 2, 4])),
        streams=streams,
        channels=draw(st.sampled_from(enough) | st.sampled_from(enough + few)),
        blocks=made,
        entry=draw(st.sampled_from([*ENTRIES])),
        expansion=draw(st.sampled_from([*EXPANSIONS])),
        layout=draw(st.sampled_from([*LAYOUTS])),
        early=draw(st.integers(0, len(made) - 1)) if traps else 0,
        shared=draw(st.booleans()),
        double=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
    )


def block_of(path: str) -> int:
    return int(path.split(".")[1])


def check(recipe: Recipe) -> None:
    tape = record(recipe)
    try:
        stack = probe(Composed(recipe), given(recipe))
    except NothingToCheck as e:
        assert not recipe.plain, e.looked_at
        assert e.looked_at
        return
    if recipe.ambiguous or any("already" in note for note in stack.provenance.notes):
        return  # what is a branch, or what is a stream of the input, has more than one right answer
    blocks = [int(site.path.split(".")[1]) for site in stack.sites]
    assert blocks == sorted(blocks) and {*blocks} == {*range(min(blocks), max(blocks) + 1)}, blocks
    if recipe.plain:
        assert len({*blocks}) == len(recipe.blocks)
        assert not stack.provenance.skipped
        assert max(stack.provenance.certificates or [1.0]) < 1e-5
    check_numbers(recipe, tape, stack, blocks)


def check_numbers(recipe: Recipe, tape: Tape, stack: MixingStack, blocks: list[int]) -> None:
    around = [s.what for s in stack.provenance.skipped if s.what.startswith("path around sites")]
    products: dict[int, Tensor] = {}
    for k, matrix in zip(blocks, stack.matrices.double(), strict=True):
        products[k] = matrix @ products[k] if k in products else matrix
    first, last = blocks[0], blocks[-1]
    factors = [1.0]
    for note in stack.provenance.notes:
        if note.startswith("the constant factor"):  # all or a part of it comes before the streams
            factors += [float(note.split()[3]), float(note.split()[3]) / 3]
    for k, product in products.items():
        if not any(f"parts.{k}" in what for what in around):
            scales = factors if k == first else [1.0]
            assert applies(recipe, tape, product, k, k, scales, entry=k == first), f"block {k}"
            own = tape.truth[k]
            if own is not None and own.shape == product.shape:
                own = own.double()
                assert any(close(c * product, own, recipe, c) for c in scales), f"block {k}"
    if not around:
        whole = reduce(lambda product, m: m @ product, products.values())
        assert applies(recipe, tape, whole, first, last, factors, entry=True), "composite"


def close(one: Tensor, two: Tensor, recipe: Recipe, factor: float = 1.0) -> bool:
    """Whether numbers agree as far as they can; factors are written down with a few digits only."""
    tolerance = 1e-10 if recipe.double and factor == 1 else 1e-5
    largest = two.abs().max().clamp(min=1.0)
    return one.shape == two.shape and bool((one - two).abs().max() <= tolerance * largest)


def applies(
    recipe: Recipe, tape: Tape, matrix: Tensor, first: int, last: int, scales: list[float], *, entry: bool
) -> bool:
    """Whether a change of the streams before block `first` arrives after block `last` as the matrix says.

    A path that was cut, such as by a norm, begins after it. Then the first site is measured from there.
    """
    before = play(recipe, tape)
    end = next(i for i, p in enumerate(before) if p.block == last + 1)
    inside = [i for i, p in enumerate(before) if p.block == first]
    starts = [next((i for i in inside if before[i].expanded), inside[0])]
    if entry:
        starts += inside if any(before[i].trap for i in inside) else []
    for start in starts:
        draw = torch.Generator().manual_seed(start)
        change = torch.randn(before[start].streams.shape, generator=draw, dtype=torch.float64)
        after = play(recipe, tape, (start, change))
        arrived = by_origin(before[end], after[end].streams - before[end].streams)
        sent = by_origin(before[start], change)
        if matrix.shape[0] == sent.shape[0] and matrix.shape[2] == sent.shape[2]:
            expected = torch.einsum("tij,tcj->tci", matrix, sent)
        elif matrix.shape[2] in (1, sent.shape[2]) and arrived.shape == sent.shape:
            expected = of_some_token(matrix, sent, arrived)
        else:
            continue
        if any(close(c * expected, arrived, recipe, c) for c in scales):
            return True
    return False


def of_some_token(matrix: Tensor, sent: Tensor, arrived: Tensor) -> Tensor:
    """What should arrive where a layer took tokens or streams for channels: the nearest of all tokens'."""
    matrix = matrix * torch.eye(sent.shape[2]) if matrix.shape[2] == 1 else matrix
    products = torch.einsum("uij,tcj->tciu", matrix, sent)
    nearest = (products - arrived[..., None]).abs().sum(2, keepdim=True).argmin(-1, keepdim=True)
    return products.gather(-1, nearest.expand(*arrived.shape, 1))[..., 0]


@QUICK
@for_all(recipes(traps=False))
def test_what_can_be_measured_is_right(recipe: Recipe) -> None:
    check(recipe)


@QUICK
@for_all(recipes(traps=True))
def test_what_cannot_be_measured_is_never_wrong(recipe: Recipe) -> None:
    check(recipe)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(1, 1, 2, 6, (Block(("wide",), injection="assigned to one"),)),  # a view into memory's middle
        Recipe(2, 3, 1, 8, (Block(("gate of channels",), injection="cat"),)),  # joined to an empty part
        Recipe(2, 3, 4, 16, (Block(("to whole numbers",)),)),
        Recipe(2, 3, 4, 16, (Block(("gate of one class",)),)),
        Recipe(2, 3, 4, 16, (Block(("stream by channel",)),)),
        Recipe(2, 3, 3, 9, (Block(("channels of one stream rolled", "filled")),)),
        Recipe(2, 3, 4, 16, (Block(("linear", "static")), Block(("static",)))),
        Recipe(2, 3, 8, 15, (Block(("static",), injection="assigned to one"),)),
        Recipe(2, 3, 2, 8, (Block((), "linear", "out"),), entry="normed"),
    ],
    ids=lambda recipe: "-".join((*recipe.blocks[0].steps, recipe.blocks[0].injection)),
)
def test_what_was_once_wrong(recipe: Recipe) -> None:
    check(recipe)


def test_a_branch_added_to_one_stream_beside_one_that_was_moved() -> None:
    moved = Block(("tokens of one stream rolled",), injection="assigned to one")
    check(Recipe(batch=2, tokens=2, streams=2, channels=5, blocks=(Block(()), moved), early=1))


def test_a_gate_of_one_channel_of_one_stream() -> None:
    check(Recipe(batch=2, tokens=3, streams=4, channels=16, blocks=(Block(("gate of one element",)),)))


def test_a_branch_with_more_sites_than_the_model() -> None:
    class Deep(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = torch.nn.Embedding(5, 16), torch.nn.LayerNorm(16)
            self.inner = torch.nn.ModuleList(torch.nn.Linear(16, 16) for _ in range(3))

        def forward(self, tokens: Tensor) -> Tensor:
            y = self.embed(tokens).unsqueeze(2).repeat(1, 1, 4, 1)
            f = self.norm(y.mean(2))
            for layer in self.inner:
                f = f + layer(f).tanh()
            return 0.5 * y + f[:, :, None]

    assert probe(Deep(), torch.arange(4).view(2, 2)).matrices.shape[-1] == 4


@pytest.mark.xfail(strict=True, reason="after the end of the path only updates by a plain sum are named")
@pytest.mark.parametrize("injection", ["baddbmm", "into one", "out"])
def test_what_comes_after_the_end_of_the_path_is_named(injection: str) -> None:
    blocks = (Block(()), Block(("tanh",), injection=injection))
    recipe = Recipe(batch=2, tokens=3, streams=4, channels=16, blocks=blocks)
    assert probe(Composed(recipe), given(recipe)).provenance.skipped


@pytest.mark.slow
@LONG
@for_all(recipes(traps=False))
def test_many_that_can_be_measured(recipe: Recipe) -> None:
    check(recipe)


@pytest.mark.slow
@pytest.mark.xfail(
    strict=False,  # of some 1,000 recipes two kinds, looked at one by one: in both the matrices are right
    reason="the check expects a block as one where index_add parts it and the rest is named as skipped, and "
    "tokens by their place where they were rolled before there were streams, and stand by their origin",
)
@LONG
@for_all(recipes(traps=True))
def test_many_that_cannot_be_measured(recipe: Recipe) -> None:
    check(recipe)
