"""What a projection of a measured stack acts on, and that nothing else of the stack changes."""

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack, Provenance, Site
from mhc_diag.sources.counterfactual import Projection, logits_of, parse, projected


def stack_of(matrices, logits=None):
    sites = tuple(Site("layers", "mix", depth) for depth in range(len(matrices)))
    where = Provenance(
        "a model", "observed", "by hand", "observed", "token", certificates=(0.0,) * len(matrices)
    )
    return MixingStack("model", matrices, sites, where, logits=logits)


def textbook(logits, sweeps):
    m = np.exp(logits)
    for _ in range(sweeps):
        m = m / m.sum(-2, keepdims=True)
        m = m / m.sum(-1, keepdims=True)
    return m


def normal(*shape):
    return np.random.default_rng(4).standard_normal(shape)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_known_logits_are_projected(convert):
    logits = normal(3, 5, 4, 4)
    stack = stack_of(convert(np.full((3, 5, 4, 4), 9.0)), convert(logits))
    made = projected(stack, Projection("sinkhorn", 7))
    np.testing.assert_allclose(np.asarray(made.matrices), textbook(logits, 7), rtol=1e-12)
    assert "measured logits" in made.provenance.notes[-1]


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_matrices_without_negative_entries_are_normalised_themselves(convert):
    doubly_stochastic = textbook(normal(3, 5, 4, 4), 500)
    made = projected(stack_of(convert(doubly_stochastic)), Projection("sinkhorn", 20))
    np.testing.assert_allclose(np.asarray(made.matrices), doubly_stochastic, rtol=1e-12)
    shift = np.roll(np.eye(4), 1, axis=0)[None, None]  # zeros have no logarithm
    np.testing.assert_allclose(
        projected(stack_of(shift), Projection("sinkhorn", 20)).matrices, shift, atol=1e-300
    )


def test_signed_matrices_are_taken_for_logits():
    matrices = normal(2, 3, 4, 4)
    made = projected(stack_of(matrices), parse("sinkhorn:3"))
    np.testing.assert_allclose(made.matrices, textbook(matrices, 3), rtol=1e-12)
    assert "acts on M itself" in made.provenance.notes[-1]
    assert logits_of(matrices, None)[0] is matrices


def test_what_is_said_of_it():
    stack = stack_of(normal(2, 3, 4, 4))
    made = projected(stack, parse("cayley"))
    assert (made.name, made.sites) == ("model, cayley", stack.sites)
    assert made.provenance.certificates is None and made.logits is None
    assert made.provenance.settings["project"] == "cayley"
    assert "no model applied" in made.provenance.notes[-1]


def test_names_and_counts():
    assert parse("softmax-rows") == Projection("softmax_rows")
    assert parse("sinkhorn:0") == Projection("sinkhorn", 0)
    for wrong in ("", "torus", "sinkhorn:", "sinkhorn:-1", "sinkhorn:1000000", "identity:3"):
        with pytest.raises(MhcDiagError, match="--project"):
            parse(wrong)
