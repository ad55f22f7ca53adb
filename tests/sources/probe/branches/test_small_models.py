"""What branches read and write in small models, against the coefficients that they are made of."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import EXPAND, FORMS, Streams
from torch import Tensor, nn

from mhc_diag.analyse import analyse
from mhc_diag.records import MixingStack
from mhc_diag.sources.probe import probe

B, S, N, C, L = 2, 5, 4, 16, 3

Step = Callable[["Model", Tensor, int], Tensor]


class Model(nn.Module):
    """`streams` streams through L sites, each one call of `step`, with coefficients that it may use."""

    def __init__(self, step: Step, streams: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.step, self.streams = step, streams
        self.norm = nn.ModuleList(nn.LayerNorm(C) for _ in range(L))
        self.one = nn.ModuleList(nn.Linear(C, C) for _ in range(L))
        self.other = nn.ModuleList(nn.Linear(C, C) for _ in range(L))
        self.h = nn.Parameter(torch.randn(L, N))
        self.p = nn.Parameter(torch.randn(L, N))
        self.m = nn.Parameter(torch.randn(L, N, N))
        self.before: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.before = {}
        if self.streams > 1:
            x = x[:, :, None].expand(-1, -1, self.streams, -1)
        for site in range(L):
            x = self.step(self, x, site)
        return x

    def read(self, x: Tensor, site: int) -> Tensor:
        return (self.h[site][:, None] * x).sum(-2)

    def mixed(self, x: Tensor, site: int, f: Tensor) -> Tensor:
        return self.m[site] @ x + self.p[site][:, None] * f[..., None, :]


def measured(step: Step, streams: int = 1, dtype: torch.dtype = torch.float32) -> tuple[Model, MixingStack]:
    model = Model(step, streams).to(dtype).eval()
    x = torch.randn(B, S, C, generator=torch.Generator().manual_seed(1)).to(dtype)
    return model, probe(model, x)


def assert_all(found: Any, expected: Any, tolerance: float = 1e-6) -> None:
    assert found is not None
    assert (found - torch.as_tensor(expected)).abs().max() < tolerance


@pytest.mark.parametrize("layout", EXPAND)
@pytest.mark.parametrize("form", ["matmul", "in place", "baddbmm", "wide"])
def test_every_layout_and_the_forms_that_add(layout: str, form: str) -> None:
    assert form in FORMS
    model = Streams(form, layout).eval()
    stack = probe(model, torch.randint(0, 11, (2, 3), generator=torch.Generator().manual_seed(0)))
    assert_all(stack.pre, torch.stack([site.pre.detach() for site in model.sites])[:, None])  # type: ignore[misc]
    assert_all(stack.post, torch.stack([site.post.detach() for site in model.sites])[:, None])  # type: ignore[misc]


PLAIN: dict[str, tuple[Step, float, float]] = {
    "after a norm": (lambda s, x, i: x + s.one[i](s.norm[i](x)), 1, 1),
    "a root mean square": (
        lambda s, x, i: x + s.one[i](x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))), 1, 1
    ),
    "no norm": (lambda s, x, i: x + torch.tanh(s.one[i](x)), 1, 1),
    "half of it": (lambda s, x, i: x + s.one[i](torch.tanh(0.5 * x)), 0.5, 1),
    "residual scaling": (lambda s, x, i: x + 0.1 * s.one[i](s.norm[i](x)), 1, 0.1),
    "alpha": (lambda s, x, i: torch.add(x, s.one[i](s.norm[i](x)), alpha=0.1), 1, 0.1),
    "subtracted": (lambda s, x, i: x - s.one[i](s.norm[i](x)), 1, -1),
    "in place, into the branch": (lambda s, x, i: s.one[i](s.norm[i](x)).add_(x), 1, 1),
    "scaled in place": (lambda s, x, i: s.one[i](s.norm[i](x)).mul_(0.5).add_(x), 1, 1),
    "lerp": (lambda s, x, i: torch.lerp(x, s.one[i](s.norm[i](x)), 0.3), 1, 0.3),
    "two in one": (
        lambda s, x, i: x + (s.one[i](s.norm[i](x)) + s.other[i](s.norm[i](x))), 1, 1
    ),
    "a weight for each channel": (lambda s, x, i: x + s.h[0].repeat(4) * s.one[i](s.norm[i](x)), 1, 1),
    "after a norm of its own": (lambda s, x, i: x + F.layer_norm(s.one[i](s.norm[i](x)), (C,)), 1, 1),
    "scaled streams": (lambda s, x, i: 0.5 * x + s.one[i](s.norm[i](x)), 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_one_stream(name: str) -> None:
    step, pre, post = PLAIN[name]
    _, stack = measured(step)
    assert stack.matrices.shape == (L, B * S, 1, 1)
    assert_all(stack.pre, pre)
    assert_all(stack.post, post)


def _delayed(s: Model, x: Tensor, i: int) -> Tensor:
    """The weights of a site's read come from the streams of the site before."""
    h = s.before.get("h", torch.eye(N)[0].expand(B, S, N))
    s.before["used"] = torch.cat([s.before.get("used", h[:0]), h])
    s.before["h"] = torch.sigmoid(F.rms_norm(x.flatten(2), (N * C,)) @ s.one[i].weight.repeat(N, 1)[:, :N])
    return s.mixed(x, i, s.one[i](s.norm[i]((h[..., None] * x).sum(2))))


def _one_of_four(s: Model, x: Tensor, i: int) -> Tensor:
    f, mixed = s.one[i](s.norm[i](s.read(x, i))), s.m[i] @ x
    mixed[:, :, 1] += f
    return mixed


FOUR: dict[str, tuple[Step, bool]] = {
    "a module": (lambda s, x, i: s.mixed(x, i, s.one[i](s.norm[i](s.read(x, i)))), True),
    "a function": (lambda s, x, i: s.mixed(x, i, torch.tanh(F.linear(s.read(x, i), s.one[i].weight))), True),
    "a sum": (
        lambda s, x, i: s.mixed(
            x, i, s.one[i](s.norm[i](s.read(x, i))) + s.other[i](s.norm[i](s.read(x, i)))
        ), True,
    ),
    "a gate for each channel": (
        lambda s, x, i: s.mixed(x, i, s.one[i]((torch.sigmoid(s.other[i](x)) * x).sum(2))), False
    ),
    "a norm of each stream": (lambda s, x, i: s.mixed(x, i, s.one[i](s.read(s.norm[i](x), i))), False),
    "a read and a gate": (
        lambda s, x, i: s.mixed(
            x, i, s.one[i](s.norm[i](s.read(x, i)) * torch.sigmoid(s.other[i](x.mean(2))))
        ), False,
    ),
    "three reads": (
        lambda s, x, i: s.mixed(
            x, i, F.scaled_dot_product_attention(s.one[i](s.read(x, i)), x[:, :, 0], x[:, :, 1])
        ), False,
    ),
    "a choice by all streams": (
        lambda s, x, i: s.mixed(
            x, i, s.one[i](s.norm[i](s.read(x, i))) * (1.0 + F.one_hot(x.flatten(2).argmax(-1) % C, C))
        ), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUR)
def test_four_streams(name: str) -> None:
    step, linear = FOUR[name]
    model, stack = measured(step, N)
    assert stack.matrices.shape == (L, B * S, N, N)
    assert_all(stack.post, model.p.detach()[:, None])
    if linear:
        assert_all(stack.pre, model.h.detach()[:, None])
    else:
        assert stack.pre is None
        assert any("how the branch reads" in note for note in stack.provenance.notes)


def test_weights_of_the_site_before() -> None:
    model, stack = measured(_delayed, N)
    assert_all(stack.pre, model.before["used"].detach().view(L, B * S, N))
    assert_all(stack.post, model.p.detach()[:, None])


def test_a_branch_for_one_stream_alone() -> None:
    model, stack = measured(_one_of_four, N)
    assert_all(stack.pre, model.h.detach()[:, None])
    assert_all(stack.post, torch.tensor([0.0, 1.0, 0.0, 0.0]))


def test_branches_side_by_side_read_what_comes_into_the_first() -> None:
    def step(s: Model, x: Tensor, i: int) -> Tensor:
        u = s.norm[i](x)
        return x + 2 * s.one[i](u) + 3 * s.other[i](u)

    _, stack = measured(step)
    assert stack.reads_from == (0, 0, 2, 2, 4, 4)
    assert_all(stack.pre, 1)
    assert_all(stack.post, torch.tensor([2.0, 3.0] * L)[:, None, None])
    kernel = {t.statistic: t.log10 for t in analyse(stack).triangles if t.metric == "depth_kernel"}["max"]
    assert 10 ** kernel[0, 2] == pytest.approx(2) and 10 ** kernel[1, 5] == pytest.approx(3)
    assert kernel[0, 1] == -float("inf")  # what the first adds is not what the second reads


def test_streams_of_several_depths_are_no_one_read() -> None:
    def step(s: Model, x: Tensor, i: int) -> Tensor:
        first = s.before.setdefault("first", s.other[i](s.norm[0](x)))
        return x + s.one[i](s.norm[i](x) + first)

    _, stack = measured(step)
    assert stack.pre is not None
    assert bool((stack.pre[0] == 1).all()) and bool(stack.pre[1:].isnan().all())
    assert any("at 2 of 3 sites: it reads them in several ways" in note for note in stack.provenance.notes)


def test_what_is_added_is_no_weight_times_an_output() -> None:
    """Each stream gets another function: no p, and none is made up."""

    def step(s: Model, x: Tensor, i: int) -> Tensor:
        u = s.norm[i](s.read(x, i))
        return s.m[i] @ x + torch.stack([s.one[i](u), s.other[i](u), u.tanh(), u.exp()], 2)

    model, stack = measured(step, N)
    assert stack.post is None
    assert any("how the branch is written" in note for note in stack.provenance.notes)
    assert_all(stack.pre, model.h.detach()[:, None])
    assert not any(t.metric == "depth_kernel" for t in analyse(stack).triangles)


def test_an_output_of_zero_says_nothing_of_its_weights() -> None:
    def step(s: Model, x: Tensor, i: int) -> Tensor:
        if i == 1:
            nn.init.zeros_(s.one[i].weight)
            nn.init.zeros_(s.one[i].bias)
        return s.mixed(x, i, s.one[i](s.norm[i](s.read(x, i))))

    model, stack = measured(step, N)
    assert stack.post is not None and bool(stack.post[1].isnan().all())
    assert_all(stack.post[[0, 2]], model.p.detach()[[0, 2], None])
    assert any("1 of 3 sites: its output is 0" in note for note in stack.provenance.notes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_formats(dtype: torch.dtype) -> None:
    """What is applied: the coefficients after their cast, and p to within the rounding of what is added."""
    model, stack = measured(FOUR["a module"][0], N, dtype)
    assert_all(stack.pre, model.h.detach()[:, None].to(torch.float64), 1e-6)
    assert_all(stack.post, model.p.detach()[:, None].to(torch.float64), 4 * torch.finfo(dtype).eps)


def test_tokens_that_are_not_finite_are_not_known_and_spoil_no_other() -> None:
    model = Model(FOUR["a module"][0], N).eval()
    x = torch.randn(B, S, C, generator=torch.Generator().manual_seed(1))
    x[0, 2, 3] = torch.inf
    stack = probe(model, x)
    assert stack.post is not None
    good = torch.arange(B * S) != 2
    assert_all(stack.post[:, good], model.p.detach()[:, None])
    assert bool(stack.post[:, 2].isnan().all())


def test_the_kernel_of_a_model_is_its_jacobian() -> None:
    """K_kj is the derivative of what branch k reads by what branch j puts out."""
    model, stack = measured(FOUR["a module"][0], N)
    found = {t.statistic: t.log10 for t in analyse(stack).triangles if t.metric == "depth_kernel"}["max"]
    m, h, p = (x.detach() for x in (model.m, model.h, model.p))
    assert 10 ** found[0, 1] == pytest.approx(abs(float(h[1] @ p[0])), rel=1e-4)
    assert 10 ** found[0, 2] == pytest.approx(abs(float(h[2] @ m[1] @ p[0])), rel=1e-4)
    assert 10 ** found[1, 2] == pytest.approx(abs(float(h[2] @ p[1])), rel=1e-4)
