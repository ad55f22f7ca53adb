"""A mixing is made and then not used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence
from mhc_diag.records import Report
from mhc_diag.verdict import Level

ID = "MHC401"
TITLE = "mixing computed but not applied"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error"}
WHAT = """
A module makes a mixing of the streams, or shows a mixing matrix, and what reaches the next site is not
mixed: M is the identity there. It is a warning where the model applies another matrix than the one that
it shows, and where, in a checkpoint, the mixing stands exactly where it started while other parameters of
the same site have moved.
"""
WHY = """
The parameters of the mixing get no gradient, and the n streams exchange nothing but what goes through the
branches. hyper-connections applied none of its mixings in the versions up to 0.3.9, and nothing failed: such
a model trains, and its composite gains are exactly 1.
"""
FIX = """
Return and use the mixed streams, not those that were mixed. Update hyper-connections to 0.3.10 or later,
and train again: the mixing of old weights was never trained.
"""
REFERENCES = (
    "lucidrains/hyper-connections issue 8: up to 0.3.9",
    "tokenbender/mHC-manifold-constrained-hyper-connections issue 3",
)
EXPLAINS = ("MHC202",)
REMARKS: Mapping[str, Level | None] = {"unapplied": None, "other-applied": "warn"}


def check(report: Report) -> Iterator[Evidence]:
    """The worst of what the probe, or the audit, saw of it."""
    found = {remark.check: remark for remark in reversed(report.provenance.remarks)}
    for name, level in REMARKS.items():
        if name in found:
            others = sum(remark.check == name for remark in report.provenance.remarks) - 1
            more = f", and {others} more places do" if others else ""
            yield Evidence(found[name].sentence + more, level=level)
            return
    for seen in report.provenance.audit:
        if seen.check == "mixing-unmoved":
            yield Evidence(f"{seen.where}: {seen.text}", level="warn")
            return
