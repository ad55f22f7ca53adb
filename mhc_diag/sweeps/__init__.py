"""Simulations over all cores, over a cluster, over the tasks of a job array; interrupted ones go on.

A simulation is cut into parts by its settings alone. Whoever measures which part when, the numbers are the
same to the last bit.

    plan.py      what is to be measured: settings, and the parts that follow from them
    engine.py    parts measured here or by joblib's workers
    state.py     what was measured, as arrays
    saved.py     a file of them, and of which parts it is
    folder.py    files of what was measured so far, so that it is not lost
    shards.py    a share of the parts
    merge.py     shares put together
    sweep.py     all of it
    samples.py   the same for a stack that was not simulated, as far as it can be cut
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mhc_diag.sweeps.merge import merged
    from mhc_diag.sweeps.plan import Plan
    from mhc_diag.sweeps.samples import analyse_samples
    from mhc_diag.sweeps.shards import Shard
    from mhc_diag.sweeps.sweep import measure_shard, run

__all__ = ["Plan", "Shard", "analyse_samples", "measure_shard", "merged", "run"]

_HOMES = {
    "Plan": "plan",
    "Shard": "shards",
    "analyse_samples": "samples",
    "measure_shard": "sweep",
    "merged": "merge",
    "run": "sweep",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that a small simulation starts at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mhc_diag.sweeps' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mhc_diag.sweeps.{_HOMES[name]}"), name)
