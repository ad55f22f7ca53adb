"""Stability diagnostics for Hyper-Connections: measure, simulate and judge mixing operators.

import mhc_diag
report = mhc_diag.analyse(mhc_diag.probe(model, input_ids))
print(report.summary)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mhc_diag.analyse import analyse
    from mhc_diag.errors import MhcDiagError, NothingToCheck
    from mhc_diag.gate import Policy, Verdict, judge
    from mhc_diag.records import MixingStack, Report
    from mhc_diag.sources.checkpoint import scan_checkpoint
    from mhc_diag.sources.probe import probe
    from mhc_diag.sources.simulate import Simulation, cases, simulate

__version__ = "0.1.0"
__all__ = [
    "MhcDiagError",
    "MixingStack",
    "NothingToCheck",
    "Policy",
    "Report",
    "Simulation",
    "Verdict",
    "analyse",
    "cases",
    "judge",
    "probe",
    "scan_checkpoint",
    "simulate",
]

_HOMES = {
    "MhcDiagError": "errors",
    "MixingStack": "records",
    "NothingToCheck": "errors",
    "Policy": "gate",
    "Report": "records",
    "Simulation": "sources.simulate",
    "Verdict": "gate",
    "analyse": "analyse",
    "cases": "sources.simulate",
    "judge": "gate",
    "probe": "sources.probe",
    "scan_checkpoint": "sources.checkpoint",
    "simulate": "sources.simulate",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mhc_diag' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mhc_diag.{_HOMES[name]}"), name)
