"""The page as a Markdown parser sees it: every text from outside is text."""

import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from mhc_diag.render.markdown import ROWS, render
from mhc_diag.sources.printable import printable
from mhc_diag.verdict import Finding, Verdict

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TAGS = {"code", "details", "summary", "sub"}
BY_MARKDOWN = {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "ul", "li", "pre"}


class Page(HTMLParser):
    """Tags and cells of the HTML that a page becomes."""

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.cells = set(), []
        self.inside = False
        self.feed(PARSER.render(markdown))

    def handle_starttag(self, tag, attributes):
        assert all(key == "href" or key == "style" for key, _ in attributes), attributes
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def test_a_hostile_name_is_shown_as_it_is(handmade):
    report, verdict = handmade["hostile"]()
    page = Page(render([report], verdict).partition("<details>")[0])
    assert page.tags <= TAGS | BY_MARKDOWN, "no link, no picture, no script"
    shown = printable(handmade["HOSTILE"], 1000)
    assert page.cells.count(shown) >= 5
    assert shown.count("evil.example") == 3


@pytest.mark.parametrize(
    "text", ["@team", "#12", "www.x.org", "http://x.org", "mailto:a@b.c", "$a$", ":+1:", "~~a~~"]
)
def test_what_only_github_would_read_is_escaped(text):
    output = render([], Verdict("failed", findings=(Finding("MHC502", "t", "error", "x", text, "Fix."),)))
    assert text not in output and text in Page(output).cells


@pytest.mark.parametrize("name", ["model.layers.0.self_attn", "a-b/c.safetensors"])
def test_ordinary_names_stay_readable_in_the_source(name):
    assert name in render(
        [], Verdict("failed", findings=(Finding("MHC502", "t", "error", name, "x", "Fix."),))
    )


def test_the_verdict_comes_first_and_every_part_follows(handmade):
    text = render(handmade["REPORTS"]["failing"], handmade["VERDICTS"]["failing"])
    assert text.startswith("## ❌ mhc-diag: failed\n")
    order = ["Worst composite gains", "Findings", "What could not be told", "Limits", "Sites whose gains"]
    places = [text.index(f"### {head}") for head in order]
    assert places == sorted(places)
    assert text.index("<details><summary>MHC101") > places[-1]


def test_advice_is_no_pass_and_no_verdict_is_none(handmade):
    reports = handmade["REPORTS"]["overflowing"]
    assert render(reports, handmade["VERDICTS"]["overflowing"]).startswith("## mhc-diag: measured\n")
    assert render(reports).startswith("## mhc-diag: measured\n")
    assert "✅" not in render(reports, handmade["VERDICTS"]["overflowing"]) + render(reports)


def test_rows_of_a_table_agree_in_width(handmade):
    text = render(handmade["REPORTS"]["failing"], handmade["VERDICTS"]["failing"])
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    assert len(tables) == 5
    assert all(len({line.count(" | ") for line in table.splitlines()}) == 1 for table in tables)


def test_a_long_table_is_cut_and_says_so():
    found = tuple(Finding("MHC502", "t", "error", f"t{i}", "x", "Fix.") for i in range(ROWS + 7))
    text = render([], Verdict("failed", findings=found))
    assert "and 7 more" in text and f"t{ROWS - 1}<" in text and f"t{ROWS}<" not in text
