"""Numbers held against those of a stack whose streams are mixed a little less."""

from sample_stacks import repeated, shift

from mhc_diag import analyse
from mhc_diag.baseline import Baseline, against, updated
from mhc_diag.gate import Policy, judge

SAMPLES = {"2.06 % of each stream passed on, for 1.5 %": lambda: repeated(shift(0.0206))}
NEAR_MISSES = {"the same again": lambda: repeated(shift(0.015)), "less": lambda: repeated(shift(0.0145))}


def then(verdict, report):
    accepted = [analyse(repeated(shift(0.015)))]
    made = updated(Baseline(), accepted, judge(accepted, Policy(profile="auto")), tolerance=0.01)
    return against(made.baseline, [report], verdict, tolerance=0.01)
