"""However a model is run, what is measured is the operator that it applies that way."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_models import EXPAND, TO_BSNC, B, C, N, S, Site, Streams
from torch import Tensor, nn
from torch.func import grad, jvp, vmap
from torch.utils.checkpoint import checkpoint

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack
from mhc_diag.sources.probe import probe

TOKENS = torch.randint(0, 11, (B, S), generator=torch.Generator().manual_seed(1))
LABELS = ["sites.0.branch", "sites.1.branch", "sites.2.branch"]


def applied(**options: Any) -> Tensor:
    """What the plain model applies, in its own words: (L, B*S, n, n)."""
    model = Streams("matmul", **options)
    with torch.no_grad():
        model(TOKENS)
    return model.applied


def check(stack: MixingStack, expected: Tensor, labels: list[str] = LABELS) -> None:
    assert stack.matrices.shape == expected.shape
    assert torch.allclose(stack.matrices, expected.to(stack.matrices.dtype), atol=1e-5, rtol=1e-5)
    assert max(stack.provenance.certificates or [1.0]) < 1e-5
    assert not stack.provenance.skipped
    assert not stack.provenance.failure
    assert [site.label for site in stack.sites] == labels


def compiled(how: str, backend: str) -> nn.Module:
    model = Streams("matmul")
    if how == "torch.compile":
        return torch.compile(model, backend=backend)
    if how == "one graph":
        return torch.compile(model, backend=backend, fullgraph=True)
    if how == "model.compile":
        model.compile(backend=backend)
    elif how == "its forward":
        model.forward = torch.compile(model.forward, backend=backend)  # type: ignore[method-assign]
    else:
        for i, site in enumerate(model.sites):
            model.sites[i] = torch.compile(site, backend=backend)
    return model


@pytest.mark.parametrize("called", [False, True], ids=["before its first call", "after calls"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(
    "how", ["torch.compile", "one graph", "model.compile", "its forward", "its submodules"]
)
def test_compiled(how: str, backend: str, called: bool) -> None:
    torch.compiler.reset()
    model = compiled(how, backend)
    if called:
        with torch.no_grad():
            before = model(TOKENS)
    check(probe(model, TOKENS), applied())
    if called:
        with torch.no_grad():
            assert torch.equal(model(TOKENS), before)


class Checkpointed(Streams):
    """Each site's activations are dropped and would be made again for a backward pass."""

    reentrant = False

    def forward(self, tokens: Tensor) -> Tensor:
        x = EXPAND[self.layout](self.embed(tokens))
        for site in self.sites:
            x = checkpoint(site, x, use_reentrant=self.reentrant)
        return self.head(torch.tanh(TO_BSNC[self.layout](x).sum(2)))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(reentrant: bool, training: bool) -> None:
    model = Checkpointed("matmul").train(training)
    model.reentrant = reentrant
    with torch.enable_grad():
        check(probe(model, TOKENS), applied())
    assert all(module.training == training for module in model.modules())
    model(TOKENS).sum().backward()  # a training step right after it
    assert all(p.grad is not None for p in model.sites.parameters())


class Within(Streams):
    """Runs inside a context of its own."""

    context: Callable[[], Any] = contextlib.nullcontext

    def forward(self, tokens: Tensor) -> Tensor:
        with self.context():
            return super().forward(tokens)


CONTEXTS: dict[str, Callable[[], Any]] = {
    "enable_grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "a dual level": torch.autograd.forward_ad.dual_level,
    "a device": lambda: torch.device("cpu"),
    "an autograd graph kept on the host": torch.autograd.graph.save_on_cpu,
    "deterministic attention": lambda: torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts_around_the_probe(name: str) -> None:
    with CONTEXTS[name]():
        check(probe(Streams("matmul"), TOKENS), applied())


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts_inside_the_model(name: str) -> None:
    model = Within("matmul")
    model.context = CONTEXTS[name]  # type: ignore[method-assign]
    check(probe(model, TOKENS), applied())


def test_weights_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model, tokens = Streams("matmul"), TOKENS.clone()
    check(probe(model, tokens), applied())


def test_a_backward_pass_inside_the_model() -> None:
    class Training(Streams):
        def forward(self, tokens: Tensor) -> Tensor:
            with torch.enable_grad():
                out = super().forward(tokens)
                out.sum().backward()
            return out

    check(probe(Training("matmul"), TOKENS), applied())


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize(
    "transform",
    [
        lambda f: vmap(f)(torch.ones(2, 3)),
        lambda f: grad(f)(torch.ones(3)),
        lambda f: jvp(f, (torch.ones(3),), (torch.ones(3),)),
        lambda f: torch.func.functionalize(f)(torch.ones(3)),
    ],
    ids=["vmap", "grad", "jvp", "functionalize"],
)
def test_function_transforms_around_the_probe(transform: Callable[[Any], Any]) -> None:
    model, stacks = Streams("matmul"), []

    def function(x: Tensor) -> Tensor:
        stacks.append(probe(model, TOKENS))
        return x.sum()

    transform(function)
    assert torch.allclose(stacks[0].matrices, applied(), atol=1e-5)
    assert stacks[0].provenance.certificates == (0.0,) * 3


class Mapped(nn.Module):
    """Writes its mixing for a single token and leaves the rest to vmap."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.weights, self.branch = nn.Embedding(11, C), nn.Linear(C, N * N), nn.Linear(C, C)
        self.applied: list[Tensor] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.applied = []
        x = self.embed(tokens)[:, :, None].repeat(1, 1, N, 1)
        for _ in range(3):
            m = self.weights(x.mean(2).tanh()).view(B, S, N, N)
            self.applied.append(m.flatten(0, 1))
            x = vmap(vmap(self.updated))(m, x, self.branch(x.mean(2)).tanh())
        return x

    def updated(self, m: Tensor, x: Tensor, out: Tensor) -> Tensor:
        return m @ x + out


def test_vmap_inside_the_model() -> None:
    model = Mapped()
    with torch.no_grad():
        model(TOKENS)
    stack = probe(model, TOKENS)
    assert torch.allclose(stack.matrices, torch.stack(model.applied), atol=1e-5)


def test_data_parallel() -> None:
    check(probe(nn.DataParallel(Streams("matmul")), TOKENS), applied())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda() -> None:
    model = Streams("matmul").cuda()
    stack = probe(model, TOKENS.cuda())
    check(stack, model.applied)


class TwoDevices(Streams):
    """Its later sites live on another device than its first."""

    def __init__(self, device: str) -> None:
        super().__init__("matmul")
        self.sites[1:].to(device)
        self.device = device

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.sites[0](EXPAND[self.layout](self.embed(tokens))).to(self.device)
        for site in self.sites[1:]:
            x = site(x)
        return x.to("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_two_devices() -> None:
    model = TwoDevices("cuda")
    with torch.no_grad():
        model(TOKENS)
    stack = probe(model, TOKENS)
    expected = torch.stack([site.applied.cpu() for site in model.sites]).flatten(1, 2)
    assert torch.allclose(stack.matrices.cpu(), expected, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("frozen", [False, True])
def test_scripts_in_place_of_branches(frozen: bool) -> None:
    model = Streams("matmul").eval()
    for site in model.sites:
        assert isinstance(site, Site)
        script = torch.jit.script(site.branch)
        site.branch = torch.jit.freeze(script) if frozen else script
    flags = [vars(module).get("training") for module in model.modules()]
    check(probe(model, TOKENS), applied())
    assert [vars(module).get("training") for module in model.modules()] == flags


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traces_in_place_of_sites() -> None:
    model, expected = Streams("matmul").eval(), applied()
    streams = torch.randn(B, S, N, C)
    for i, site in enumerate(model.sites):
        model.sites[i] = torch.jit.trace(site, streams, check_trace=False)  # which would already run it
    stack = probe(model, TOKENS)
    assert torch.allclose(stack.matrices, expected, atol=1e-5)
    assert [site.path for site in stack.sites] == ["sites.0", "sites.1", "sites.2"]


@pytest.mark.filterwarnings("ignore:.*assigned during export:UserWarning")
@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")
@pytest.mark.parametrize("unflattened", [False, True])
def test_an_exported_program(unflattened: bool) -> None:
    program = torch.export.export(Streams("matmul").eval(), (TOKENS,))
    if unflattened:
        check(probe(torch.export.unflatten(program), TOKENS), applied())
    else:
        check(probe(program.module(), TOKENS), applied(), labels=["", "", ""])


def test_what_is_no_module() -> None:
    program = torch.export.export(nn.Linear(4, 4), (torch.ones(2, 4),))
    with pytest.raises(MhcDiagError, match="is of type ExportedProgram") as error:
        probe(program, torch.ones(2, 4))  # type: ignore[arg-type]
    assert "torch.export.unflatten" in error.value.hint
