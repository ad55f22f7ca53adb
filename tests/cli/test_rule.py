"""mhc-diag rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mhc_diag import findings, rulebook


def test_a_page(run: Callable[..., Any]) -> None:
    done = run("rule", "mhc101")
    assert (done.code, done.err) == (0, "")
    assert done.out == rulebook.page(findings.rule("MHC101"))


def test_all_of_them(run: Callable[..., Any]) -> None:
    done = run("rule")
    assert done.code == 0 and [line.split()[0] for line in done.out.splitlines()] == [*findings.rules()]


def test_one_that_is_none(run: Callable[..., Any]) -> None:
    done = run("rule", "MHC999")
    assert "there is no finding MHC999" in done.refused()
    assert "MHC101" in done.err.splitlines()[1]
