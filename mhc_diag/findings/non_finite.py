"""NaN and infinity in mixing matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC502"
TITLE = "mixing that is not finite"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error", "residual": "error"}
WHAT = """
The mixing matrix of some site has a NaN or an infinite entry, for some tokens at least; or a parameter of
the mixing has.
"""
WHY = """
One such entry reaches every stream of every later layer, and by the gradient every earlier one: 1 site of
1 token is enough to make the loss of the whole batch NaN.
"""
FIX = """
Look at the first site that is named: its parameters, the range of its logits, the dtype of its
exponentials. An exponential overflows above 88 in float32 and bfloat16, and
above 11 in float16, unless the largest logit is subtracted first.
"""
REFERENCES = ("Higham, Accuracy and Stability of Numerical Algorithms, section 27.5",)
EXPLAINS = (
    "MHC101",
    "MHC102",
    "MHC103",
    "MHC104",
    "MHC201",
    "MHC202",
    "MHC203",
    "MHC204",
    "MHC301",
    "MHC302",
    "MHC303",
    "MHC304",
    "MHC501",
    "MHC503",
)


def check(report: Report) -> Iterator[Evidence]:
    """Sites with such a matrix."""
    sites = [site for site, count in enumerate(report.nonfinite) if count]
    if not sites:
        for item in report.provenance.audit:
            if item.check == "not-finite":  # of what a reading at zero input does not use
                yield Evidence(f"{item.where}: {item.text} among the parameters")
        return
    first, tokens = sites[0], report.nonfinite[sites[0]]
    label = report.sites[first].label
    where = f"site {first}" + (f" ({label})" if label else "")
    of = f" for {tokens} of {report.tokens} tokens" if report.tokens > 1 else ""
    some = "1 site has a matrix that is" if len(sites) == 1 else f"{len(sites)} sites have matrices that are"
    yield Evidence(
        f"{some} not finite, first {where}{of}", Place("nonfinite", "site", "", tokens, None, first, label)
    )
