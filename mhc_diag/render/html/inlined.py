"""A picture as SVG inside a page: without what only files need, in the colours of the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from mhc_diag.figures.theme import PALETTES
from mhc_diag.render.html.elements import Markup

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
VARIABLES = {getattr(PALETTES["page"], name): f"var(--{name})" for name in PALETTES["page"].__slots__}
REFERENCE = re.compile(r"(?<=#)[\w-]+(?=\))")
FONTS = re.compile(r"(?<=px )'DejaVu Sans'[^;\"]*")


def inlined(svg: bytes, name: str, *, labelled_by: str, described_by: str) -> Markup:
    """The picture as an element.

    Ids are made those of this picture, so that several do not get into each other's way; rules that would
    hold for the whole page are left out.

    Args:
        svg: the file, in the theme `page`.
        name: begins its ids.
        labelled_by: id of the element that says what it shows.
        described_by: id of the element that has its numbers in words.
    """
    root = ET.fromstring(svg)  # written by matplotlib a moment ago
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{SVG}}}metadata", f"{{{SVG}}}style"}:
                parent.remove(child)
    used = {part for element in root.iter() for part in _references(element)}
    for element in root.iter():
        _rename(element, used, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"role": "img", "aria-labelledby": labelled_by, "aria-describedby": described_by}
    ET.register_namespace("", SVG)
    made = ET.tostring(root, encoding="unicode")
    for color, variable in VARIABLES.items():
        made = made.replace(color, variable)
    return Markup(FONTS.sub("sans-serif", made))


def _references(element: ET.Element) -> list[str]:
    found = [part for value in element.attrib.values() for part in REFERENCE.findall(value)]
    linked = element.get(f"{{{XLINK}}}href", "")
    return [*found, linked[1:]] if linked.startswith("#") else found


def _rename(element: ET.Element, used: set[str], name: str) -> None:
    own = element.attrib.pop("id", "")
    for key, value in element.attrib.items():
        element.attrib[key] = REFERENCE.sub(lambda found: f"{name}-{found.group()}", value)
    linked = element.attrib.pop(f"{{{XLINK}}}href", "")
    if linked:
        element.attrib["href"] = f"#{name}-{linked[1:]}" if linked.startswith("#") else linked
    if own in used:
        element.attrib["id"] = f"{name}-{own}"
