"""Least squares on values: right within its bound whatever the precision, and never right by chance."""

import pytest
import torch
from torch import Tensor

from mhc_diag.sources.probe.fitted import enough, fit

T, C = 3, 48
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def drawn(seed: int, n: int, alike: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Streams that differ by a fraction `alike`, a branch, and a mixing near the identity or not."""
    draw = torch.Generator().manual_seed(seed)
    common = torch.randn(T, C, 1, generator=draw)
    x = (common + alike * torch.randn(T, C, n, generator=draw)).to(dtype)
    f = torch.randn(T, C, 1, generator=draw).to(dtype)
    m = torch.randn(T, n, n, generator=draw)
    if seed % 2:
        m = torch.eye(n) + 10.0 ** -(seed % 5) * m
    return x.double(), f.double(), m.double()


def rounded_once(x: Tensor, m: Tensor, f: Tensor, p: Tensor, dtype: torch.dtype) -> Tensor:
    return (x @ m.mT + f @ p).to(dtype)


def rounded_at_every_step(x: Tensor, m: Tensor, f: Tensor, p: Tensor, dtype: torch.dtype) -> Tensor:
    total = (f @ p).to(dtype)
    for j in range(x.shape[-1]):
        total = (total + (x[..., j : j + 1] * m[:, :, j][:, None]).to(dtype)).to(dtype)
    return total


@pytest.mark.parametrize("kernel", [rounded_once, rounded_at_every_step])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_the_error_is_within_the_bound(kernel, dtype: torch.dtype, n: int) -> None:
    for seed in range(40):
        for alike in (1.0, 0.1, 0.001):
            x, f, m = drawn(seed, n, alike, dtype)
            p = torch.randn(1, n, generator=torch.Generator().manual_seed(seed)).double()
            made = fit(x, f, kernel(x, m, f, p, dtype), torch.finfo(dtype))
            assert made.linear or alike < 0.1  # of streams that are nearly copies, all may cancel
            assert bool(((made.matrix - m).abs() <= made.bound).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_is_of_use(dtype: torch.dtype) -> None:
    x, f, m = drawn(0, 4, 1.0, dtype)
    made = fit(x, f, rounded_once(x, m, f, torch.ones(1, 4).double(), dtype), torch.finfo(dtype))
    assert float(made.bound.amax()) < 8 * torch.finfo(dtype).eps * float(m.abs().amax())


def test_what_rounding_swallows_is_in_the_bound() -> None:
    x, f, m = drawn(0, 4, 1.0, torch.bfloat16)
    m = torch.eye(4).double().expand(T, 4, 4) * (1 - 1e-5)
    y = (x @ m.mT).to(torch.bfloat16)
    assert torch.equal(y.double(), x)  # nothing is left of the difference, and no residual shows it
    made = fit(x, f[..., :0], y, torch.finfo(torch.bfloat16))
    assert bool(((made.matrix - m).abs() <= made.bound).all())


def test_copies_of_a_stream_have_no_bound() -> None:
    x, f, m = drawn(0, 4, 0.0, torch.float32)
    made = fit(x, f, x @ m.mT, torch.finfo(torch.float32))
    assert made.linear
    assert bool((made.bound == torch.inf).all())


def test_a_stream_that_is_the_branch_has_no_bound() -> None:
    x, _, m = drawn(0, 4, 1.0, torch.float32)
    made = fit(x, x[..., :1], x @ m.mT, torch.finfo(torch.float32))
    assert bool((made.bound > 1e6).all(-1).all(-1).all())


def test_branches_may_depend_on_one_another() -> None:
    x, f, m = drawn(0, 4, 1.0, torch.float32)
    made = fit(x, torch.cat([f, -2 * f, f * 0], -1), x @ m.mT + f, torch.finfo(torch.float32))
    assert made.linear
    assert torch.allclose(made.matrix, m)
    assert float(made.bound.amax()) < 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alike", [1.0, 1e-2, 1e-5])
def test_a_branch_that_is_not_given_does_not_fit(dtype: torch.dtype, alike: float) -> None:
    x, f, m = drawn(0, 4, alike, dtype)
    y = (x @ m.mT + f).to(dtype)
    assert not fit(x, x[..., :0], y, torch.finfo(dtype)).linear


NOT_LINEAR = {
    "activation": torch.tanh,
    "softmax over channels": lambda x: x.softmax(1),
    "layer over channels": lambda x: torch.linspace(-1, 1, C * C).double().view(C, C).cos() @ x,
    "attention": lambda x: x.mean(0, keepdim=True).expand_as(x),
    "gate of each channel": lambda x: x * torch.linspace(0.9, 1, C).double()[:, None],
    "mean removed": lambda x: x - x.mean(1, keepdim=True),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", NOT_LINEAR)
def test_what_is_not_linear_does_not_fit(name: str, dtype: torch.dtype) -> None:
    x, f, _ = drawn(0, 4, 1.0, dtype)
    y = NOT_LINEAR[name](x).to(dtype)
    assert not fit(x, x[..., :0], y, torch.finfo(dtype)).linear
    assert not fit(x, f, y, torch.finfo(dtype)).linear


def test_noise_is_not_linear_and_small_noise_is_in_the_bound() -> None:
    x, f, m = drawn(0, 4, 1.0, torch.float32)
    draw = torch.Generator().manual_seed(1)
    for noise in (1e-8, 1e-7, 3e-7, 1e-6, 1e-5, 1e-3):
        y = x @ m.mT + f + noise * torch.randn(T, C, 4, generator=draw).double()
        made = fit(x, f, y, torch.finfo(torch.float32))
        assert made.linear == (noise < 1e-5)
        assert bool(((made.matrix - m).abs() <= made.bound).all())


def test_a_token_that_is_no_number_spoils_no_other() -> None:
    x, f, m = drawn(0, 4, 1.0, torch.float32)
    y = x @ m.mT
    y[1, 2, 3] = torch.nan
    made = fit(x, f, y, torch.finfo(torch.float32))
    assert made.linear
    assert made.matrix.isnan().any(-1).any(-1).tolist() == [False, True, False]


def test_with_few_spare_equations_anything_fits_and_so_nothing_counts() -> None:
    assert not enough(4, 4, 0)
    assert not enough(12, 4, 1)
    assert enough(13, 4, 1)
    assert not enough(31, 8, 8)
    assert enough(32, 8, 8)
