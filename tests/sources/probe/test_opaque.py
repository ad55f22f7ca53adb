"""Operations through which no tangent passes, registered here: what is measured of them, and what is not.

They compute with numpy, so that nothing of them can be seen but what they take and give. The truth is the M
that they keep.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mhc_diag.analyse import analyse
from mhc_diag.errors import NothingToCheck
from mhc_diag.records import MixingStack
from mhc_diag.render import table
from mhc_diag.schema import from_document, to_document
from mhc_diag.sources.probe import probe

B, S, C = 2, 3, 64
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
KEPT: dict[bytes, np.ndarray] = {}
"""The M of each call of `fused`, by the streams it was called with: it may be called with others as well."""


def array(x: Tensor) -> Any:
    return x.detach().double().numpy()


def operation(name: str, mutates: Sequence[str] = ()) -> Callable[..., Any]:
    return torch.library.custom_op(f"mhc_diag_tests::{name}", mutates_args=tuple(mutates))


@operation("post")
def post(x: Tensor, f: Tensor, m: Tensor, p: Tensor) -> Tensor:
    y = array(m) @ array(x) + array(p)[..., None] * array(f)[..., None, :]
    return torch.from_numpy(y).to(x.dtype)


@operation("mix")
def mix(x: Tensor, m: Tensor) -> Tensor:
    return torch.from_numpy(array(m) @ array(x)).to(x.dtype)


@operation("post_in_place", ["x"])
def post_in_place(x: Tensor, f: Tensor, m: Tensor) -> None:
    x.copy_(torch.from_numpy(array(m) @ array(x) + array(f)[..., None, :]))


@operation("post_into", ["out"])
def post_into(out: Tensor, x: Tensor, f: Tensor, m: Tensor) -> None:
    out.copy_(torch.from_numpy(array(m) @ array(x) + array(f)[..., None, :]))


@operation("post_elsewhere")
def post_elsewhere(x: Tensor, f: Tensor, m: Tensor) -> Tensor:
    """[B,S,n,C] in, [n,S,B*C] out would be none; [S,B,n*C] is one that is used."""
    y = array(m) @ array(x) + array(f)[..., None, :]
    return torch.from_numpy(y).transpose(0, 1).flatten(2).contiguous().to(x.dtype)


@operation("fused")
def fused(x: Tensor, f: Tensor, w: Tensor, p: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Coefficients, mixing, injection and the next branch's input in one, as real kernels have it."""
    streams = array(x)
    scaled = streams / np.sqrt((streams**2).mean((-1, -2), keepdims=True) + 1e-6)
    m = np.exp(array(w)[0] + strength * np.tanh(np.einsum("bsjc,cij->bsij", scaled, array(w)) / 4))
    m /= m.sum(-1, keepdims=True)
    KEPT[x.float().numpy().tobytes()] = m
    y = m @ streams + array(p)[:, None] * array(f)[..., None, :]
    return torch.from_numpy(y).to(x.dtype), torch.from_numpy(y.mean(2)).to(x.dtype)


@operation("fused_in_place", ["x", "f"])
def fused_in_place(x: Tensor, f: Tensor, w: Tensor) -> None:
    """Writes the streams over the streams and the next branch's input over the branch."""
    y, read = fused(x, f, w, torch.ones(x.shape[-2]), 1.0)
    x.copy_(y)
    f.copy_(read)


@operation("norm")
def norm(x: Tensor) -> Tensor:
    y = array(x)
    return torch.from_numpy(y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6)).to(x.dtype)


@operation("norm_and_layer")
def norm_and_layer(x: Tensor, w: Tensor) -> Tensor:
    y = array(x)
    return torch.from_numpy(y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6) @ array(w)).to(x.dtype)


@operation("soft")
def soft(x: Tensor) -> Tensor:
    y = np.exp(array(x))
    return torch.from_numpy(y / y.sum(-1, keepdims=True)).to(x.dtype)


@operation("keep")
def keep(x: Tensor) -> Tensor:
    return x.clone()


@operation("noisy")
def noisy(x: Tensor, f: Tensor, m: Tensor, size: float) -> Tensor:
    y = array(m) @ array(x) + array(f)[..., None, :]
    return torch.from_numpy(y + size * np.random.default_rng(0).normal(size=y.shape)).to(x.dtype)


@operation("add_and_norm")
def add_and_norm(x: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    y = array(x) + array(f)
    made = torch.from_numpy(y).to(x.dtype)
    return torch.from_numpy(y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6)).to(x.dtype), made


class Kept(list[Tensor]):
    """What a model applied, in one list from call to call."""


class Model(nn.Module):
    """n streams, and sites that `run` makes: `run(model, site, x, m, f)` gives the streams after a site."""

    def __init__(self, run: Callable[..., Tensor], n: int = 4, depth: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.run, self.n = run, n
        self.embed = nn.Embedding(11, C)
        self.sites = nn.ModuleList(nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C)) for _ in range(depth))
        self.weights = nn.ParameterList(torch.randn(C, n, n) for _ in range(depth))
        self.post = nn.ParameterList(torch.randn(n) for _ in range(depth))
        self.layer = nn.Parameter(torch.randn(C, C) / C**0.5)
        self.applied = Kept()

    def forward(self, tokens: Tensor) -> Tensor:
        self.applied.clear()
        x = self.embed(tokens).unsqueeze(2).repeat(1, 1, self.n, 1)
        for site in range(len(self.sites)):
            scaled = torch.nn.functional.rms_norm(x[:, :, 0], (C,))
            m = torch.einsum("bsc,cij->bsij", scaled, self.weights[site]).div(4).softmax(-1)
            self.applied.append(m.detach().flatten(0, 1).float())
            x = self.run(self, site, x, m, self.sites[site](x.mean(2)))
        return x.sum(2)


TOKENS = torch.arange(B * S).view(B, S)


def measured(model: Model) -> MixingStack:
    with torch.no_grad():
        return probe(model, TOKENS)


def check(stack: MixingStack, applied: Sequence[Tensor]) -> None:
    """Every site is within its certificate of the truth."""
    assert stack.provenance.certificates is not None
    for matrix, truth, bound in zip(stack.matrices, applied, stack.provenance.certificates, strict=True):
        assert float((matrix - truth).abs().amax()) <= bound + 1e-6  # the truth is rounded to float32 too


FORMS: dict[str, Callable[..., Tensor]] = {
    "returned": lambda o, i, x, m, f: post(x, f, m, o.post[i]),
    "in place": lambda o, i, x, m, f: (y := x.clone(), post_in_place(y, f, m))[0],
    "into a buffer": lambda o, i, x, m, f: (y := torch.empty_like(x), post_into(y, x, f, m))[0],
    "in another layout": lambda o, i, x, m, f: post_elsewhere(x, f, m).unflatten(2, (o.n, C)).transpose(0, 1),
    "mixed, then added": lambda o, i, x, m, f: mix(x, m) + o.post[i][:, None] * f[:, :, None],
    "kept, then mixed": lambda o, i, x, m, f: post(keep(x), f, m, o.post[i]),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_a_kernel_that_is_given_its_coefficients(form: str, dtype: torch.dtype) -> None:
    model = Model(FORMS[form]).to(dtype)
    stack = measured(model)
    assert not stack.provenance.skipped
    assert stack.provenance.fitted == (0, 1, 2)
    assert max(stack.provenance.certificates or ()) < (1e-6 if dtype == torch.float32 else 1e-2)
    assert [site.label for site in stack.sites] == ["sites.0", "sites.1", "sites.2"]
    check(stack, model.applied)


@pytest.mark.parametrize("layout", ["b s n c", "n b s c", "b s (n c)"])
def test_an_input_that_holds_the_streams_already(layout: str) -> None:
    shapes = {"b s n c": (B, S, 4, C), "n b s c": (4, B, S, C), "b s (n c)": (B, S, 4 * C)}
    to = {
        "b s n c": lambda x: x,
        "n b s c": lambda x: x.permute(1, 2, 0, 3),
        "b s (n c)": lambda x: x.unflatten(2, (4, C)),
    }
    m = torch.randn(B, S, 4, 4, generator=torch.Generator().manual_seed(0))

    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = to[layout](x).contiguous()
            return post(y, y.mean(2).tanh(), m, torch.ones(4))

    stack = probe(Given(), torch.randn(shapes[layout]), layout=layout, streams=4)
    check(stack, [m.flatten(0, 1)])


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_any_number_of_streams(n: int) -> None:
    model = Model(FORMS["returned"], n)
    stack = measured(model)
    assert stack.streams == n
    check(stack, model.applied)


class Fused(nn.Module):
    """A model whose kernel makes its coefficients of the streams; they begin as copies unless `apart`."""

    def __init__(
        self,
        n: int,
        dtype: torch.dtype,
        seed: int,
        apart: bool = False,
        strength: float = 1.0,
        depth: int = 9,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.strength = strength
        self.embed = nn.Embedding(11, C)
        self.branches = nn.ModuleList(nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C)) for _ in range(depth))
        self.weights = nn.ParameterList(torch.randn(C, n, n) for _ in range(depth))
        self.post = nn.ParameterList(3 * torch.randn(n) for _ in range(depth))
        self.shift = nn.Parameter(torch.randn(n, C))
        self.n, self.apart = n, apart
        self.to(dtype)
        self.applied = Kept()

    def forward(self, tokens: Tensor) -> Tensor:
        self.applied.clear()
        x = self.embed(tokens).unsqueeze(2).repeat(1, 1, self.n, 1)
        x = x + self.shift if self.apart else x
        read = x.mean(2)
        for branch, w, p in zip(self.branches, self.weights, self.post, strict=True):
            before = x.float().numpy().tobytes()
            x, read = fused(x, branch(read), w, p, self.strength)
            self.applied.append(torch.from_numpy(KEPT[before]).flatten(0, 1).float())
        return x.sum(2)


def sites_within_their_certificates(model: Fused) -> int:
    """How many sites of a model were measured, all of which must be right."""
    with torch.no_grad():
        try:
            stack = probe(model, TOKENS)
        except NothingToCheck as e:
            assert "opaque" in str(e.looked_at)
            return 0
    assert len(stack.sites) + len(stack.provenance.skipped) == len(model.branches)
    first = int(stack.sites[0].label.removeprefix("branches."))
    check(stack, model.applied[first : first + len(stack.sites)])
    return len(stack.sites)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 4, 8])
def test_a_kernel_that_makes_its_coefficients(n: int, dtype: torch.dtype) -> None:
    models = [Fused(n, dtype, seed, apart) for seed in range(2) for apart in (False, True)]
    found = sum(map(sites_within_their_certificates, models))
    assert found >= (7 if dtype == torch.float32 else 1 if n == 2 else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strength", [0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1])
def test_coefficients_that_depend_a_little_on_the_streams(strength: float, dtype: torch.dtype) -> None:
    for seed in range(4):
        found = sites_within_their_certificates(Fused(4, dtype, seed, strength=strength, depth=4))
        assert found == 4 or strength


def test_a_kernel_that_overwrites_what_it_was_given() -> None:
    class Overwriting(Fused):
        def forward(self, tokens: Tensor) -> Tensor:
            self.applied.clear()
            x = self.embed(tokens).unsqueeze(2).repeat(1, 1, self.n, 1) + self.shift
            read = x.mean(2)
            for branch, w in zip(self.branches, self.weights, strict=True):
                before, read = x.float().numpy().tobytes(), branch(read)
                fused_in_place(x, read, w)
                self.applied.append(torch.from_numpy(KEPT[before]).flatten(0, 1).float())
            return x.sum(2)

    assert sites_within_their_certificates(Overwriting(4, torch.float32, 0, apart=True, depth=4)) == 4


def test_streams_that_are_copies_say_what_would_help() -> None:
    model = Fused(4, torch.float32, 0)
    with torch.no_grad():
        stack = probe(model, TOKENS)
    first = stack.provenance.skipped[0]
    assert first.what == "branches.0"
    assert "copies or combinations" in first.reason
    assert "streams that differ where they begin" in first.reason
    assert stack.provenance.fitted == tuple(range(len(stack.sites)))
    assert "mhc_diag_tests::fused is opaque" in stack.provenance.notes[0]


def plain(site: Callable[[Any, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A site of ordinary operations whose branch is what `site` makes of the streams."""
    return lambda o, i, x, m, f: m @ x + site(o, x)


BRANCHES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "norm": lambda o, x: norm(x) @ o.layer,
    "norm and layer": lambda o, x: norm_and_layer(x, o.layer),
    "softmax": lambda o, x: soft(x),
    "norm of what was read": lambda o, x: norm(x.mean(2))[:, :, None] @ o.layer,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("branch", BRANCHES)
def test_an_opaque_branch_is_no_mixing(branch: str, dtype: torch.dtype) -> None:
    model = Model(plain(BRANCHES[branch])).to(dtype)
    stack = measured(model)
    assert stack.provenance.fitted == ()
    assert max(stack.provenance.certificates or (1.0,)) < 1e-6
    check(stack, model.applied)


def test_an_opaque_norm_on_the_path_is_none_that_is_measured() -> None:
    model = Model(lambda o, i, x, m, f: norm(m @ x + f[:, :, None]))
    stack = measured(model)
    assert len(stack.sites) == 1
    assert all("normalisation" in s.reason for s in stack.provenance.skipped)
    check(stack, model.applied[:1])


def test_a_norm_beside_the_streams_leaves_them_measured() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.ModuleList(nn.Linear(C, C) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            read = x
            for layer in self.layers:
                read, x = add_and_norm(x, torch.tanh(layer(read)))
            return self.layers[0](read)

    stack = probe(Plain(), torch.randn(B, S, C))
    assert torch.allclose(stack.matrices, torch.ones(4, B * S, 1, 1), atol=1e-6)
    assert not stack.provenance.skipped


@pytest.mark.parametrize("size", [1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 1e-1])
def test_noise_is_in_the_certificate_or_nothing_is_measured(size: float) -> None:
    for seed in range(5):
        model = Model(lambda o, i, x, m, f: noisy(x, f, m, size), seed=seed)
        try:
            stack = measured(model)
        except NothingToCheck:
            continue
        assert stack.provenance.certificates is not None
        for matrix in stack.matrices:
            near = [float((matrix - truth).abs().amax()) for truth in model.applied]
            assert min(near) <= max(stack.provenance.certificates)


def test_few_channels_are_no_ground_for_a_fit() -> None:
    class Narrow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.unsqueeze(2).repeat(1, 1, 4, 1) + torch.arange(24.0).view(4, 6).sin()
            return fused(y, torch.tanh(y.mean(2)), torch.ones(6, 4, 4), torch.ones(4), 1.0)[0]

    with pytest.raises(NothingToCheck) as raised:
        probe(Narrow(), torch.randn(B, S, 6))
    assert "6 channels are too few to tell 4 streams apart twice" in str(raised.value.looked_at)


def test_running_again_leaves_nothing_behind() -> None:
    model = Model(FORMS["in place"])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plain_output = model(TOKENS)
    state = torch.get_rng_state()
    measured(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(model(TOKENS), plain_output)


def test_fitted_sites_are_labelled_in_the_report_its_file_and_its_table() -> None:
    report = analyse(measured(Model(FORMS["mixed, then added"])))
    assert report.provenance.fitted == (0, 1, 2)
    (read,) = from_document(to_document([report]), "report.json")
    assert read.provenance.fitted == (0, 1, 2)
    text = table.render([report], width=160)
    assert "at 3 of 3 sites M was fitted to values, to within" in text
    assert "e-07 fit" in text or "e-08 fit" in text
    old = to_document([report])
    del old["reports"][0]["provenance"]["fitted"]
    assert from_document(old, "report.json")[0].provenance.fitted == ()
