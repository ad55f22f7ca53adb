"""The gate as a pytest fixture.

    def test_mixing_is_stable(mhc_gate):
        mhc_gate("checkpoints/model.safetensors")

The fixture takes what `mhc-diag gate` takes, or a live module with its inputs, and fails the test with the
findings. What the gate expects is what `[tool.mhc-diag]` says, and what the call adds to it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from mhc_diag.policy.given import Settings
    from mhc_diag.records import Report
    from mhc_diag.verdict import Verdict

DIRECTIONS: tuple[Literal["forward", "backward"], ...] = ("forward", "backward")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the baseline."""
    group = parser.getgroup("mhc-diag")
    group.addoption(
        "--mhc-update-baseline",
        action="store_true",
        help="write the baselines of mhc_gate anew, unless they would get worse",
    )
    group.addoption(
        "--mhc-accept-worse", action="store_true", help="with --mhc-update-baseline: even if they get worse"
    )


@pytest.fixture
def mhc_gate(request: pytest.FixtureRequest) -> Gate:
    """The gate: call it with a checkpoint, or with a model and what the model is called with."""
    return Gate(request)


class Gate:
    """What the fixture is: hold models against limits, and fail the test where they break one."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def __call__(
        self,
        target: Any,
        *inputs: Any,
        max_gain: float | None = None,
        profile: str | None = None,
        config: str | Path | None = None,
        baseline: str | Path | None = None,
        tolerance: float | None = None,
        **named: Any,
    ) -> Verdict:
        """Measure something and judge it.

        Args:
            target: a checkpoint (file, folder or address), a saved report, `package.module:factory`, a
                module, or a report or several that were made already.
            inputs: what a module is called with.
            max_gain: upper limit of both composite gains.
            profile: `mhc`, `hc`, `residual`, `auto` or `none`.
            config: a file with limits, instead of the one that is found from pytest's root folder upwards.
            baseline: a file of numbers that must not get worse; `--mhc-update-baseline` writes it. A relative
                path begins at pytest's root folder.
            tolerance: how much worse a number may be than the baseline, relative.
            named: what a module is called with, by name.

        Returns:
            The verdict, where it passed.

        Raises:
            pytest.fail.Exception: a limit is broken, or that could not be told.
        """
        from mhc_diag.errors import MhcDiagError

        __tracebackhide__ = True
        root = self._request.config.rootpath
        try:
            wanted = _expected(root, config, profile=profile, max_gain=max_gain, baseline=baseline)
            reports = _reports(target, inputs, named)
            verdict, refused = self._judged(reports, wanted, tolerance)
        except MhcDiagError as e:
            pytest.fail(f"{e.message}\nhint: {e.hint}", pytrace=False)
        self._keep(reports)
        if refused or verdict.outcome != "passed":
            fixes = dict.fromkeys(f"{f.rule}: {f.fix}" for f in verdict.errors)
            head = "mhc-diag: " + ("the baseline is left as it is" if refused else verdict.outcome)
            pytest.fail("\n".join([head, *refused, *verdict.lines, *fixes]), pytrace=False)
        return verdict

    def _judged(
        self, reports: Sequence[Report], wanted: Settings, tolerance: float | None
    ) -> tuple[Verdict, tuple[str, ...]]:
        """The verdict, and why a baseline that was to be written was not."""
        from mhc_diag.cli import baselines
        from mhc_diag.gate import judge

        verdict = judge(reports, wanted.policy)
        if wanted.baseline is None:
            return verdict, ()
        update, accept = (
            self._request.config.getoption(f"--mhc-{x}") for x in ("update-baseline", "accept-worse")
        )
        path = self._request.config.rootpath / wanted.baseline
        asked = baselines.asked(path, update=update, accept=accept and update, tolerance=tolerance)
        assert asked is not None
        settled = baselines.settled(asked, reports, verdict, wanted.policy)
        settled.write()
        return settled.verdict, settled.refusals

    def _keep(self, reports: Sequence[Report]) -> None:
        """The worst gains, as properties of the test case."""
        for direction in DIRECTIONS:
            worst = [report.worst(direction).log10 for report in reports]
            self._request.node.user_properties.append((f"mhc_log10_worst_{direction}", max(worst)))


def _expected(root: Path, config: str | Path | None, **said: Any) -> Settings:
    """What the configuration, the environment and, over them, the call say."""
    from mhc_diag.policy.file import settings
    from mhc_diag.policy.given import VARIABLES, from_texts

    called = {name: f"mhc_gate({name.lower()}=...)" for name in VARIABLES}
    return settings(config, start=root, over=from_texts(called, **said))


def _reports(target: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> list[Report]:
    """What was made already, or what a file holds, or what is measured.

    Raises:
        MhcDiagError: the target cannot be read or measured.
    """
    from mhc_diag.analyse import analyse
    from mhc_diag.cli.gathered import reports_of
    from mhc_diag.cli.measuring import Measuring
    from mhc_diag.records import Report
    from mhc_diag.sources.probe import probe

    if isinstance(target, Report):
        return [target]
    if isinstance(target, (list, tuple)):
        return list(target)
    if isinstance(target, (str, os.PathLike)):
        return reports_of(os.fspath(target), Measuring())
    return [analyse(probe(target, (inputs, named)))]
