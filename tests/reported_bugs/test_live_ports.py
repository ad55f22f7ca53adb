"""Bugs that practitioners reported, each in a running model: found, and not where it is mended."""

import json
from dataclasses import replace

import pytest
import torch
from judged import of_model, of_report, report_of
from ports import TOKENS, Model, Port

from mhc_diag import schema

RIGHT = Port()
NEAR_IDENTITY = Port(spread=0.3, diagonal=6.0, reads=0.02)
"""Sites that leave most of what they are given, so that depth does not average the streams."""


@pytest.fixture(scope="module")
def found():
    """Findings of a port, each of which is measured once."""
    seen = {}

    def look(port, layers=6):
        key = (port, layers)
        seen[key] = seen[key] if key in seen else of_model(Model(port, layers), TOKENS)
        return seen[key]

    return look


BUGS = {
    "comb is not transposed": ("MHC302", "error", RIGHT, {"transpose": False}),
    "the split has another order": ("MHC304", "error", RIGHT, {"order": ("comb", "pre", "post")}),
    "pre and comb change places": ("MHC304", "error", RIGHT, {"order": ("pre", "comb", "post")}),
    "the mixed streams are thrown away": ("MHC401", "error", RIGHT, {"applied": False}),
    "eps is 0.02": ("MHC303", "error", RIGHT, {"eps": 0.02}),
    "the matrix is made in bfloat16": ("MHC501", "warn", NEAR_IDENTITY, {"dtype": torch.bfloat16}),
    "the kernel does 10 iterations of 20": ("MHC301", "error", RIGHT, {"iterations": 10}),
    "blocks collapse and expand the streams": ("MHC402", "error", RIGHT, {"persistent": False}),
}


@pytest.mark.parametrize(("rule", "level", "twin", "bug"), BUGS.values(), ids=BUGS)
def test_the_bug_is_found_and_its_twin_is_clean(found, rule, level, twin, bug):
    sick, healthy = found(replace(twin, **bug)), found(twin)
    assert rule in sick and sick[rule].level == level, sick
    assert rule not in healthy
    assert not [f for f in healthy.values() if f.level == "error"], healthy


def test_what_is_said_names_the_numbers(found):
    assert (
        "8 of 12 sites; layout deepseek promises rows"
        in found(replace(RIGHT, transpose=False))["MHC302"].text
    )
    assert "as after 10 of the 20 iterations" in found(replace(RIGHT, iterations=10))["MHC301"].text
    eps = found(replace(RIGHT, eps=0.02))["MHC303"].text
    assert "eps of 0.02," in eps and "leaves 0.785 after 12 sites" in eps  # 1.02 ** -12 is 0.788
    assert "bfloat16" in found(replace(NEAR_IDENTITY, dtype=torch.bfloat16))["MHC501"].text


def test_a_saved_report_is_judged_alike():
    report = report_of(Model(replace(RIGHT, applied=False, persistent=False, iterations=10)), TOKENS)
    (again,) = schema.from_document(json.loads(json.dumps(schema.to_document([report]))), "saved.json")
    assert again.provenance == report.provenance and len(report.provenance.remarks) == 2
    assert of_report(again) == of_report(report) and of_report(report).keys() == {"MHC401", "MHC402"}


def test_streams_that_depth_averages_out(found):
    """Composite gains near 1 and log10 of an entry near -0.6 were taken for stability: it is log10 of 1/4."""
    averaging, deep = replace(NEAR_IDENTITY, diagonal=1.0), 15
    assert "MHC201" in found(averaging, deep)
    assert "MHC201" not in found(NEAR_IDENTITY, deep)
