"""The gate as a pytest fixture.

    def test_mixing_is_stable(mhc_gate):
        mhc_gate("checkpoints/model.safetensors")

The fixture takes what `mhc-diag gate` takes, or a live module with its inputs, and fails the test with the findings.
What the gate expects is what `[tool.mhc-diag]` says, and what the call adds to it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mhc_diag.records import Report
    from mhc_diag.verdict import Verdict


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
        **named: Any,
    ) -> Verdict:
        """Measure something and judge it.

        Args:
            target: a checkpoint (file, folder or address), a saved report, `package.module:factory`, a module, or a
                report or list of reports that were made already.
            inputs: what a module is called with.
            max_gain: upper limit of both composite gains.
            profile: `mhc`, `hc`, `residual`, `auto` or `none`.
            config: a file with limits, instead of the one that is found from pytest's root folder upwards.
            baseline: a file of numbers that must not get worse; `--mhc-update-baseline` writes it.
            named: what a module is called with, by name.

        Returns:
            The verdict, where it passed.

        Raises:
            pytest.fail.Exception: a limit is broken, or that could not be told.
        """
        from mhc_diag.errors import MhcDiagError
        from mhc_diag.gate import judge
        from mhc_diag.policy.file import find

        __tracebackhide__ = True
        root = self._request.config.rootpath
        try:
            policy = find(config, start=root)
            policy = replace(
                policy,
                max_gain=policy.max_gain if max_gain is None else max_gain,
                profile=profile or policy.profile,
            )
            reports = _reports(target, inputs, named)
            verdict = judge(reports, policy)
            if baseline is not None:
                verdict = self._compared(reports, verdict, root / baseline)
        except MhcDiagError as e:
            pytest.fail(f"{e.message}\nhint: {e.hint}", pytrace=False)
        for direction in ("forward", "backward"):
            worst = max((r.worst(direction).value for r in reports), default=None)  # type: ignore[arg-type]
            self._request.node.user_properties.append((f"mhc_worst_{direction}", worst))
        if verdict.outcome != "passed":
            fixes = dict.fromkeys(f"{f.rule}: {f.fix}" for f in verdict.errors)
            pytest.fail("\n".join([f"mhc-diag: {verdict.outcome}", *verdict.lines, *fixes]), pytrace=False)
        return verdict
