"""Where a reader is sent."""

import pytest

from mhc_diag import findings, pages
from mhc_diag.records import Provenance


@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("model.pt", "model.pt"),
        ("./out/model.pt", "out/model.pt"),
        ("/data/model.pt", "/data/model.pt"),
        ("folder", "folder"),
        ("a/b.py:build", "a/b.py:build"),
        ("package.models:build", "package/models.py"),
        ("models:Net.tiny", "models.py"),
        ("https://host/model.pt", ""),
        ("../model.pt", ""),
        (".", ""),
        ("", ""),
        ("a\nb.pt", ""),
    ],
)
def test_file_of_a_target(target, file):
    assert pages.file_of(Provenance(target, "static", "how", "direct", "none")) == file


def test_a_simulation_has_no_file():
    assert pages.file_of(Provenance("stacks", "simulated", "how", "direct", "none")) == ""


def test_the_page_of_a_finding_is_where_the_docs_are(monkeypatch):
    rule = findings.rules()["MHC101"]
    assert pages.address(rule) == "https://arxiv.org/abs/2512.24880"
    monkeypatch.setattr(pages, "DOCS", "https://example.org/docs")
    assert pages.address(rule) == "https://example.org/docs/rules/MHC101.md"
