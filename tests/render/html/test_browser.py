"""A page in a real browser: nothing is fetched, nothing is complained of, everything is seen."""

import os
import shutil

import pytest

from mhc_diag import figures

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser is installed; one of {', '.join(NAMES)}")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=found, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser, pages, tmp_path_factory):
    """A page of some name in a browser of some kind, with what it asked for and complained of."""
    folder, contexts = tmp_path_factory.mktemp("pages"), []

    def open_(name, **kind):
        path = folder / f"{name}.html"
        path.write_text(pages(name)[1], encoding="utf-8")
        context = browser.new_context(**kind)
        contexts.append(context)
        page, seen = context.new_page(), {"requests": [], "complaints": []}
        page.on("request", lambda request: seen["requests"].append(request.url))
        page.on("console", lambda message: seen["complaints"].append(message.text))
        page.on("pageerror", lambda error: seen["complaints"].append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        keep = os.environ.get("PICTURES_OF_PAGES")  # a folder, for whoever wants to look
        if keep:
            page.screenshot(path=f"{keep}/{name}-{len(contexts)}.png", full_page=True)
        return page, seen, path.as_uri()

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", ["whole", "overflowing", "hostile"])
def test_asks_for_nothing_and_complains_of_nothing(opened, name):
    _, seen, address = opened(name)
    assert seen == {"requests": [address], "complaints": []}


def test_every_picture_is_seen(opened):
    page, _, _ = opened("whole", viewport={"width": 1280, "height": 900})
    boxes = [svg.bounding_box() for svg in page.locator("figure svg").all()]
    assert len(boxes) == len(figures.PICTURES)
    assert all(box["width"] > 250 and box["height"] > 150 for box in boxes)
    assert len({round(box["x"]) for box in boxes}) > 1  # side by side
    for figure in page.get_by_role("img").all():
        assert figure.is_visible()
    painted = page.evaluate(
        "[...document.querySelectorAll('figure svg path')].filter(p => p.getBBox().width > 50).length"
    )
    assert painted > 50


def test_pictures_are_named_and_described_to_assistive_technology(opened):
    page, _, _ = opened("whole")
    for title in ("Gain curves", "All composites", "Site matrices", "Convergence of Sinkhorn", "Growth"):
        assert page.get_by_role("img", name=title).count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("region", name="Worst composite gains").count() == 1


@pytest.mark.parametrize("name", ["whole", "failing", "hostile", "side-by-side"])
def test_fits_a_phone(opened, name):
    page, _, _ = opened(name, viewport=PHONE, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    widths = [svg.bounding_box()["width"] for svg in page.locator("figure svg").all()]
    assert all(250 < width <= PHONE["width"] for width in widths)
    size = page.evaluate(
        """Math.min(...[...document.querySelectorAll('figure svg text')].map(
            t => { const m = t.getScreenCTM();
            return parseFloat(getComputedStyle(t).fontSize) * Math.hypot(m.a, m.b) }))"""
    )
    assert size > 5  # pixels that the smallest text is high


def test_dark_is_dark_with_pictures_in_its_colours(opened):
    def colors(page):
        return page.evaluate(
            """[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
            getComputedStyle(document.querySelector('figure svg text')).fill,
            getComputedStyle(document.querySelector('figure svg path')).fill]"""
        )

    def brightness(color):
        return sum(int(part) for part in color.strip("rgb()").split(",")[:3]) / 3

    light = list(map(brightness, colors(opened("whole", color_scheme="light")[0])))
    dark = list(map(brightness, colors(opened("whole", color_scheme="dark")[0])))
    assert light[0] > 240 and light[1] < 60 and light[2] < 60 and light[3] > 240
    assert dark[0] < 30 and dark[1] > 200 and dark[2] > 200 and dark[3] < 30


def test_text_stands_out_from_what_is_behind_it(opened):
    """The contrast of WCAG 2, at least 4.5 for text, in both schemes."""
    contrast = """() => {
      const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(x => { x /= 255;
        return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4 });
        return .2126*r + .7152*g + .0722*b };
      const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!c.endsWith(', 0)')) return c } return 'rgb(255, 255, 255)' };
      let least = 99;
      for (const e of document.querySelectorAll('body *:not(svg *)')) {
        if (![...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())) continue;
        const [a, b] = [getComputedStyle(e).color, behind(e)].map(light).sort((x, y) => y - x);
        least = Math.min(least, (a + .05) / (b + .05)) }
      return least }"""
    for scheme in ("light", "dark"):
        page, _, _ = opened("whole", color_scheme=scheme)
        assert page.evaluate(contrast) >= 4.5


def test_prints_in_black_on_white_with_what_is_folded_away(opened):
    page, _, _ = opened("whole", color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details p").first.bounding_box()["height"] > 0
    assert page.pdf(format="A4").startswith(b"%PDF")
