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
"""

from __future__ import annotations

from mhc_diag.sweeps.merge import merged
from mhc_diag.sweeps.plan import Plan
from mhc_diag.sweeps.shards import Shard
from mhc_diag.sweeps.sweep import measure_shard, sweep

__all__ = ["Plan", "Shard", "measure_shard", "merged", "sweep"]
