"""Models that take and return anything: what is measured does not depend on how tensors are wrapped."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from small_models import EXPAND, TO_BSNC, B, C, S, Streams
from torch import Tensor, nn
from transformers import BatchEncoding
from transformers.modeling_outputs import BaseModelOutput

from mhc_diag.records import MixingStack
from mhc_diag.sources.probe import probe

TOKENS = torch.randint(0, 11, (B, S), generator=torch.Generator().manual_seed(1))
FEATURES = torch.randn(B, S, C, generator=torch.Generator().manual_seed(2))


def applied(features: Tensor | None = None) -> Tensor:
    """What the plain model applies to the tokens, or to features in their place, in its own words."""
    model = Streams("matmul").eval()
    with torch.no_grad():
        x = EXPAND["bsnc"](model.embed(TOKENS) if features is None else features)
        for site in model.sites:
            x = site(x)
    return model.applied


def check(stack: MixingStack, expected: Tensor) -> None:
    assert torch.allclose(stack.matrices, expected, atol=1e-5)
    assert stack.matrices.shape[0] == 3
    assert not stack.provenance.skipped and not stack.provenance.failure


class Keywords(Streams):
    def forward(self, *, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": super().forward(input_ids)}


class Nested(Streams):
    def forward(self, batch: dict[str, Any], scale: None = None) -> Any:
        assert scale is None
        return super().forward(batch["text"][0]["ids"])


@pytest.mark.parametrize(
    "example",
    [
        {"input_ids": TOKENS},
        {"input_ids": TOKENS, "attention_mask": None},
        ((), {"input_ids": TOKENS}),
        BatchEncoding({"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}),
    ],
    ids=["dictionary", "with None", "pair", "BatchEncoding"],
)
def test_keyword_only_arguments(example: Any) -> None:
    model = Keywords("matmul")
    check(probe(model, example), applied())


@pytest.mark.parametrize("wrap", [lambda x: (x,), lambda x: (x, None), lambda x: {"batch": x, "scale": None}])
def test_dictionaries_as_arguments(wrap: Callable[[Any], Any]) -> None:
    model = Nested("matmul")
    check(probe(model, wrap({"text": [{"ids": TOKENS}], "note": "any"})), applied())


class Features(Streams):
    """Starts from floating-point features that lie in some object."""

    def forward(self, batch: Any) -> None:
        x = batch.last_hidden_state
        x = EXPAND[self.layout](x.mul_(1.0))
        for site in self.sites:
            x = site(x)
        batch.seen = True


@dataclass
class Batch:
    last_hidden_state: Tensor
    name: str = "dataclass"
    seen: bool = False


class Own:
    def __init__(self, x: Tensor) -> None:
        self.last_hidden_state, self.seen = x, False


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("hold", [Batch, Own, lambda x: SimpleNamespace(last_hidden_state=x, seen=False)])
def test_features_inside_an_object(hold: Callable[[Tensor], Any], gradient: bool) -> None:
    features = FEATURES.clone().requires_grad_(gradient)
    batch, model = hold(features * 1), Features("matmul")
    check(probe(model, (batch,)), applied(FEATURES))
    assert not batch.seen  # the model was given a copy
    assert torch.equal(batch.last_hidden_state, FEATURES)
    assert features.grad is None


def test_a_model_output_as_input() -> None:
    class Reads(Features):
        def forward(self, batch: Any) -> None:
            assert isinstance(batch, BaseModelOutput)
            super().forward(SimpleNamespace(last_hidden_state=batch.last_hidden_state))

    model = Reads("matmul")
    check(probe(model, (BaseModelOutput(FEATURES),)), applied(FEATURES))


class Pair(NamedTuple):
    ids: Tensor
    rest: Any


def test_a_named_tuple_as_an_argument() -> None:
    class Reads(Streams):
        def forward(self, pair: Pair) -> Tensor:
            return super().forward(pair.ids)

    model = Reads("matmul")
    check(probe(model, (Pair(TOKENS, None),)), applied())


def test_one_tensor_given_twice_stays_one() -> None:
    class Reads(Streams):
        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            assert one is two
            return super().forward(one)

    model = Reads("matmul")
    check(probe(model, (TOKENS, TOKENS)), applied())


def test_a_module_among_the_arguments_is_given_as_it_is() -> None:
    class Reads(Streams):
        def forward(self, tokens: Tensor, other: nn.Module) -> Tensor:
            assert other is given
            return super().forward(tokens)

    model, given = Reads("matmul"), nn.Linear(2, 2)
    check(probe(model, (TOKENS, given)), applied())


def test_arguments_of_which_there_is_no_copy() -> None:
    class Reads(Streams):
        def forward(self, tokens: Tensor, stream: Any, other: nn.Module) -> Tensor:
            assert stream.read(1) == "x" and other is given
            return super().forward(tokens)

    model, given = Reads("matmul"), nn.Linear(2, 2)
    check(probe(model, (TOKENS, io.TextIOWrapper(io.BytesIO(b"x")), given)), applied())


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "None": lambda y: None,
    "number": lambda y: float(y.sum()),
    "text": str,
    "nested": lambda y: {"a": [y, {"b": (y, None)}], "c": Batch(y)},
    "object": Own,
    "iterator": lambda y: iter([y]),
    "sparse": lambda y: y.to_sparse(),
    "a subclass": lambda y: nn.Parameter(y),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name: str) -> None:
    class Returns(Streams):
        def forward(self, tokens: Tensor) -> Any:
            return OUTPUTS[name](super().forward(tokens))

    model = Returns("matmul")
    check(probe(model, TOKENS), applied())


def test_a_generator() -> None:
    class Yields(Streams):
        def forward(self, tokens: Tensor) -> Iterator[Tensor]:  # type: ignore[override]
            x = EXPAND[self.layout](self.embed(tokens))
            for site in self.sites:
                x = site(x)
                yield TO_BSNC[self.layout](x)

    model = Yields("matmul")
    check(probe(model, TOKENS), applied())


def normed(kind: str) -> Streams:
    model = Streams("matmul")
    norm = getattr(nn.utils.parametrizations, kind)
    for site in model.sites:
        norm(site.weights)
        norm(site.branch[1])
    return model


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_weights_with_parametrizations(kind: str) -> None:
    model = normed(kind).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model(TOKENS)
    check(probe(model, TOKENS), model.applied)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Constrained(nn.Module):
    """Static mixing whose matrices are made by a parametrization whenever they are read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.branch = nn.Embedding(11, C), nn.Linear(C, C)
        self.mixing = nn.ParameterList(torch.randn(4, 4) for _ in range(3))
        for i in range(3):
            nn.utils.parametrizations.orthogonal(self.mixing, str(i))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)[:, :, None].repeat(1, 1, 4, 1)
        for i in range(3):
            x = getattr(self.mixing, str(i)) @ x + self.branch(x.mean(2))[:, :, None]
        return x

    @property
    def applied(self) -> Tensor:
        made = torch.stack([getattr(self.mixing, str(i)) for i in range(3)])
        return made[:, None].expand(3, B * S, 4, 4).detach()


def test_mixing_with_parametrizations() -> None:
    model = Constrained()
    check(probe(model, TOKENS), model.applied)
    assert torch.allclose(model.applied @ model.applied.mT, torch.eye(4), atol=1e-5)
