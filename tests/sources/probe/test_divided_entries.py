"""Entries that hold several streams already: inputs with a stream axis, and fractions of the channels."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.sources.probe import probe
from mhc_diag.sources.probe.space import Division, Space

B, S, N, C = 2, 3, 4, 16


class Block(nn.Module):
    """Two sites of streams that come in as they are, in any layout; `applied` is (L, B*S, n, n)."""

    def __init__(self, to_bsnc: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.to_bsnc, self.back = to_bsnc, back
        self.weights = nn.ModuleList(nn.Linear(C, N * N) for _ in range(2))
        self.branch = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C), nn.Tanh())
        self.applied: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.applied = []
        for weights in self.weights:
            y = self.to_bsnc(x)
            m = weights(torch.tanh(y.mean(2))).view(B, S, N, N)
            self.applied.append(m.detach().flatten(0, 1))
            x = self.back(torch.einsum("bsij,bsjc->bsic", m, y)) + self.back(
                self.branch(y[:, :, 0])[:, :, None].expand(-1, -1, N, -1)
            )
        return x


LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "b s n c": (lambda x: x, lambda y: y),
    "b n s c": (lambda x: x.transpose(1, 2), lambda y: y.transpose(1, 2).contiguous()),
    "n b s c": (lambda x: x.permute(1, 2, 0, 3), lambda y: y.permute(2, 0, 1, 3).contiguous()),
    "b s (n c)": (lambda x: x.unflatten(2, (N, C)), lambda y: y.flatten(2)),
    "s b (n c)": (lambda x: x.unflatten(2, (N, C)).transpose(0, 1), lambda y: y.transpose(0, 1).flatten(2)),
    "b s c n": (lambda x: x.transpose(2, 3), lambda y: y.transpose(2, 3).contiguous()),
    "b s (c n)": (lambda x: x.unflatten(2, (C, N)).transpose(2, 3), lambda y: y.transpose(2, 3).flatten(2)),
    "(b n) s c": (
        lambda x: x.unflatten(0, (B, N)).transpose(1, 2),
        lambda y: y.transpose(1, 2).flatten(0, 1),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_streams_in_the_input(layout: str) -> None:
    block = Block(*LAYOUTS[layout])
    x = block.back(torch.randn(B, S, N, C, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        block(x)
    applied = torch.stack(block.applied)
    stack = probe(block, x)
    tokens = applied.unflatten(1, (B, S)).transpose(1, 2).flatten(1, 2) if layout[0] == "s" else applied
    assert torch.allclose(stack.matrices, tokens, atol=1e-5)
    assert max(stack.provenance.certificates or [1.0]) < 1e-5
    assert any("holds 4 streams already" in note for note in stack.provenance.notes)


class Fractions(nn.Module):
    """Two streams of two fractions each: mixing over all four, of half the channels."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.depth = nn.Embedding(11, C), depth
        self.branch = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C), nn.Tanh())
        self.mixings = nn.Parameter(torch.randn(depth, 4, 4))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)[:, :, None].repeat(1, 1, 2, 1)
        for mixing in self.mixings:
            parts = x.unflatten(3, (2, C // 2)).flatten(2, 3)  # b s (n f) c
            mixed = torch.einsum("ij,bsjc->bsic", mixing, parts)
            x = mixed.unflatten(2, (2, 2)).flatten(3) + self.branch(x.sum(2))[:, :, None]
        return x.sum(2)


def test_fractions_of_the_channels() -> None:
    model = Fractions()
    stack = probe(model, torch.randint(0, 11, (B, S), generator=torch.Generator().manual_seed(1)))
    assert stack.matrices.shape == (2, B * S, 4, 4)
    for matrix, mixing in zip(stack.matrices, model.mixings, strict=True):
        assert torch.allclose(matrix, mixing.detach().expand(B * S, 4, 4))
    assert stack.provenance.notes[0] == (
        "the entry embed holds 2 streams already: its elements in steps of 8, as the model mixes over them"
    )


def test_tokens_of_an_embedding_are_never_taken_for_streams() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.tokens = nn.Embedding(11, C), nn.Parameter(torch.randn(S, S))
            self.branch = nn.Linear(C, C)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embed(tokens)
            x = x + self.branch(x)
            x = torch.einsum("st,btc->bsc", self.tokens, x)
            return x + self.branch(x)

    stack = probe(Mixer(), torch.randint(0, 11, (B, S)))
    assert stack.matrices.flatten().tolist() == [1.0] * B * S
    assert [s.what for s in stack.provenance.skipped] == [
        "1 residual updates after the last site, first branch"
    ]


@pytest.mark.parametrize(
    ("division", "expected"),
    [
        (Division(16, 4), ((2, 3), 16)),
        (Division(48, 4), ((2, 3), 16)),
        (Division(4, 4), ((2, 3, 4), 4)),
    ],
)
def test_the_space_of_a_divided_entry(division: Division, expected: Any) -> None:
    shape = (2, 4, 3, 16) if division.step == 48 else (2, 3, 4, 16)
    space = Space.of(torch.empty(shape), divisions=(division,))
    assert (space.token_shape, space.channels) == expected
    labels = space.labels(torch.empty(shape))
    assert labels.unique(return_counts=True)[1].unique().tolist() == [4]
    assert labels.max() == space.tokens * space.channels - 1


def test_a_division_that_does_not_fit_is_left_out() -> None:
    assert Space.of(torch.empty(2, 3, 16), divisions=(Division(5, 2),)).divisions == ()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_the_user_gives(layout: str) -> None:
    class Unmixed(nn.Module):
        """M = I, from which no layout can be found."""

        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Linear(C, C)

        def forward(self, x: Tensor) -> Tensor:
            y = LAYOUTS[layout][0](x)
            return x + LAYOUTS[layout][1](self.branch(torch.tanh(y)))

    x = LAYOUTS[layout][1](torch.randn(B, S, N, C, generator=torch.Generator().manual_seed(0)))
    stack = probe(Unmixed(), x, streams=N, layout=layout)
    assert torch.equal(stack.matrices[0], torch.eye(N).expand(B * S, N, N))
    assert stack.provenance.notes[0].endswith("as told")
    tokens = (S, B) if layout[0] == "s" else (B, S)
    assert stack.provenance.token_shape == tokens


def test_a_number_of_streams_that_the_user_gives() -> None:
    model = nn.Sequential(nn.Identity())
    model.forward = lambda x: x + torch.tanh(x)  # type: ignore[method-assign]
    stack = probe(model, torch.randn(B, S, N, C), streams=N)
    assert torch.equal(stack.matrices[0], torch.eye(N).expand(B * S, N, N))
    assert probe(model, torch.randn(B, S, N, C)).matrices.shape == (1, B * S * N, 1, 1)
    with pytest.raises(NothingToCheck) as caught:
        probe(model, torch.randn(B, S, N, C), streams=5)
    assert "1 sites with n = 1" in caught.value.looked_at


@pytest.mark.parametrize(
    ("layout", "streams", "message"),
    [
        ("b s C", None, "names no axes"),
        ("b b n c", None, "names no axes"),
        ("b s c", None, "without streams n"),
        ("b s n", None, "without channels c"),
        ("b s (n c)", None, "does not tell the number of streams"),
        ("b n c", None, "their shapes: (2, 3, 4, 16)"),
        ("b n s c", 4, "their shapes: (2, 3, 4, 16)"),
    ],
)
def test_a_layout_that_is_none(layout: str, streams: int | None, message: str) -> None:
    model = nn.Sequential(nn.Identity())
    model.forward = lambda x: x + torch.tanh(x)  # type: ignore[method-assign]
    with pytest.raises(MhcDiagError) as caught:
        probe(model, torch.randn(B, S, N, C), streams=streams, layout=layout)
    assert message in caught.value.message
