"""The operator that is measured is the one that is applied, after its cast to the dtype that it has there."""

from collections.abc import Iterator

import pytest
import torch
from small_models import FORMS, B, C, N, S, Streams
from torch import Tensor, nn

from mhc_diag.errors import NothingToCheck
from mhc_diag.sources.probe import probe

TOKENS = torch.randint(0, 11, (B, S), generator=torch.Generator().manual_seed(1))
FORMS_OF_ALL_DTYPES = [form for form in FORMS if form != "buffer"]  # that one fills float32 memory


@pytest.fixture
def default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def check(model: Streams, expected: torch.dtype = torch.float32) -> None:
    with torch.no_grad():
        model(TOKENS)
    applied = model.applied.to(expected)
    stack = probe(model, TOKENS)
    assert stack.matrices.dtype == expected
    assert torch.equal(stack.matrices, applied)  # nothing is rounded once more
    assert stack.provenance.certificates == (0.0,) * 3
    assert not stack.provenance.skipped


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS_OF_ALL_DTYPES)
def test_weights_of_16_bits(form: str, dtype: torch.dtype) -> None:
    check(Streams(form).to(dtype))


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_64_bits(form: str) -> None:
    check(Streams(form).double(), torch.float64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS)
def test_autocast_inside_the_model(form: str, dtype: torch.dtype) -> None:
    class Cast(Streams):
        def forward(self, tokens: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype):
                return super().forward(tokens)

    model = Cast(form)
    check(model)
    assert model.applied.dtype == dtype


def test_autocast_around_the_probe() -> None:
    model = Streams("matmul")
    with torch.autocast("cpu", torch.bfloat16):
        check(model)
    assert model.applied.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.usefixtures("default_dtype")
def test_another_default_dtype(dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    check(Streams("matmul"), torch.float64 if dtype == torch.float64 else torch.float32)


class Uneven(nn.Module):
    """Scales each channel by a little more than the one before it, so that no single number is right."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.embed, self.branch = nn.Embedding(11, C), nn.Linear(C, C)
        self.gate = nn.Parameter(1 + slope * torch.arange(C, dtype=torch.float64) / C)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)[:, :, None].repeat(1, 1, N, 1)
        return self.gate * x + self.branch(x.mean(2))[:, :, None]


@pytest.mark.parametrize(
    ("dtype", "slope"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1), (torch.float64, 1e-12)]
)
def test_channels_are_held_to_what_the_dtype_can_tell_apart(dtype: torch.dtype, slope: float) -> None:
    with pytest.raises(NothingToCheck) as error:
        probe(Uneven(slope).double().to(dtype), TOKENS)
    assert any("acts differently on different channels" in line for line in error.value.looked_at)


@pytest.mark.parametrize(("dtype", "slope"), [(torch.float32, 1e-6), (torch.float64, 1e-15)])
def test_what_differs_by_rounding_only_is_measured(dtype: torch.dtype, slope: float) -> None:
    stack = probe(Uneven(slope).double().to(dtype), TOKENS)
    (certificate,) = stack.provenance.certificates or (1.0,)
    assert 0 < certificate < slope
    assert (stack.matrices - (1 + slope / 2) * torch.eye(N, dtype=dtype)).abs().max() <= slope
