"""How branches read and write the streams, in small models that know it of themselves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import EXPAND, FORMS, B, S, Streams
from torch import Tensor, nn

from mhc_diag.maths.kernel import depth_kernel
from mhc_diag.records import MixingStack
from mhc_diag.sources.probe import probe

C, N, DEPTH = 16, 4, 3
TOKENS = torch.randint(0, 11, (2, 5), generator=torch.Generator().manual_seed(0))

Step = Callable[[Any, int, Tensor], Tensor]


class Model(nn.Module):
    """An embedding and sites that a function makes, of one stream or of several."""

    def __init__(self, step: Step, streams: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.step, self.streams = step, streams
        self.embed = nn.Embedding(11, C)
        self.norm = nn.ModuleList(nn.LayerNorm(C) for _ in range(DEPTH))
        self.a = nn.ModuleList(
            nn.Sequential(nn.Linear(C, 32), nn.GELU(), nn.Linear(32, C)) for _ in range(DEPTH)
        )
        self.b = nn.ModuleList(nn.Linear(C, C) for _ in range(DEPTH))
        self.gate = nn.Linear(C, streams)
        self.pre = nn.Parameter(torch.randn(DEPTH, streams, 1))
        self.post = nn.Parameter(torch.randn(DEPTH, streams, 1))
        self.mix = nn.Parameter(torch.randn(DEPTH, streams, streams))
        self.read: list[Tensor] = []
        self.written: list[Tensor] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.read, self.written = [], []
        x = self.embed(tokens)
        if self.streams > 1:
            x = x[:, :, None].repeat(1, 1, self.streams, 1)
        for i in range(DEPTH):
            x = self.step(self, i, x)
        return x.sum(2) if self.streams > 1 else x


def _normed(m: Model, i: int, x: Tensor) -> Tensor:
    return m.a[i](m.norm[i](x))


def _in_place(m: Model, i: int, x: Tensor) -> Tensor:
    x = x.clone()
    x += _normed(m, i, x)
    return x


def _scaled_in_place(m: Model, i: int, x: Tensor) -> Tensor:
    f = _normed(m, i, x)
    f *= 0.25
    return x + f


def _shared_input(m: Model, i: int, x: Tensor) -> Tensor:
    u = m.norm[i](x)
    return x + 0.5 * (m.a[i](u) + m.b[i](u))


@pytest.mark.parametrize(
    ("step", "pre", "post"),
    [
        (lambda m, i, x: x + _normed(m, i, x), 1, 1),
        (lambda m, i, x: x + m.a[i](x), 1, 1),
        (lambda m, i, x: x + 0.1 * _normed(m, i, x), 1, 0.1),
        (lambda m, i, x: torch.add(x, _normed(m, i, x), alpha=0.1), 1, 0.1),
        (lambda m, i, x: x - _normed(m, i, x), 1, -1),
        (lambda m, i, x: _normed(m, i, x).add_(x), 1, 1),
        (lambda m, i, x: x + m.a[i](0.5 * x), 0.5, 1),
        (lambda m, i, x: x + m.a[i](F.rms_norm(2 * x, (C,))), 2, 1),
        (lambda m, i, x: x + torch.tanh(x @ m.b[i].weight), 1, 1),
        (_in_place, 1, 1),
        (_scaled_in_place, 1, 0.25),
        (_shared_input, 1, 0.5),
    ],
)
def test_one_stream(step: Step, pre: float, post: float) -> None:
    stack = probe(Model(step), TOKENS)
    assert torch.allclose(_known(stack.pre), torch.full((DEPTH, 10, 1), float(pre)))
    assert torch.allclose(_known(stack.post), torch.full((DEPTH, 10, 1), float(post)))
    assert not stack.reads_from


@pytest.mark.parametrize(
    ("form", "layout"), [*((f, "bsnc") for f in FORMS), *(("matmul", x) for x in EXPAND)]
)
def test_every_form_of_mixing_in_every_layout(form: str, layout: str) -> None:
    model = Streams(form, layout).eval()
    tokens = torch.randint(0, 11, (B, S), generator=torch.Generator().manual_seed(1))
    stack = probe(model, tokens)
    for found, name in ((stack.pre, "pre"), (stack.post, "post")):
        own = torch.stack([getattr(site, name) for site in model.sites])[:, None].detach()
        assert torch.allclose(_known(found), own.expand_as(_known(found)), atol=1e-5)


def _static(m: Model, i: int, x: Tensor) -> Tensor:
    m.read.append(m.pre[i].expand(2, 5, N, 1))
    m.written.append(m.post[i].expand(2, 5, N, 1))
    return m.mix[i] @ x + m.post[i] * _normed(m, i, (m.pre[i] * x).sum(2))[:, :, None]


def _one_hot(m: Model, i: int, x: Tensor) -> Tensor:
    """Reads the first stream and writes to the second, in place."""
    f = _normed(m, i, x[:, :, 0])
    x = (m.mix[i] @ x).clone()
    x[:, :, 1] += f
    m.read.append(torch.eye(N)[0].view(N, 1).expand(2, 5, N, 1))
    m.written.append(torch.eye(N)[1].view(N, 1).expand(2, 5, N, 1))
    return x


def _dynamic(m: Model, i: int, x: Tensor) -> Tensor:
    """Coefficients of every token, made of the mean of the streams, which is a read, too."""
    mean = x.mean(2)
    m.read.append(torch.sigmoid(m.gate(mean))[..., None])
    m.written.append(torch.tanh(m.gate(mean))[..., None])
    return m.mix[i] @ x + m.written[-1] * _normed(m, i, (m.read[-1] * x).sum(2))[:, :, None]


def _delayed(m: Model, i: int, x: Tensor) -> Tensor:
    """The coefficients of a read are made at the site before."""
    last = m.written[-1] if i else m.pre[0].expand(2, 5, N, 1)
    m.read.append(last)
    m.written.append(torch.sigmoid(m.gate(x.mean(2)))[..., None])
    return m.mix[i] @ x + m.written[-1] * _normed(m, i, (last * x).sum(2))[:, :, None]


def _baddbmm(m: Model, i: int, x: Tensor) -> Tensor:
    m.read.append(m.pre[i].expand(2, 5, N, 1))
    m.written.append(m.post[i].expand(2, 5, N, 1))
    f = _normed(m, i, (m.pre[i] * x).sum(2))
    mixed = (m.mix[i] @ x).flatten(0, 1)
    return torch.baddbmm(mixed, m.written[-1].flatten(0, 1), f.view(-1, 1, C)).view(x.shape)


@pytest.mark.parametrize("step", [_static, _one_hot, _dynamic, _delayed, _baddbmm])
def test_several_streams(step: Step) -> None:
    model = Model(step, N).eval()
    stack = probe(model, TOKENS)
    assert torch.allclose(_known(stack.pre), torch.stack(model.read).view(DEPTH, 10, N), atol=1e-5)
    assert torch.allclose(_known(stack.post), torch.stack(model.written).view(DEPTH, 10, N), atol=1e-5)
    assert not stack.provenance.notes


def test_parallel_branches_read_the_streams_of_the_first_site_of_them() -> None:
    """What the first of them adds does not reach the second."""

    def step(m: Model, i: int, x: Tensor) -> Tensor:
        u = m.norm[i](x)
        return x + m.a[i](u) + m.b[i](u)

    stack = probe(Model(step), TOKENS)
    assert stack.reads_from == (0, 0, 2, 2, 4, 4)
    kernel = depth_kernel(stack.matrices, _known(stack.pre), _known(stack.post), stack.reads_from)
    expected = torch.tensor([[j < k - k % 2 for j in range(6)] for k in range(6)]).double()
    assert torch.allclose(kernel, expected.expand_as(kernel))
    assert not kernel[:, expected == 0].any()


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (lambda m, i, x: x + m.a[i](x) * torch.sigmoid(m.b[i](2 * x)), "in several ways"),
        (lambda m, i, x: x + m.a[i](torch.tanh(x) + torch.tanh(2 * x)), "in several ways"),
        (lambda m, i, x: x + m.a[i](x * torch.linspace(0, 1, C)), "otherwise than as one sum"),
        (lambda m, i, x: x + m.a[i](x[..., :8].repeat(1, 1, 2)), "otherwise than as one sum"),
    ],
)
def test_a_read_that_is_no_single_row_is_not_known(step: Step, why: str) -> None:
    stack = probe(Model(step), TOKENS)
    assert stack.pre is None
    assert any(why in note and "3 of 3 sites" in note for note in stack.provenance.notes)


def test_streams_that_are_normed_before_they_are_summed() -> None:
    def step(m: Model, i: int, x: Tensor) -> Tensor:
        return m.mix[i] @ x + m.post[i] * m.a[i](F.rms_norm(x, (C,)).sum(2))[:, :, None]

    stack = probe(Model(step, N), TOKENS)
    assert stack.pre is None
    assert stack.post is not None


def test_an_injection_that_is_no_weight_a_stream_is_not_known() -> None:
    def step(m: Model, i: int, x: Tensor) -> Tensor:
        f = m.a[i]((m.pre[i] * x).sum(2))[:, :, None]
        return m.mix[i] @ x + (f * torch.linspace(0, 1, C) if i == 1 else m.post[i] * f)

    stack = probe(Model(step, N), TOKENS)
    post = stack.post
    assert post is not None
    assert post.isnan().all(dim=(1, 2)).tolist() == [False, True, False]
    assert any("1 of 3 sites: how its branch is injected" in note for note in stack.provenance.notes)


def test_a_branch_that_gives_zero_has_no_direction() -> None:
    def step(m: Model, i: int, x: Tensor) -> Tensor:
        return m.mix[i] @ x + m.post[i] * m.a[i]((m.pre[i] * x).sum(2))[:, :, None]

    model = Model(step, N)
    model.a[1][2].weight.data.zero_()
    model.a[1][2].bias.data.zero_()
    post = probe(model, TOKENS).post
    assert post is None or bool(post[1].isnan().all())
    assert post is not None
    assert bool(post[0].isfinite().all())


class Rebased(Model):
    """The same function of the tokens, with its streams in another basis."""

    def __init__(self, basis: Tensor) -> None:
        super().__init__(_static, N)
        self.basis = basis
        inverse = torch.linalg.inv(basis)
        self.mix.data = basis @ self.mix.data @ inverse
        self.pre.data = (self.pre.data.mT @ inverse).mT
        self.post.data = basis @ self.post.data

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.basis @ self.embed(tokens)[:, :, None].repeat(1, 1, N, 1)
        for i in range(DEPTH):
            x = self.step(self, i, x)
        return x


def test_the_kernel_of_a_model_does_not_depend_on_the_basis_of_its_streams() -> None:
    basis = torch.linalg.qr(torch.randn(N, N, generator=torch.Generator().manual_seed(1)))[0]
    basis = basis * torch.tensor([0.5, 1.0, 2.0, 3.0])
    plain, other = probe(Model(_static, N), TOKENS), probe(Rebased(basis), TOKENS)
    kernels = [depth_kernel(s.matrices, _known(s.pre), _known(s.post)) for s in (plain, other)]
    assert torch.allclose(*kernels, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain.matrices[1:], other.matrices[1:], atol=0.1)
    assert _loop(plain)[0, 2, 0] == pytest.approx(kernels[0][0, 2, 0].item(), rel=1e-4)


def _loop(stack: MixingStack) -> Tensor:
    pre, post, m = _known(stack.pre), _known(stack.post), stack.matrices
    made = torch.zeros(pre.shape[1], DEPTH, DEPTH)
    for t in range(pre.shape[1]):
        made[t, 1, 0], made[t, 2, 1] = pre[1, t] @ post[0, t], pre[2, t] @ post[1, t]
        made[t, 2, 0] = pre[2, t] @ m[1, t] @ post[0, t]
    return made


def _known(rows: Tensor | None) -> Tensor:
    assert rows is not None
    return rows
