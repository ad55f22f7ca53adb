"""A run as one page of HTML that needs nothing beside itself."""

from __future__ import annotations

from mhc_diag.figures import training
from mhc_diag.magnitude import magnitude
from mhc_diag.render.html.document import document
from mhc_diag.render.html.elements import Markup, lines, section, table, tag
from mhc_diag.render.html.inlined import inlined
from mhc_diag.sources.runs import Run
from mhc_diag.training.table import ROWS, count, largest

CAPTION = (
    "The composite gain of the worst depth over the steps of training, forward and backward, of the worst "
    "token and in the mean over tokens. 1 is ideal. Where gradients were watched, also how much larger "
    "that of the streams is before the first site than after the last: observed, and by mixing alone."
)


def render(run: Run) -> str:
    """The page.

    Example:
        >>> render(Run("run.jsonl", "Model")).splitlines()[0]
        '<!DOCTYPE html>'
    """
    alerts = run.alerts
    outcome = count(alerts, "alert") if alerts else "no alert"
    parts = [_banner(run), _alerts(run), _picture(run), section("numbers", "Numbers", _numbers(run))]
    return document(f"{outcome}: {training.title(run)}", [part for part in parts if part])


def _banner(run: Run) -> Markup:
    alerts = run.alerts
    first = alerts[0]["text"] if alerts else "no limit was crossed" if run.limits else "no limit was set"
    look = "failed" if any(a.get("level") == "error" for a in alerts) else "passed"
    told = tag("p", count(alerts, "alert") if alerts else "No alert", class_="outcome")
    return tag("div", told, tag("p", first), class_=f"banner {look}")


def _alerts(run: Run) -> Markup:
    rows = [(a["step"], a["metric"], a["limit"], a["site"], a["text"]) for a in run.alerts]
    head = ("step", "metric", "allowed", "site", "what was told")
    return section("alerts", "Alerts", table("Every crossing of a limit", head, rows))


def _picture(run: Run) -> Markup:
    if not run.records:
        return section("pictures", "Gains over training", tag("p", "The run has no record yet."))
    svg = training.picture(run, "svg", theme="page", stacked=True)
    told = tag("p", training.in_words(run), id="training-words")
    figure = tag(
        "figure",
        tag("h3", "Composite gains", id="training-title"),
        inlined(svg, "training", labelled_by="training-title", described_by="training-words"),
        tag("figcaption", tag("p", CAPTION), tag("details", tag("summary", "Its numbers in words"), told)),
    )
    return section("pictures", "Gains over training", tag("div", lines(["", figure, ""]), class_="figures"))


def _numbers(run: Run) -> Markup:
    rows = []
    for name, what in ROWS.items():
        course = run.course(name)
        if course:
            top = largest(course)
            told = [magnitude(point.value, point.log10) for point in (course[0], top, course[-1])]
            rows.append((what, *told, top.step))
    head = ("number", "first", "largest", "latest", "largest at step")
    return table("First, largest and latest", head, rows, numbers=4)
