"""One entry that is not finite."""

import numpy as np
from sample_stacks import healthy, repeated, shift, stack

from mhc_diag.records import Observation


def with_entry(value):
    matrices = np.repeat(shift(0.03)[None], 6, axis=0)
    matrices[3, 1, 2] = value
    return stack(matrices)


def audited():
    """Of a parameter that a reading at zero input does not use."""
    return healthy(audit=(Observation("not-finite", "layers.0.hc_attn_fn", "3 NaN numbers"),))


SAMPLES = {
    "a parameter": audited,
    "NaN": lambda: with_entry(np.nan),
    "infinity": lambda: with_entry(np.inf),
    "nothing but NaN": lambda: repeated(np.full((4, 4), np.nan)),
}
NEAR_MISSES = {"a small entry": lambda: with_entry(1e-30)}
