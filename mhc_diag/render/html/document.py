"""The frame of a page: its head, its style and its policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import mhc_diag
from mhc_diag.render.html.elements import Markup, lines, tag

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, parts: Iterable[Markup]) -> str:
    """A whole page with these parts.

    Example:
        >>> document("Gains", [tag("p", "none")]).splitlines()[0]
        '<!DOCTYPE html>'
    """
    body = [
        tag("header", tag("p", f"mhc-diag {mhc_diag.__version__}", class_="tool"), tag("h1", title)),
        tag("main", lines(["", *parts, ""])),
        tag("footer", tag("p", "Made by mhc-diag, stability diagnostics for Hyper-Connections.")),
    ]
    page = [tag("head", lines(["", *_head(title), ""])), tag("body", lines(["", *body, ""]))]
    return f"<!DOCTYPE html>\n{tag('html', lines(['', *page, '']), lang='en')}\n"


def _head(title: str) -> Iterator[Markup]:
    yield tag("meta", charset="utf-8")
    yield tag("meta", http_equiv="Content-Security-Policy", content=POLICY)
    yield tag("meta", name_="viewport", content="width=device-width, initial-scale=1")
    yield tag("meta", name_="color-scheme", content="light dark")
    yield tag("link", rel="icon", href="data:,")
    yield tag("title", title)
    yield Markup(f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>")
