"""Mixing that is the identity."""

import numpy as np
from sample_stacks import CONSTRAINED, FREE, repeated, shift

from mhc_diag.records import Promise

SAMPLES = {
    "mHC": lambda: repeated(np.eye(4)),
    "a fresh HC": lambda: repeated(np.eye(4), promise=FREE),
    "to within rounding of bfloat16": lambda: repeated(shift(1e-4)),
}
NEAR_MISSES = {
    "no mixing by design": lambda: repeated(np.eye(4), promise=Promise("identity", "both")),
    "one stream": lambda: repeated(np.eye(1), promise=FREE),
    "hardly any at one site, but it adds up": lambda: repeated(shift(0.003), promise=CONSTRAINED),
}
