"""Codes that are as they should be raise no finding that they are not."""

import pytest
import torch
from hyper_connections_models import DIM, Stacked, perturbed
from judged import of_model
from shown_models import TOKENS, TOLD, Shown

STREAMS = torch.randn(2, 5, DIM, generator=torch.Generator().manual_seed(0))
BUGS = {"MHC301", "MHC302", "MHC303", "MHC304", "MHC401", "MHC402", "MHC501", "MHC502", "MHC503", "MHC504"}


@pytest.mark.parametrize("kind", ["HC", "mHC", "mHCv2"])
@pytest.mark.parametrize("moved", [False, True], ids=["fresh", "moved"])
def test_hyper_connections(kind, moved):
    model = Stacked(kind, depth=8).eval()
    found = of_model(perturbed(model) if moved else model, (STREAMS,))
    assert not BUGS & found.keys(), found


@pytest.mark.parametrize("form", TOLD)
def test_a_matrix_that_is_shown_in_some_way_and_applied(form):
    found = of_model(Shown(form).eval(), TOKENS)
    assert BUGS & found.keys() == ({"MHC501"} if form == "rounded" else set())


@pytest.mark.parametrize(("form", "level"), [("unapplied", "error"), ("scaled", "warn")])
def test_a_matrix_that_is_shown_and_not_applied(form, level):
    assert of_model(Shown(form).eval(), TOKENS)["MHC401"].level == level


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deepseek_v4", "glm5_next", "hy_v4", "qwen4_exp"])
def test_transformers(name):
    import transformers_models

    tokens = torch.randint(1, 60, (2, 8), generator=torch.Generator().manual_seed(0))
    assert not BUGS & of_model(transformers_models.perturbed(name), tokens).keys()
