"""The text for one site."""

import numpy as np
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Explanation, MixingStack, Provenance, Site, Step
from mhc_diag.render.table.explained import explained

SITES = (Site("layers.0", "attn", 0), Site("layers.0", "mlp", 1))
STACK = MixingStack(
    name="model",
    matrices=np.array([[[[0.5, 0.25], [0.5, 0.5]], [[1, 2], [-3, 1.5]]], np.ones((2, 2, 2))]),
    sites=SITES,
    provenance=Provenance("model", "observed", "by hand", "observed", "token", certificates=(0.0, 2e-7)),
    explanations=(
        Explanation(
            SITES[0],
            "[2 tokens, 2 streams, 8 channels]",
            (Step("", "repeat"), Step("layers.0", "bmm"), Step("layers.0", "add", 3)),
            ("layers.0.attn: layer over channels or tokens (mm), 3 times",),
        ),
        Explanation(SITES[1], "[2 tokens, 16 = streams x channels]", (), ()),
        Explanation(Site("layers.1", "attn", -1), "", (), (), "acts differently on different channels"),
    ),
)


def test_a_site_in_full() -> None:
    lines = explained(STACK, "0", width=200, unicode=False).splitlines()
    assert lines == [
        "Site 0  layers.0.attn",
        "",
        "streams lie  [2 tokens, 2 streams, 8 channels]",
        "passed       the model: repeat",
        "             layers.0: bmm, add x3",
        "ended        layers.0.attn: layer over channels or tokens (mm), 3 times",
        "certificate  0",
        "",
        "M of token 1, whose forward gain is the largest; row sums on the right, column sums below",
        "   1.000  2.000  |   3.000",
        "  -3.000  1.500  |  -1.500",
        "  ------------------------",
        "  -2.000  3.500",
    ]


def test_a_narrow_terminal_wraps() -> None:
    assert max(map(len, explained(STACK, "*", width=72).splitlines())) <= 72


def test_a_site_that_was_not_measured() -> None:
    text = explained(STACK, "layers.1.attn")
    assert "Site not measured  layers.1.attn" in text
    assert "reason       acts differently on different channels" in text
    assert "M of" not in text


def test_patterns_and_labels() -> None:
    assert explained(STACK, "layers.0.*").count("Site ") == 2
    assert explained(STACK, "1") == explained(STACK, "layers.0.mlp")


@pytest.mark.parametrize("site", ["7", "-1", "layers.9"])
def test_no_such_site(site: str) -> None:
    with pytest.raises(MhcDiagError, match="no such site among 3") as caught:
        explained(STACK, site)
    assert "layers.0.attn" in caught.value.hint


def test_nothing_to_explain() -> None:
    static = MixingStack("file", STACK.matrices, SITES, STACK.provenance)
    with pytest.raises(MhcDiagError, match="not measured live"):
        explained(static, "0")
