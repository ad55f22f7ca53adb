"""Mixing in bfloat16, float16 or less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence, seen
from mhc_diag.findings._middle import middle
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC501"
TITLE = "mixing in low precision"
LEVELS: Mapping[str, Level] = {"mhc": "warn", "hc": "warn"}
WHAT = """
The small parameters of the mixing (base, scale, static matrices) are stored below float32. Or all entries
of the matrices that are applied are numbers of bfloat16 or float16, and no sum is exact any more: rows and
columns are both off. What reads the streams, `fn`, may be bfloat16: some codes keep it so by design, and
it is not told.
"""
WHY = """
bfloat16 rounds by up to 0.4 %, and row and column sums of M are off by about 2e-3 at every site: 60 sites
that round the same way come to 12 %, where float32 leaves 1e-5. As parameters, logits of size 8 are off by
up to 0.03, and entries of M by 3 %. transformers and NeMo Automodel had to pin these parameters to float32.
"""
FIX = """
Keep the mixing parameters, the projection and the matrix in float32, and cast the mixed streams back. They
are small: 24 numbers and three scales a site.
"""
REFERENCES = (
    "NVIDIA-NeMo/Automodel issue 2143",
    "huggingface/transformers issue 46198",
)
FORMATS = {"bfloat16": 8, "float16": 11}
"""Binary digits."""
OFF = 1e-4
"""Of the sums: what float32 and eps leave on the exact side is 2e-6 at most."""
LARGEST = 100.0
"""Entries that can be mixing at all."""
TELLING = 16
"""Entries with more than four binary digits that are needed: of random float32 numbers one in 65,536 is a
bfloat16 by chance."""


def check(report: Report) -> Iterator[Evidence]:
    """Stored so, or applied so."""
    for item in report.provenance.audit:
        if item.check == "low-precision":
            yield Evidence(f"{item.where}: {item.text}")
            return
    yield from _applied(report)


def _applied(report: Report) -> Iterator[Evidence]:
    import numpy as np

    off = [seen(report, f"{side}_residual", "site", "p50") for side in ("row", "column")]
    if report.sample is None or off[0] is None or off[1] is None:
        return
    with np.errstate(invalid="ignore"):
        least = np.minimum(off[0].value, off[1].value)
    entries = np.asarray(report.sample, dtype=np.float64).ravel()
    entries = entries[np.abs(entries) < LARGEST]  # and no NaN
    entries = entries[np.abs(entries * 16 - np.round(entries * 16)) > 1e-5]
    if not (middle(least) > OFF and entries.size >= TELLING):
        return
    mantissa = np.frexp(entries)[0]  # from 0.5 to 1
    for name, digits in FORMATS.items():
        steps = mantissa * 2.0**digits
        if np.mean(np.abs(steps - np.round(steps)) <= 2.0 ** (digits - 22)) > 0.99:
            first = int(np.nanargmax(least))
            side = "row" if off[0].value[first] <= off[1].value[first] else "column"
            value = float(least[first])
            yield Evidence(
                f"the matrices that are applied are rounded to {name}, and their sums are off by up to "
                f"{value:.1e} for the typical token",
                Place(f"{side}_residual", "site", "p50", value, None, first, report.sites[first].label),
            )
            return
