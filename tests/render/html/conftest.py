"""Pages of the reports made by hand, and of one that has everything to show."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.gate import Policy, judge
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import MixingStack, Promise, Provenance, Site
from mhc_diag.render import html


def whole():
    """Matrices, logits, triangles, rates and distributions, some of it bad enough to be found."""
    logits = 5 * np.random.default_rng(0).standard_normal((30, 12, 4, 4))
    sites = tuple(Site(f"model.layers.{i // 2}", ("self_attn", "mlp")[i % 2], i) for i in range(30))
    promise = Promise("doubly stochastic", "rows", 20, 0.0, origin="a test")
    where = Provenance("whole.pt", "observed", "drawn", "direct", "token", (12,), promise=promise)
    stack = MixingStack("whole", 1.2 * sinkhorn.project(logits), sites, where, logits=logits)
    return analyse(stack, triangle=True)


@pytest.fixture(scope="package")
def pages(handmade):
    """By name, the report and its page."""

    @cache
    def made(name):
        if name == "whole":
            report = whole()
            return [report], html.render([report], judge([report], Policy(profile="auto")))
        if name == "hostile":
            report, verdict = handmade["hostile"]()
            return [report], html.render([report], verdict)
        reports = handmade["REPORTS"][name]
        return reports, html.render(reports, handmade["VERDICTS"].get(name))

    return made


@pytest.fixture
def bare(monkeypatch):
    """Pages without pictures, which take their time."""
    monkeypatch.setattr("mhc_diag.figures.picture", lambda *_, **__: b"<svg/>")
    return replace
