"""Stability diagnostics for Hyper-Connections: measure, simulate and judge mixing operators.

import mhc_diag
report = mhc_diag.analyse(mhc_diag.probe(model, input_ids))
print(report.summary)
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mhc_diag.analyse import analyse
    from mhc_diag.errors import MhcDiagError, NothingToCheck
    from mhc_diag.gate import Policy, Verdict, judge
    from mhc_diag.records import MixingStack, Report
    from mhc_diag.sources.checkpoint import scan_checkpoint
    from mhc_diag.sources.probe import probe
    from mhc_diag.sources.simulate import Simulation, cases, simulate
    from mhc_diag.watch import Distribution, Watch, watch

__version__ = "0.1.0"
__all__ = [
    "Distribution",
    "MhcDiagError",
    "MixingStack",
    "NothingToCheck",
    "Policy",
    "Report",
    "Simulation",
    "Verdict",
    "Watch",
    "analyse",
    "cases",
    "judge",
    "probe",
    "scan_checkpoint",
    "simulate",
    "watch",
]

_HOMES = {
    "Distribution": "watch.distribution",
    "MhcDiagError": "errors",
    "MixingStack": "records",
    "NothingToCheck": "errors",
    "Policy": "gate",
    "Report": "records",
    "Simulation": "sources.simulate",
    "Verdict": "gate",
    "Watch": "watch",
    "analyse": "analyse",
    "cases": "sources.simulate",
    "judge": "gate",
    "probe": "sources.probe",
    "scan_checkpoint": "sources.checkpoint",
    "simulate": "sources.simulate",
    "watch": "watch",
}


class _Package(types.ModuleType):
    """The package, in which a function is not hidden by the submodule that has its name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOMES or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mhc_diag' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mhc_diag.{_HOMES[name]}"), name)
