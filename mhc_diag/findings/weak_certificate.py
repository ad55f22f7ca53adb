"""Sites whose mixing is known too roughly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC503"
TITLE = "certificate too weak to trust the numbers"
LEVELS: Mapping[str, Level] = {"mhc": "warn", "hc": "warn", "residual": "warn"}
WHAT = """
What was read of a site contradicts itself. Each channel gives M anew, and the certificate of a site is how
far they are apart; where an operation is opaque, M is fitted to its values, and the certificate bounds the
error of that fit. Told is where a site was left out for that reason, because its channels are apart by
more than 1e-5 or its fit by more than 1e-2, and where the errors of all sites together come to more than
5 % of the composite.
"""
WHY = """
Errors of single sites add up in a composite: 60 sites that are each known to 1e-3 give a gain that is known
to 6 %. A site that acts differently on different channels has no n x n matrix, and a composite that leaves
it out is that of another model.
"""
FIX = """
Run the site's own operations in plain torch, where the probe can follow them. For a fused kernel that is its
reference implementation; streams that differ from one another where they begin help too, and float64
inputs. A site that mixes channels too is no Hyper-Connection: mhc-diag cannot measure it.
"""
REFERENCES = ("probe.md: certificates, and what is fitted",)
TOGETHER = 0.05


def check(report: Report) -> Iterator[Evidence]:
    """Sites that were left out for it, or errors that add up."""
    weak = [remark for remark in report.provenance.remarks if remark.check == "weak-certificate"]
    if weak:
        some = "1 site was" if len(weak) == 1 else f"{len(weak)} sites were"
        yield Evidence(f"{some} left out, first {weak[0].where}: {weak[0].text}")
        return
    known = [(c, site) for site, c in enumerate(report.provenance.certificates or ()) if math.isfinite(c)]
    total = sum(c for c, _ in known)
    if total > TOGETHER:
        worst, site = max(known)
        yield Evidence(
            f"the certificates of all sites add up to {total:.2g}, and composite gains are known no better",
            Place("certificate", "site", "", worst, None, site, report.sites[site].label),
        )
