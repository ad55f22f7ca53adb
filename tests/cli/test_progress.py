"""Progress is for a terminal only, for long work only, and is gone afterwards."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mhc_diag import progress as under_test
from mhc_diag.progress import progress, traffic

HC = Path(__file__).parents[2] / "sample_models/hc.pt"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that progress sees, in `now`."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(under_test, "time", clock)
    return clock


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error one; called inside the test, as pytest takes it back after the fixtures."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stderr", made := Terminal())
    return made


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the bar was told, in place of a bar."""
    told: list[int] = []
    monkeypatch.setattr(under_test, "_bar", lambda *_: told.append)
    return told


def test_what_was_done_before_the_bar_appeared_counts(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, shown: list[int]
) -> None:
    terminal(monkeypatch)
    with progress("measuring", total=10) as advance:
        advance(3)
        assert shown == []
        clock.now += 1.5
        advance(2)
        advance(5)
    assert shown == [3, 2, 5]


def test_short_work_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, shown: list[int]
) -> None:
    stream = terminal(monkeypatch)
    with progress("measuring", total=10) as advance:
        clock.now += 0.9
        advance(10)
    assert shown == [] and stream.getvalue() == ""


def test_nothing_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, shown: list[int]
) -> None:
    for stream in (io.StringIO(), None):
        monkeypatch.setattr("sys.stderr", stream)
        with progress("measuring", total=10) as advance:
            clock.now += 60
            advance(10)
    assert shown == []


def test_the_bar_names_the_work_and_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = terminal(monkeypatch)
    with progress("measuring", total=10) as advance:
        clock.now += 2
        advance(10)
    assert "measuring" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("\x1b[2K")  # the line is erased
    assert capsys.readouterr().out == ""


def test_bytes_that_travel_are_shown_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = terminal(monkeypatch)
    with traffic("fetching") as arrived:
        arrived(7_000_000, 0)
        assert stream.getvalue() == ""
        clock.now += 1.5
        arrived(0, 3_000_000)
        arrived(1_000_000, 5_000_000)
    assert "fetching" in stream.getvalue() and "8.0/8.0 MB" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("\x1b[2K")
    assert capsys.readouterr().out == ""


def test_bytes_that_travel_are_not_shown_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace
) -> None:
    for stream in (io.StringIO(), None):
        monkeypatch.setattr("sys.stderr", stream)
        with traffic("fetching") as arrived:
            clock.now += 60
            arrived(10, 10)
        assert stream is None or stream.getvalue() == ""


@pytest.mark.parametrize("command", [("scan", HC), ("simulate", "--depth", "40", "--seeds", "3")])
def test_the_total_is_what_is_done(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: tuple[Any, ...]
) -> None:
    promised: list[int] = []
    done: list[int] = []

    @contextlib.contextmanager
    def recording(what: str, total: int) -> Iterator[Callable[[int], None]]:
        promised.append(total)
        yield done.append

    monkeypatch.setattr(under_test, "progress", recording)
    assert run(*command).code == 0
    assert [sum(done)] == promised
