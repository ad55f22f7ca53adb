"""The contract of a picture, on every one that can be asked for."""

import struct
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.figures import PICTURES, load, picture
from mhc_diag.figures.theme import PALETTES
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import MixingStack, Promise, Provenance, Site

PROMISE = Promise("doubly stochastic", "rows", 20, 0.0, "a test")


def report(depth=8, tokens=6, streams=3, *, scale=1.0, name="made", broken=False):
    """Everything that a picture can show: triangles, matrices, logits, rates and distributions."""
    logits = 3 * np.random.default_rng(depth).standard_normal((depth, tokens, streams, streams))
    matrices = scale * sinkhorn.project(logits)
    if broken:
        matrices[depth // 2, 0] = np.nan
    sites = tuple(Site(f"layers.{i}", "mlp", i) for i in range(depth))
    axis = "token" if tokens > 1 else "none"
    where = Provenance("a test", "observed", "drawn", "direct", axis, (tokens,), promise=PROMISE)
    return analyse(MixingStack(name, matrices, sites, where, logits=logits), triangle=True)


CASES = {
    "usual": lambda: [report()],
    "one stream": lambda: [report(streams=1)],
    "many streams": lambda: [report(streams=17)],
    "one site": lambda: [report(1)],
    "overflowing": lambda: [report(scale=1e60)],
    "not finite": lambda: [report(broken=True)],
    "zero": lambda: [report(scale=0.0)],
    "several": lambda: [report(), report(5, name="_other $x$"), report(scale=2.0)],
    "hostile": lambda: [report(name="<b>&\x00\x1b[31m\ud800$\\frac{1$")],
}


QUICK = {"usual", "one stream", "not finite", "several", "hostile"}
MARKED = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]


@pytest.fixture(scope="module", params=MARKED)
def reports(request):
    return CASES[request.param]()


@pytest.mark.parametrize("name", PICTURES)
def test_draws_and_tells_whatever_the_report_holds(reports, name):
    module = load(name)
    svg = picture(reports, "svg", name, theme="page", stacked=True)
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(svg) < 200_000
    if not module.missing(reports):
        words = module.in_words(reports)
        assert len(words) > 40 and words.endswith(".") and words.isprintable()
        assert any(c.isdigit() for c in words) or "not finite" in words


@pytest.mark.parametrize("name", PICTURES)
def test_only_what_is_not_known_is_missing(name):
    whole = [report()]
    assert not load(name).missing(whole)
    bare = [replace(r, histograms=(), triangles=(), sample=None, scalars=()) for r in whole]
    bare = [replace(r, curves=tuple(c for c in r.curves if c.metric.startswith("amax"))) for r in bare]
    assert bool(load(name).missing(bare)) == (name != "curves")
    assert picture(bare, "png", name).startswith(b"\x89PNG")
    some = [*bare, *whole]
    assert not load(name).missing(some)
    assert picture(some, "png", name).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", PICTURES)
def test_is_the_same_twice_and_of_a_sane_size(name):
    reports = [report()]
    first = picture(reports, "png", name)
    assert first == picture(reports, "png", name)
    width, height = struct.unpack(">II", first[16:24])
    assert 900 <= width <= 1700 and 400 <= height <= 1200
    assert len(first) < 300_000


@pytest.mark.parametrize("name", PICTURES)
def test_paper_and_ink_follow_the_theme(name):
    drawn = {t: picture([report()], "svg", name, theme=t).decode() for t in PALETTES}
    assert len(set(drawn.values())) == 3
    for theme, svg in drawn.items():
        for other, colors in PALETTES.items():
            assert (colors.ink in svg and colors.paper in svg) == (other == theme)
