"""The transpose is applied of what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence
from mhc_diag.findings._sides import sides
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC302"
TITLE = "orientation differs from what the parameters say"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error"}
WHAT = """
The model applies the transpose of the matrix that the code of its parameters applies. It shows in two
ways:

- Sinkhorn's last step makes the sums of one side exactly 1. Here those of the other side are: further
  from 1 by a factor of 30 on the side that is promised exact, at three in four of the sites where the
  sides differ at all.
- The model shows its matrix, as an output of a module or a parameter, and what it applies is that matrix
  where the layout says its transpose, or the other way round. Exact sums on the right side outweigh it.
"""
WHY = """
Half of all implementations store a matrix H and apply H^T, and weights that were trained with one are
wrong under the other. Nothing looks amiss in the composite gains. In a port of DeepSeek-V4 it cost a
KL divergence of 0.265 from the reference, 0.038 once fixed.
"""
FIX = """
Transpose the matrix where it is applied. DeepSeek's code and transformers from 5.8.1 on do
`x_out[i] = sum_j comb[j, i] x[j]`, Megatron-LM's main branch `x_out[i] = sum_j H[i, j] x[j]`. Compare
the outputs with those of the code that the weights were trained with.
"""
REFERENCES = (
    "NVIDIA-NeMo/Automodel issues 2154 and 2159",
    "NVIDIA/Megatron-LM issues 4957 and 5106",
    "definitions.md: the applied operator",
)
MOST = 0.75
"""Share of the sites where the sides differ."""


def check(report: Report) -> Iterator[Evidence]:
    """Marginals on the wrong side, or a matrix that the model shows and applies the other way."""
    yield from _marginals(report) or _shown(report)


def _marginals(report: Report) -> list[Evidence]:
    promise, found = report.provenance.promise, sides(report, "max")
    if promise is None or found is None or promise.exact not in ("rows", "columns"):
        return []
    exact = promise.exact
    other = "columns" if exact == "rows" else "rows"
    swapped, right = found.inexact(exact), found.inexact(other)
    wrong = int(swapped.sum())
    if not wrong or wrong < MOST * (wrong + int(right.sum())):
        return []
    off = found.rows if exact == "rows" else found.columns
    first = max(swapped.nonzero()[0].tolist(), key=lambda site: float(off[site]))
    value, label = float(off[first]), report.sites[first].label
    text = (
        f"the sums of the {other} are exact and those of the {exact} are not, up to {value:.1e} from 1, "
        f"at {wrong} of {len(report.sites)} sites; {promise.origin or 'the code'} promises "
        f"{exact}: the transpose is applied"
    )
    return [Evidence(text, Place(f"{exact[:-1]}_residual", "site", "max", value, None, first, label))]


def _confirmed(report: Report, exact: str) -> bool:
    """Whether the sums are exact on the side that is promised, and not on the other, wherever they differ."""
    found = sides(report, "max")
    if found is None or exact not in ("rows", "columns"):
        return False
    other = "columns" if exact == "rows" else "rows"
    return bool(found.inexact(other).any() and not found.inexact(exact).any())


def _shown(report: Report) -> list[Evidence]:
    promise = report.provenance.promise
    if promise is None or not promise.applied or _confirmed(report, promise.exact):
        return []
    meant = "equal" if promise.applied == "direct" else "transposed"
    told = [e for e in report.provenance.exposed if e.relation in ("equal", "transposed")]
    told = [e for e in told if not e.position.startswith("argument")]  # which may be turned on its way there
    right = {e.site for e in told if e.relation == meant}
    wrong = [e for e in told if e.relation != meant and e.site not in right]
    sites = {e.site for e in wrong}
    if not wrong or len(sites) < MOST * len(sites | right):
        return []
    first = wrong[0]
    label = report.sites[first.site].label
    ways = {"equal": "as it is", "transposed": "transposed"}
    text = (
        f"{first.path} ({first.position}) is applied {ways[first.relation]} at {len(sites)} of "
        f"{len(report.sites)} sites; {promise.origin or 'the code'} applies it {ways[meant]}"
    )
    return [Evidence(text, Place("", "site", "", None, None, first.site, label))]
