"""Matrices and parameters below float32."""

from dataclasses import replace

import numpy as np
from sample_stacks import healthy, noise, projected, scaled

from mhc_diag.maths.precision import rounded
from mhc_diag.records import Observation


def rounded_to(precision):
    made = projected(4.5 * np.eye(4) + 0.3 * noise(24, 4, 4, 4))
    return replace(made, matrices=rounded(made.matrices, precision), logits=None)


def audited(check):
    return healthy(audit=(Observation(check, "base and scale", "bfloat16: numbers up to 8 are off by 0.03"),))


SAMPLES = {
    "applied in bfloat16": lambda: rounded_to("bf16"),
    "applied in float16": lambda: rounded_to("fp16"),
    "stored in bfloat16": lambda: audited("low-precision"),
}
NEAR_MISSES = {
    "applied in float32": lambda: rounded_to("fp32"),
    "sums off by as much, in full precision": lambda: scaled(1.002),
    "what reads the streams is bfloat16": lambda: audited("low-precision-reads"),
}
