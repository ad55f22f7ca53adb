"""Mixing parameters that nobody wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence
from mhc_diag.records import Report
from mhc_diag.verdict import Level

ID = "MHC504"
TITLE = "parameters that look uninitialised"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error", "residual": "error"}
WHAT = """
A mixing parameter of a checkpoint holds numbers that no training leaves: above 1e4, or not 0 and below
1.2e-38; or it is all zero where the code starts it from something else, or its matrix is. All three are
memory that was allocated and never written, or a tensor that was not saved.
"""
WHY = """
An Adam step moves a parameter by about its learning rate, so that a million steps of 1e-3 come to 1e3 at
most, and a softmax in float32 saturates at a distance of 100 already. Megatron-LM had a head that nobody
initialised, with NaN or huge numbers in it at step 0.
"""
FIX = """
Initialise the tensors that are named where they are made: `torch.empty` leaves what was in memory. Look at
whether a model that is built on the meta device initialises them when it is moved, and at whether the
checkpoint was saved by all ranks.
"""
REFERENCES = (
    "NVIDIA/Megatron-LM issue 4481",
    "audit.md: the checks `uninitialised` and `all-zero`",
)
EXPLAINS = (
    "MHC101", "MHC102", "MHC103", "MHC104", "MHC201", "MHC202", "MHC203", "MHC204", "MHC301", "MHC302",
    "MHC303", "MHC304", "MHC502",
)  # fmt: skip
CHECKS = ("uninitialised", "all-zero")


def check(report: Report) -> Iterator[Evidence]:
    """What the audit saw of it."""
    found = [item for item in report.provenance.audit if item.check in CHECKS]
    if found:
        more = f"; {len(found) - 1} more like it" if len(found) > 1 else ""
        yield Evidence(f"{found[0].where}: {found[0].text.rstrip('?')}{more}")
