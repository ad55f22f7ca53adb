"""Annotations, read by a parser of workflow commands that knows nothing of the code that writes them."""

import re
from dataclasses import replace

import pytest

from mhc_diag.records import Provenance
from mhc_diag.render.github import render
from mhc_diag.verdict import Finding, Verdict

LINE = re.compile(r"^::(error|warning|notice) ([^:]*)::(.*)$")


def commands(text):
    """Every line as (command, properties, message), unescaped as the runner does."""

    def unescaped(value, *codes):
        for code, character in codes:
            value = value.replace(code, character)
        return value.replace("%25", "%")

    lines = [("%0D", "\r"), ("%0A", "\n")]
    for line in text.removesuffix("\n").split("\n"):
        name, properties, message = LINE.fullmatch(line).groups()
        pairs = (pair.split("=", 1) for pair in properties.split(","))
        told = {key: unescaped(value, *lines, ("%3A", ":"), ("%2C", ",")) for key, value in pairs}
        yield name, told, unescaped(message, *lines)


def test_each_finding_and_doubt_is_one_command(handmade):
    verdict = handmade["VERDICTS"]["failing"]
    found = list(commands(render(handmade["REPORTS"]["failing"], verdict)))
    kinds = [name for name, _, _ in found]
    assert kinds.count("error") == len(verdict.errors) + sum(d.outcome != "passed" for d in verdict.doubts)
    assert kinds.count("warning") == len(verdict.warnings)
    name, properties, message = found[1]
    assert (name, properties["title"]) == ("error", "MHC501 mixing in low precision")
    assert message == "failing: all 40 sites are bfloat16\nUse float32."


@pytest.mark.parametrize("text", ["50%0A", "a\r\n::error::b", "x,y: z=1", "::stop-commands::x", "%25%3A"])
def test_no_text_ends_a_command_early(handmade, text):
    finding = Finding("MHC502", text, "error", text, text, text)
    (report,) = handmade["REPORTS"]["clean"]
    report = replace(
        report, name=text, provenance=replace(report.provenance, target="a,b:50%.pt"), summary=text
    )
    told = list(commands(render([report], Verdict("failed", findings=(finding,), enforced=True))))
    shown = text.replace("\r", "\\r").replace("\n", "\\n")
    assert len(told) == 3
    assert told[0][1] == {"file": "a,b:50%.pt", "title": f"MHC502 {shown}"}
    assert told[0][2] == f"{shown}: {shown}\n{shown}"


def test_a_file_is_named_where_the_target_is_one(handmade):
    (report,) = handmade["REPORTS"]["clean"]
    for target, file in [("out/a.pt", "out/a.pt"), ("hf://org/name", None), ("../a.pt", None)]:
        where = Provenance(target, "static", "read", "direct", "none")
        *_, (_, properties, _) = commands(render([replace(report, provenance=where)]))
        assert properties.get("file") == file


def test_the_last_commands_say_how_it_ended(handmade):
    reports = handmade["REPORTS"]
    ends = [message for _, _, message in commands(render(reports["clean"], handmade["VERDICTS"]["clean"]))]
    assert ends == ["passed", "No composite gain exceeds 1.000."]
    assert "measured" in [m for _, _, m in commands(render(reports["clean"]))]
    assert [kind for kind, *_ in commands(render([], handmade["VERDICTS"]["unreadable"]))] == [
        "error",
        "notice",
    ]
