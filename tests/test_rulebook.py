"""Pages of findings: in the docs as on the terminal."""

import importlib.util
import re
from pathlib import Path

import pytest

from mhc_diag import findings, rulebook

ROOT = Path(__file__).parents[1]
RULES = findings.rules()


def test_the_docs_are_up_to_date():
    spec = importlib.util.spec_from_file_location("make_rules", ROOT / "docs/make_rules.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    there = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/rules").iterdir()}
    assert there == script.written(), "run: make docs"


@pytest.mark.parametrize("name", RULES)
def test_a_page_says_it_all_once(name):
    rule, text = RULES[name], rulebook.page(RULES[name])
    assert text.startswith(f"# {name}: {rule.TITLE}\n") and text.endswith("\n") and "\n\n\n" not in text
    titles = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert titles == ["What is seen", "Why it matters", "What to do"] + ["References"] * bool(rule.REFERENCES)
    for part in (rule.WHAT, rule.WHY, rule.FIX, *rule.REFERENCES, *findings.explains(rule)):
        assert text.count(part.strip()) >= 1
    assert max(map(len, (rule.WHAT + rule.WHY + rule.FIX).splitlines())) <= 110


def test_the_index_has_all_of_them():
    assert re.findall(r"\[(MHC\d+)\]\((MHC\d+)\.md\)", rulebook.index(RULES.values())) == [
        (n, n) for n in RULES
    ]
    assert rulebook.listed(RULES.values()).split("\n") == [f"{n}  {r.TITLE}" for n, r in RULES.items()] + [""]
