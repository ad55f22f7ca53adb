"""Taps are where the operators come from, not where something happens to equal them."""

import copy
from typing import Any

import pytest
import torch
from hyper_connections import HyperConnections, mHC
from hyper_connections.mHCv2 import ManifoldConstrainedHyperConnections as mHCv2
from shown_models import TOKENS, TOLD, Shown
from torch import Tensor, nn

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.taps import discover
from mhc_diag.sources.taps.discover import own, verify


@pytest.mark.parametrize("form", TOLD)
def test_each_form_has_a_tap_at_every_site(form: str) -> None:
    position, relation = TOLD[form]
    model = Shown(form).eval()
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    model(TOKENS)
    applied = model.applied.flatten(1, 2)
    stack, taps = discover(model, TOKENS)
    assert torch.allclose(stack.matrices, applied, atol=1e-6)
    assert taps.complete and not taps.missing
    assert [(t.site, t.transposed) for t in taps.found] == [(i, relation == "transposed") for i in range(3)]
    if form != "argument":  # whose matrix also comes out of the maker
        assert {t.place.spot for t in taps.found} == {position}
    assert {t.cast for t in taps.found} == {torch.bfloat16 if form == "rounded" else None}
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_equal_symmetric_matrices_at_initialisation_are_told_apart() -> None:
    model = Shown("transposed", at_init=True).eval()
    stack, taps = discover(model, TOKENS)
    assert bool((stack.matrices == stack.matrices[0]).all())
    assert torch.allclose(stack.matrices, stack.matrices.mT, atol=1e-6)
    assert [(t.place.path, t.transposed) for t in taps.found] == [
        (f"sites.{i}.maker", True) for i in range(3)
    ]


def test_a_module_that_runs_at_every_site_is_tapped_by_its_turn() -> None:
    _, taps = discover(Shown("transposed", shared=True, at_init=True).eval(), TOKENS)
    assert [(t.place.path, t.run, t.transposed) for t in taps.found] == [
        ("sites.0.maker", i, True) for i in range(3)
    ]
    assert [*taps.runs.values()] == [3]


def test_a_parameter_that_equals_the_operator_only_as_yet_is_no_tap() -> None:
    _, taps = discover(Shown("dynamic").eval(), TOKENS)
    assert not taps.found
    assert {m.reason for m in taps.missing} == {
        "what shows its operator does so by chance: not with noise on the coefficients"
    }


def test_sites_of_which_nothing_is_shown() -> None:
    _, taps = discover(Shown("scaled").eval(), TOKENS)
    assert not taps.found and not taps.complete
    assert [m.what for m in taps.missing] == [f"sites.{i}.branch" for i in range(3)]
    assert {m.reason for m in taps.missing} == {
        "no output, argument or tensor of a module shows its operator"
    }


class Stacked(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        make, self.expand, self.reduce = kind.get_init_and_expand_reduce_stream_functions(4, dim=32)
        branches = [nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32)) for _ in range(3)]
        self.layers = nn.ModuleList(make(branch=b, layer_index=i) for i, b in enumerate(branches))

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        for layer in self.layers:
            x = layer(x)
        return self.reduce(x)


@pytest.mark.parametrize("kind", [mHC, mHCv2])
def test_constrained_hyper_connections_as_they_are_initialised(kind: Any) -> None:
    torch.manual_seed(0)
    model = Stacked(kind)
    functions = [layer.residual_mix_constraint_fn for layer in model.layers]
    stack, taps = discover(model, torch.randn(2, 8, 32))
    assert bool((stack.matrices == stack.matrices.mT).all())  # from which no orientation can be told
    assert [(t.place.path, t.place.spot, t.transposed) for t in taps.found] == [
        (f"layers.{i}", "result of residual_mix_constraint_fn", True) for i in range(3)
    ]
    assert [layer.residual_mix_constraint_fn for layer in model.layers] == functions


def test_unconstrained_hyper_connections_show_nothing() -> None:
    torch.manual_seed(0)
    _, taps = discover(Stacked(HyperConnections), torch.randn(2, 8, 32))
    assert not taps.found and len(taps.missing) == 3


def test_verification_sees_a_tap_that_no_longer_shows_the_operator() -> None:
    model = Shown("transposed").eval()
    _, taps = discover(model, TOKENS)
    assert verify(model, TOKENS, taps) == (0.0, "")
    model.sites[1].turned = True
    assert verify(model, TOKENS, taps)[1] == "1 of 3 taps no longer show M, first sites.1.maker output 1"


def test_what_a_caller_gave_is_not_written_to() -> None:
    class Cache:
        seen = 0

    cache, tensor = Cache(), torch.ones(2)
    (args, kwargs) = own(((tensor, [cache]), {"cache": cache, "flag": True}))
    assert args[0] is tensor and args[1][0] is not cache and kwargs["cache"] is not cache

    class Unique:
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("there is but one")

    with pytest.raises(MhcDiagError, match="cannot be copied: TypeError: there is but one"):
        own(((Unique(),), {}))
