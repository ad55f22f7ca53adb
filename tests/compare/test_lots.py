"""All reports of two targets: what they come to, in an exit code, in sentences and as JSON."""

import json

from compared_reports import measured, stochastic, usual, with_number

from mhc_diag.compare import compared_lots
from mhc_diag.compare.document import to_document
from mhc_diag.render import json as json_format
from mhc_diag.render.table.differences import differences


def test_the_gravest_counts():
    a, b = usual("a"), usual("b")
    worse = measured(2 * stochastic(), name="b")
    for before, after, outcome in (
        ([a, b], [a, b], "passed"),
        ([a, b], [a, worse], "failed"),
        ([a, b], [a], "could not tell"),
        ([a], [a, b], "could not tell"),
        ([a, b], [worse], "failed"),
        ([a, b], [usual("c"), usual("d")], "could not tell"),
        ([], [], "could not tell"),
    ):
        lots = compared_lots(before, after, tolerance=0.01)
        assert lots.outcome == outcome, (before, after)
        assert lots.exit_code == {"passed": 0, "failed": 1, "could not tell": 2}[outcome]


def test_sentences_tell_the_worst_first_and_count_the_rest():
    report = usual()
    worse = with_number(report, "amax_forward", "prefix", "max", 3, 8.0)
    worse = with_number(worse, "amax_backward", "site", "max", 1, 40.0)
    lines = compared_lots([report], [worse], tolerance=0.01).lines
    assert lines[0].startswith("worse: model: amax_backward of a site, max at layers.1: 40.00, was ")
    assert lines[1].startswith("worse: model: amax_forward of a prefix, max at layers.3: 8.000, was 1.000")
    assert lines[2].startswith("worse: model: 2 of 90 numbers at sites, most amax_backward")
    assert len(lines) == 3


def test_only_one_target_has_it():
    lines = compared_lots([usual("a"), usual("b")], [usual("b"), usual("c")], tolerance=0.01).lines
    assert lines[-2:] == (
        "could not tell: a: only the first target has it",
        "could not tell: c: only the second target has it",
    )


def test_the_document_is_strict_json_and_counts_what_is_worse():
    bad = with_number(usual(), "amax_forward", "prefix", "max", 3, float("nan"))
    lots = compared_lots([usual()], [bad], tolerance=0.01)
    text = json_format.dumped(to_document(lots))
    (found,) = json.loads(text, parse_constant=lambda name: 1 / 0)["comparisons"]
    assert [(r["after"], r["worse_log10"], r["after_label"]) for r in found["sites"] if r["worse"]] == [
        ("nan", "inf", "layers.3")
    ]
    assert len(found["worst"]) == 16


def test_the_table_shows_all_changes_where_asked():
    lots = compared_lots([usual()], [measured(1.1 * stochastic())], tolerance=0.01)
    some, every = (differences(lots, width=200, all_sites=all_sites) for all_sites in (False, True))
    assert "the 12 largest" in some and "largest, " not in every
    assert len(every.splitlines()) - len(some.splitlines()) > 50
    assert differences(lots, width=80, unicode=False).isascii()
