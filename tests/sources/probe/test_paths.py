"""Where the residual path goes: what is a site, what is none, and what cannot be measured and says so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mhc_diag.errors import NothingToCheck
from mhc_diag.records import MixingStack
from mhc_diag.sources.probe import probe

C = 16
H = torch.arange(16.0).view(4, 4) / 10


class Model(nn.Module):
    def __init__(self, run: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = run
        self.a = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C))
        self.b = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C))
        self.gate = nn.Linear(C, 1)
        self.norm = nn.LayerNorm(C)
        self.channel = nn.Parameter(torch.randn(C))
        self.mix = nn.Parameter(H.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def measure(run: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...] = (2, 3, C)) -> MixingStack:
    torch.manual_seed(1)
    return probe(Model(run), torch.randn(shape))


def first_token(stack: MixingStack) -> list[float]:
    return [round(float(v), 6) for v in stack.matrices[:, 0].flatten()]


def widen(x: Tensor) -> Tensor:
    return x.unsqueeze(2).repeat(1, 1, 4, 1)


def mixed(m: Any, y: Tensor) -> Tensor:
    return torch.einsum("ij,bsjc->bsic", m.mix, y)


@pytest.mark.parametrize(
    ("run", "gains"),
    [
        (lambda m, x: 0.5 * x + m.a(x), [0.5]),
        (lambda m, x: m.a(x) - 0.5 * x, [-0.5]),
        (lambda m, x: x + m.a(x) + m.b(x), [1, 1]),
        (lambda m, x: x + (m.a(x) + m.b(x)), [1]),
        (lambda m, x: x + m.channel * m.a(x), [1]),
        (lambda m, x: (x + m.channel) + m.a(x), [1]),
        (lambda m, x: torch.lerp(x, m.a(x), 0.25), [0.75]),
        (lambda m, x: x + checkpoint(m.a, x, use_reentrant=False), [1]),
        (lambda m, x: x.mul_(0.5).add_(m.a(x.clone())), [0.5]),
        (lambda m, x: m.b(x) + F.dropout(x, 0.5, training=m.training), [1]),
        (lambda m, x: x + x.tanh(), [1]),
    ],
)
def test_plain_paths(run: Callable[[Any, Tensor], Tensor], gains: list[float]) -> None:
    stack = measure(run)
    assert first_token(stack) == gains
    assert not stack.provenance.skipped


def test_a_gate_of_each_token_is_its_coefficient() -> None:
    model = Model(lambda m, x: torch.sigmoid(m.gate(x)) * x + m.a(x))
    x = torch.randn(2, 3, C)
    gate = torch.sigmoid(model.gate(x)).detach().flatten()
    assert torch.allclose(probe(model, x).matrices.flatten(), gate, atol=1e-7)


def test_a_constant_factor_of_an_embedding_is_no_mixing() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.inner = nn.Embedding(8, C), Model(lambda m, x: 0.5 * (x + m.a(x)) + m.b(x))

        def forward(self, tokens: Tensor) -> Tensor:
            return self.inner(self.embed(tokens) * C**0.5)

    stack = probe(Scaled(), torch.arange(6).view(2, 3))
    assert first_token(stack) == [1, 0.5]
    assert stack.provenance.notes == (
        "the constant factor 4 before the first branch counts as part of the entry",
    )


def test_a_gate_before_the_first_branch_is_mixing() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        gated = torch.arange(1.0, 7.0).view(2, 3, 1) * x
        return gated + m.a(gated)

    assert measure(run).matrices.flatten().tolist() == [1, 2, 3, 4, 5, 6]


def test_streams_filled_one_by_one_in_place() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = widen(x)
        out = torch.zeros_like(y)
        for i in range(4):
            for j in range(4):
                out[:, :, i] += m.mix[i, j] * y[:, :, j]
        out[:, :, 2] = 0
        out[:, :, 2] += y[:, :, 1]
        return out + m.a(x)[:, :, None]

    expected = H.clone()
    expected[2] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    stack = measure(run)
    assert torch.allclose(stack.matrices, expected.expand(1, 6, 4, 4))
    assert not stack.provenance.skipped


def test_two_embeddings_are_one_entry() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(8, C), nn.Embedding(3, C)
            self.inner = Model(lambda m, x: x + m.a(x))

        def forward(self, tokens: Tensor) -> Tensor:
            return self.inner(self.words(tokens) + self.places(torch.arange(3)))

    assert first_token(probe(Positions(), torch.arange(6).view(2, 3))) == [1]


def test_a_branch_added_to_one_stream_in_place_is_a_site_of_all() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = widen(x)
        for _ in range(2):
            y = mixed(m, y)
            y[:, :, 0] += m.a(y.mean(2))
        return y

    stack = measure(run)
    assert torch.allclose(stack.matrices, H.expand(2, 6, 4, 4))


def test_a_branch_assigned_to_one_stream_is_a_site_of_all() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = widen(x)
        for _ in range(2):
            y = mixed(m, y)
            y[:, :, 1] = y[:, :, 1] + m.a(y.mean(2))
        return y

    stack = measure(run)
    assert torch.allclose(stack.matrices, H.expand(2, 6, 4, 4))


def test_a_layer_over_all_streams_and_channels_is_a_branch() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(4 * C, 4 * C)

        def forward(self, x: Tensor) -> Tensor:
            y = x.unsqueeze(-1).repeat(1, 1, 1, 4)  # the stream axis last: neighbours share their channel
            mixed = torch.einsum("ij,bscj->bsci", H, y)
            return mixed + self.layer(y.flatten(2)).view(y.shape)

    stack = probe(Flat(), torch.randn(2, 3, C))
    assert torch.allclose(stack.matrices[0], H.expand(6, 4, 4))


def test_a_branch_joined_to_the_other_streams_is_a_site_of_all() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = widen(x)
        for _ in range(2):
            y = mixed(m, y)
            y = torch.cat([y[:, :, :1] + m.a(y.mean(2))[:, :, None], y[:, :, 1:]], dim=2)
        return y

    stack = measure(run)
    assert torch.allclose(stack.matrices, H.expand(2, 6, 4, 4))


def test_two_mixings_between_branches_are_their_product() -> None:
    stack = measure(lambda m, x: mixed(m, mixed(m, widen(x))) + m.a(x)[:, :, None])
    assert torch.allclose(stack.matrices[0], (H @ H).expand(6, 4, 4), atol=1e-6)


def test_a_residual_inside_the_branch_is_no_site_of_the_streams() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        y = widen(x)
        for _ in range(3):
            inner = y.mean(2)
            inner = inner + m.a(inner)
            y = mixed(m, y) + (inner + m.b(inner))[:, :, None]
        return y

    stack = measure(run)
    assert torch.allclose(stack.matrices, H.expand(3, 6, 4, 4))
    assert not stack.provenance.skipped


def test_a_module_that_runs_twice_is_two_sites() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        for _ in range(2):
            x = 0.5 * x + m.a(x)
        return x

    stack = measure(run)
    assert first_token(stack) == [0.5, 0.5]
    assert [site.depth for site in stack.sites] == [0, 1]


def test_token_numbers_are_in_the_order_of_the_input() -> None:
    stack = measure(lambda m, x: torch.arange(1.0, 7.0).view(2, 3, 1) * x + m.a(x))
    assert stack.matrices.flatten().tolist() == [1, 2, 3, 4, 5, 6]
    assert stack.provenance.token_shape == (2, 3)


def rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("norm", [rms, lambda x: F.normalize(x, dim=-1), lambda x: F.layer_norm(x, (C,))])
def test_a_normalised_path_is_split_and_says_so(norm: Callable[[Tensor], Tensor]) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = norm(x + m.a(x))
        return norm(x + m.b(x))

    stack = measure(run)
    assert first_token(stack) == [1]
    assert [s.reason.startswith("a normalisation") for s in stack.provenance.skipped] == [True]


def test_an_embedding_layer_of_a_floating_input_is_an_entry() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, C, 2, stride=2)
            self.first = nn.Parameter(torch.randn(1, 1, C))
            self.inner = Model(lambda m, x: 0.5 * x + m.a(x))

        def forward(self, image: Tensor) -> Tensor:
            patches = self.embed(image).flatten(2).transpose(1, 2)
            return self.inner(torch.cat([self.first.expand(2, -1, -1), patches], dim=1))

    stack = probe(Patches(), torch.randn(2, 3, 4, 4))
    assert stack.provenance.token_shape == (2, 5)
    assert stack.matrices.flatten().tolist() == [0.5] * 10


def test_streams_over_images() -> None:
    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed = nn.Conv2d(3, C, 1)
            self.branch = nn.Conv2d(C, C, 3, padding=1)

        def forward(self, image: Tensor) -> Tensor:
            y = self.embed(image).unsqueeze(1).repeat(1, 4, 1, 1, 1)
            for _ in range(2):
                y = torch.einsum("ij,bjchw->bichw", H, y) + self.branch(y.mean(1))[:, None]
            return y.sum(1)

    stack = probe(Images(), torch.randn(2, 3, 5, 6))
    assert torch.allclose(stack.matrices, H.expand(2, 60, 4, 4))


def test_a_branch_that_is_one_layer_is_a_branch() -> None:
    assert first_token(measure(lambda m, x: 0.5 * x + m.a[1](x))) == [0.5]
    assert first_token(measure(lambda m, x: 0.5 * x + m.norm(x))) == [0.5]


def test_a_normalised_embedding_is_an_entry() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.norm(x)
        x = 2 * x + m.a(x)
        return 2 * x + m.b(x)

    stack = measure(run)
    assert first_token(stack) == [2, 2]
    assert not stack.provenance.skipped


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda m, x: m.channel * x + m.a(x), "differently on different channels"),
        (lambda m, x: F.dropout(x, 0.5, training=True) + m.a(x), "differently on different channels"),
        (lambda m, x: m.a(x), "layer over channels"),
        (lambda m, x: x.flip(-1) + x + m.a(x), "sum of different channels or tokens"),
        (lambda m, x: x.roll(1, dims=1) + x + m.a(x), "sum of different channels or tokens"),
        (lambda m, x: x.cumsum(1) + m.a(x), "cumsum"),
    ],
)
def test_what_cannot_be_measured_is_not_reported_as_a_number(
    run: Callable[[Any, Tensor], Tensor], reason: str
) -> None:
    with pytest.raises(NothingToCheck) as caught:
        measure(run)
    assert any(reason in line for line in caught.value.looked_at), caught.value.looked_at


def test_too_few_channels_for_a_certificate() -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("ij,bsjc->bsic", H, widen(x)) + self.branch(x)[:, :, None]

    with pytest.raises(NothingToCheck) as caught:
        probe(Narrow(), torch.randn(1, 2, 6))
    assert any("6 channels are too few to tell 4 streams" in line for line in caught.value.looked_at)


def test_a_path_around_sites_is_named() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        first = x + m.a(x)
        second = first + m.b(first)
        return second + x

    stack = measure(run)
    assert [s.reason for s in stack.provenance.skipped] == ["streams of an earlier point are added again"]


def test_only_the_site_with_channel_dependent_mixing_is_left_out() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = 0.5 * x + m.a(x)
        x = m.channel * x + m.b(x)
        x = 0.5 * x + m.a(x)
        return 0.5 * x + m.b(x)

    stack = measure(run)
    assert first_token(stack) == [0.5, 0.5]
    assert [s.reason.split(" (")[0] for s in stack.provenance.skipped] == [
        "a gap separates it from the sites that were composed",
        "acts differently on different channels",
    ]


def test_a_nan_coefficient_stays_visible() -> None:
    stack = measure(lambda m, x: torch.tensor([1.0, float("nan"), 2.0]).view(1, 3, 1) * x + m.a(x))
    values = stack.matrices.flatten()
    assert values.isnan().tolist() == [False, True, False] * 2
    assert values[2] == 2
    assert stack.provenance.certificates == (0.0,)


def test_no_embedding_and_no_floating_input() -> None:
    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x

    with pytest.raises(NothingToCheck, match="no residual mixing was measured in Counts") as caught:
        probe(Counts(), torch.arange(6).view(2, 3))
    assert "no floating-point input" in caught.value.hint


def test_inference_mode_inside_the_model() -> None:
    @torch.inference_mode()
    def run(m: Any, x: Tensor) -> Tensor:
        return torch.matmul(m.mix, widen(x)) + m.a(x)[:, :, None]

    assert torch.allclose(measure(run).matrices[0], H.expand(6, 4, 4))


def test_a_compiled_model_is_measured_without_compiling() -> None:
    model = torch.compile(Model(lambda m, x: 0.5 * x + m.a(x)), backend="eager")
    assert first_token(probe(model, torch.randn(2, 3, C))) == [0.5]


def test_a_second_path_is_named() -> None:
    class EncoderDecoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.encoder = Model(lambda m, x: (lambda h: 2 * h + m.b(h))(x + m.a(x)))
            self.decoder = Model(
                lambda m, x: (lambda h: (lambda g: g + m.a(g))(h + m.b(h)))(0.5 * x + m.a(x))
            )

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            read = self.encoder.norm(self.encoder(source)).mean(1, keepdim=True)
            return self.decoder(target) + self.decoder.b(read)

    stack = probe(EncoderDecoder(), (torch.randn(2, 5, C), torch.randn(2, 3, C)))
    assert first_token(stack) == [0.5, 1, 1, 1]
    assert stack.provenance.token_shape == (2, 3)
    note = "another residual path, 2 sites up to encoder.b, is not part of this report"
    assert note in stack.provenance.notes


@pytest.mark.parametrize(
    "obstacle", [torch.relu, lambda x: x @ torch.full((C, C), 0.1), lambda x: x.cumsum(1)]
)
def test_what_comes_after_the_end_of_a_path_is_named(obstacle: Callable[[Tensor], Tensor]) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        x = 0.5 * x + m.a(x)
        x = obstacle(0.5 * x + m.b(x))
        x = x + m.a(x)
        return x + m.b(x)

    stack = measure(run)
    assert first_token(stack) == [0.5, 0.5]
    assert [s.what for s in stack.provenance.skipped] == ["2 residual updates after the last site, first a"]


def test_a_residual_inside_a_branch_of_untracked_numbers_is_none_of_the_path() -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        for _ in range(2):
            inner = m.a(x)
            inner = inner + m.b(inner)
            x = x + inner
        return x

    stack = measure(run)
    assert first_token(stack) == [1, 1]
    assert not stack.provenance.skipped


def test_a_model_of_nothing_but_nan_has_no_certificate() -> None:
    stack = measure(lambda m, x: float("nan") * x + m.a(x))
    assert bool(stack.matrices.isnan().all())
    assert [certificate != certificate for certificate in stack.provenance.certificates or ()] == [True]
