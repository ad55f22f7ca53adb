"""Streams that are collapsed on their way."""

import numpy as np
from sample_stacks import FREE, healthy, repeated, shift, stack

from mhc_diag.records import Observation

SEEN = (Observation("not-persistent", "12 of the 23 sites after the first", "have an M of rank one"),)


def collapsed():
    """At every other site all streams begin as one mixture."""
    return stack([shift(0.3), np.full((4, 4), 0.25)] * 12, remarks=SEEN)


SAMPLES = {
    "between blocks": collapsed,
    "within blocks": lambda: repeated(np.eye(1), promise=FREE, remarks=SEEN),
}
NEAR_MISSES = {"they go on": healthy}
