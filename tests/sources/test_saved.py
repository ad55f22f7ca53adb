"""Saved reports are told from everything else by what is in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mhc_diag.errors import MhcDiagError
from mhc_diag.gate import Policy, judge
from mhc_diag.records import Curve, Provenance, Report, Site
from mhc_diag.render.json import render
from mhc_diag.sources.saved import is_saved, read


def report() -> Report:
    origin = Provenance("a test", "observed", "made by hand", "observed", "token")
    curves = tuple(
        Curve(
            f"amax_{side}",
            scope,
            "max",
            np.array([2.0, np.inf]),
            np.array([0.30103, np.inf]),
            np.array([0, 0]),
        )  # type: ignore[arg-type]
        for side, scope in (("forward", "prefix"), ("backward", "suffix"))
    )
    return Report("x.pt", 2, 1, (Site("a", "", 0), Site("b", "", 1)), curves, (), origin, nonfinite=(0, 1))


@pytest.fixture
def text() -> str:
    return render([report()], judge([report()], Policy(max_gain=4)))


def test_told_by_content_whatever_the_name_and_the_order(tmp_path: Path, text: str) -> None:
    forms = {
        "report.json": text,
        "model.safetensors": text,
        "sorted": json.dumps(json.loads(text), sort_keys=True),
        "spaced.txt": "\n  " + text,
    }
    for name, content in forms.items():
        (tmp_path / name).write_text(content)
        assert is_saved(str(tmp_path / name)), name
        found = read(tmp_path / name)
        assert [r.name for r in found.reports] == ["x.pt"]
        assert found.verdict == judge([report()], Policy(max_gain=4))


def test_other_files_are_not_taken_for_reports(tmp_path: Path) -> None:
    matrix = {"mixing": np.eye(4)}
    for names in range(40, 60):  # among them a header of such a length that the file begins with a brace
        tensors = {"x" * names: np.eye(2)}
        safetensors.numpy.save_file(tensors, tmp_path / f"{names}.safetensors", {"by": "mhc-diag/report"})
        assert not is_saved(str(tmp_path / f"{names}.safetensors"))
    starts = {(tmp_path / f"{names}.safetensors").read_bytes()[:1] for names in range(40, 60)}
    safetensors.numpy.save_file(matrix, tmp_path / "x.safetensors")
    (tmp_path / "brace.safetensors").write_bytes(b"{\0\0\0\0\0\0\0" + b'{"a": "mhc-diag/report"}')
    (tmp_path / "x.safetensors.index.json").write_text('{"weight_map": {"mixing": "x.safetensors"}}')
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "list.json").write_text('["mhc-diag/report"]')
    for name in ("x.safetensors", "brace.safetensors", "x.safetensors.index.json", "empty.json", "list.json"):
        assert not is_saved(str(tmp_path / name)), name
    for name in (str(tmp_path), str(tmp_path / "missing.json"), "a" * 5000, "package.module:factory"):
        assert not is_saved(name)
    assert starts


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_what_was_a_report_is_said_to_be_damaged(tmp_path: Path, text: str, part: float) -> None:
    path = tmp_path / "cut.json"
    path.write_text(text[: int(len(text) * part)])
    assert is_saved(str(path))
    with pytest.raises(MhcDiagError, match=r"cut\.json is not JSON, expected a saved report"):
        read(path)


@pytest.mark.parametrize(
    "damage",
    [{"checks": 3}, {"findings": [{}]}, {"doubts": [{"what": "?"}]}, {"outcome": None}, {"profiles": None}],
    ids=str,
)
def test_a_damaged_verdict(tmp_path: Path, text: str, damage: dict[str, object]) -> None:
    document = json.loads(text)
    document["verdict"] |= damage
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(MhcDiagError, match=r"x\.json is a damaged report"):
        read(tmp_path / "x.json")
