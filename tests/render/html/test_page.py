"""What stands in a page, read by the parser of the standard library."""

import html as entities
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mhc_diag import figures
from mhc_diag.magnitude import magnitude
from mhc_diag.records import Site
from mhc_diag.render import html
from mhc_diag.render.html.elements import table, tag
from mhc_diag.render.html.prose import paragraphs
from mhc_diag.sources.printable import printable

NAMES = ["whole", "clean", "failing", "overflowing", "side-by-side", "hostile"]
ALONE = {"meta", "link", "br"}


class Page(HTMLParser):
    """Every element with its attributes, and every text, in order; refuses what does not nest."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in ALONE:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        if self.open and self.open[-1] != "style":
            self.texts.append(text)

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(params=NAMES)
def page(request, pages):
    return Page(pages(request.param)[1])


def test_ids_are_unique_and_whatever_is_referred_to_is_there(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in page.elements:
        named = [attributes.get(k, "") for k in ("aria-labelledby", "aria-describedby")]
        inside = [v[1:] for k, v in attributes.items() if k == "href" and v.startswith("#")]
        painted = [part for v in attributes.values() for part in re.findall(r"url\(#([^)]+)\)", v or "")]
        assert {*" ".join(named).split(), *inside, *painted} <= set(ids)


def test_nothing_is_loaded_and_nothing_runs(page):
    names = {name for name, _ in page.elements}
    assert not names & {"script", "iframe", "object", "embed", "img", "video", "audio", "base", "form"}
    for name, attributes in page.elements:
        assert not any(k.startswith("on") or k == "src" for k in attributes)
        if name not in ("a", "svg"):
            assert not any("http" in (v or "") for k, v in attributes.items() if k == "href")
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'") and "script" not in policy


def test_landmarks_headings_and_tables_can_be_found_by_those_who_do_not_see(page):
    names = [name for name, _ in page.elements]
    assert [names.count(n) for n in ("main", "header", "footer", "h1", "title")] == [1] * 5
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(a.get("scope") in ("row", "col") for a in page.all("th"))
    assert names.count("caption") == names.count("table") > 0
    assert page.all("html")[0]["lang"] == "en"
    for svg in page.all("svg"):
        assert svg["role"] == "img" and svg["aria-labelledby"] and svg["aria-describedby"]


@pytest.mark.parametrize("name", ["whole", "failing", "overflowing"])
def test_the_numbers_of_every_picture_are_told(pages, name):
    reports, made = pages(name)
    page = Page(made)
    for picture in figures.PICTURES:
        module = figures.load(picture)
        reason = module.missing(reports)
        if reason:
            assert f"Not shown: {reason}" in page.text
        else:
            assert " ".join(module.in_words(reports).split()) in page.text
    assert len(page.all("svg")) == sum(not figures.load(p).missing(reports) for p in figures.PICTURES)
    assert name != "whole" or len(page.all("svg")) == len(figures.PICTURES)


def test_the_verdict_the_findings_and_what_to_do_are_there(handmade, pages):
    _, made = pages("failing")
    verdict, page = handmade["VERDICTS"]["failing"], Page(made)
    assert "✗ failed" in page.text
    for found in verdict.findings:
        assert f"{found.rule} {found.title}" in page.text and printable(found.text) in page.text
        assert found.fix.replace("`", "") in page.text
    for check in verdict.checks:
        assert check.limit.allowed in page.text and printable(check.text) in page.text
    assert "What is seen" in page.text and "Why it matters" in page.text and "References" in page.text


def test_every_site_has_a_row_with_its_gains(pages):
    (report,), made = pages("failing")
    rows = re.findall(r"<tr><th scope=\"row\">(\d+) (.*?)</th>(.*?)</tr>", made)
    assert [int(number) for number, *_ in rows] == list(range(40))
    curves = [
        report.curve(*which, "max")
        for which in (
            ("amax_forward", "site"),
            ("amax_backward", "site"),
            ("amax_forward", "prefix"),
            ("amax_backward", "suffix"),
        )
    ]
    for number, _, cells in rows:
        found = re.findall(r"<td[^>]*>(.*?)</td>", cells)[:4]
        assert found == [magnitude(c.value[int(number)], c.log10[int(number)]) for c in curves]


def test_hostile_text_stays_text(handmade, pages):
    page = Page(pages("hostile")[1])
    (report,), _ = pages("hostile")
    assert "script" in report.name.lower()
    assert "script" in page.text.lower()
    assert not {name for name, _ in page.elements} & {"script", "b", "img"}


def test_of_very_many_sites_the_worst_are_shown_and_this_is_said(handmade, bare):
    (failing,) = handmade["REPORTS"]["failing"]
    depth = 1500
    logs = np.zeros((depth, 1))
    logs[1234] = 3.0
    keys = [("amax_forward", "site"), ("amax_backward", "site")]
    keys += [("amax_forward", "prefix"), ("amax_backward", "suffix")]
    sites = tuple(Site("layers", str(i), i) for i in range(depth))
    where = replace(failing.provenance, certificates=None)
    report = handmade["build"]("deep", dict.fromkeys(keys, logs), sites, where)
    made = html.render([report])
    rows = re.findall(r"<tr><th scope=\"row\">(\d+) layers", made)
    assert len(rows) == 1000 and "1234" in rows
    assert "the 1000 worst of 1500; CSV and JSON hold all" in made


def test_the_site_table_is_open_where_it_is_short(pages):
    assert "<details open" in pages("clean")[1] and "<details open" not in pages("failing")[1]


@pytest.mark.parametrize("name", NAMES)
def test_pages_are_small(pages, name):
    assert len(pages(name)[1]) < 700_000


def test_elements_escape_everything_but_elements():
    assert tag("p", "<&", tag("b", '"'), title='"<') == '<p title="&quot;&lt;">&lt;&amp;<b>&quot;</b></p>'
    assert table("none", ["a"], []) == ""
    assert entities.unescape(tag("p", "a\x00\u202eb")) == "<p>a\\x00\\u202eb</p>"


def test_pages_of_findings_keep_their_paragraphs_lists_code_and_links():
    text = "One\nline `x<y`.\n\n- a [p](https://a.b/c?d=1&e)\n- **two**\n  lines\n\n[no](javascript:x)"
    made = paragraphs(text)
    assert made.split("\n") == [
        "<p>One line <code>x&lt;y</code>.</p>",
        '<ul><li>a <a href="https://a.b/c?d=1&amp;e" rel="noreferrer">p</a></li>'
        "<li><strong>two</strong> lines</li></ul>",
        "<p>[no](javascript:x)</p>",
    ]
