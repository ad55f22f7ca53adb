"""The little Markdown of the pages of findings, as HTML: paragraphs, lists, code, and links."""

from __future__ import annotations

import re

from mhc_diag.render.html.elements import Markup, lines, tag, text

INLINE = re.compile(r"`([^`]+)`|\[([^\]]+)\]\((https?://[^\s)]+)\)|\*\*([^*]+)\*\*")


def paragraphs(markdown: str) -> Markup:
    """Paragraphs, and lists of lines that begin with a dash.

    Example:
        >>> paragraphs("a `b` < c")
        '<p>a <code>b</code> &lt; c</p>'
    """
    blocks = [block.strip() for block in re.split(r"\n\s*\n", markdown.strip()) if block.strip()]
    return lines(map(_block, blocks))


def inline(markdown: str) -> Markup:
    """One line of text with code, links and bold words."""
    made, end = [], 0
    for found in INLINE.finditer(markdown):
        made.append(text(markdown[end : found.start()]))
        code, words, address, bold = found.groups()
        if code:
            made.append(tag("code", code))
        elif bold:
            made.append(tag("strong", bold))
        else:
            made.append(tag("a", words, href=address, rel="noreferrer"))
        end = found.end()
    return Markup("".join([*made, text(markdown[end:])]))


def _block(block: str) -> Markup:
    if block.startswith("- "):
        items = re.split(r"\n(?=- )", block)
        return tag("ul", *(tag("li", inline(" ".join(item[2:].split()))) for item in items))
    return tag("p", inline(" ".join(block.split())))
