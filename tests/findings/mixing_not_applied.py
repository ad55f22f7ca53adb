"""What the probe and the audit say of mixing that is not applied."""

import numpy as np
from sample_stacks import healthy, repeated

from mhc_diag.records import Observation


def remarked(check):
    return repeated(np.eye(4), remarks=(Observation(check, "layers.*", "computes 1 mixing for nothing"),))


def audited(check):
    return healthy(audit=(Observation(check, "all 24 sites", "M is as the code initialises it"),))


SAMPLES = {
    "computed in vain": lambda: remarked("unapplied"),
    "the mixing has not moved": lambda: audited("mixing-unmoved"),
    "another is applied": lambda: healthy(remarks=(Observation("other-applied", "layers.* output 1", "no"),)),
}
WARNINGS = {"the mixing has not moved", "another is applied"}
NEAR_MISSES = {"nothing has moved": lambda: audited("unmoved")}
