"""HTML elements whose text is always escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from mhc_diag.sources.printable import printable

LONGEST = 4000
VOID = {"meta", "link", "br"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(content: object) -> Markup:
    """Text as it is shown, whatever it holds.

    Example:
        >>> text("<b>&")
        '&lt;b&gt;&amp;'
    """
    return content if isinstance(content, Markup) else Markup(escape(printable(content, LONGEST)))


def tag(name: str, *children: object, **attributes: str | None) -> Markup:
    """An element; children that are no `Markup` are escaped, and so are all attributes.

    Args:
        name: of the element.
        children: what it holds.
        attributes: by name, in which `_` stands for `-`, and a last `_` is left out; None leaves one out.

    Example:
        >>> tag("p", "a < b", class_="x", aria_label='"')
        '<p class="x" aria-label="&quot;">a &lt; b</p>'
    """
    named = ((k.rstrip("_").replace("_", "-"), v) for k, v in attributes.items() if v is not None)
    opening = "".join([name, *(f' {k}="{text(v)}"' for k, v in named)])
    inner = "".join(map(text, children))
    return Markup(f"<{opening}>" if name in VOID else f"<{opening}>{inner}</{name}>")


def lines(parts: Iterable[str]) -> Markup:
    """Elements on lines of their own."""
    return Markup("\n".join(part for part in parts if part))


def section(name: str, heading: object, *children: str, level: int = 2) -> Markup:
    """A region of the page with its heading; nothing where it has no children."""
    kept = [child for child in children if child]
    if not kept:
        return Markup("")
    head = tag(f"h{level}", heading, id=f"{name}-heading")
    body = lines(["", head, *kept, ""])
    return tag("section", body, id=name, aria_labelledby=f"{name}-heading")


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: int = 0) -> Markup:
    """A table that scrolls by itself where the page is too narrow for it.

    Args:
        caption: what it shows.
        head: titles of the columns, of which the first names the row.
        rows: cells.
        numbers: so many columns after the first hold numbers.
    """
    looks = ["number" if 1 <= i <= numbers else None for i in range(len(head))]
    titles = [tag("th", title, scope="col", class_=look) for title, look in zip(head, looks, strict=True)]
    body = [
        tag(
            "tr",
            tag("th", first, scope="row"),
            *(tag("td", cell, class_=look) for cell, look in zip(rest, looks[1:], strict=True)),
        )
        for first, *rest in rows
    ]
    if not body:
        return Markup("")
    whole = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *titles)),
        tag("tbody", lines(["", *body, ""])),
    )
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)
