"""Errors of what was measured."""

from sample_stacks import DEPTH, healthy

from mhc_diag.records import Observation

LEFT_OUT = Observation("weak-certificate", "layers.3", "acts differently on different channels (0.2)")


def certified(each):
    return healthy(certificates=(each,) * DEPTH, fitted=tuple(range(DEPTH)))


SAMPLES = {
    "fits of 0.005": lambda: certified(0.005),
    "a site that has no M": lambda: healthy(remarks=(LEFT_OUT,)),
}
NEAR_MISSES = {
    "fits of 0.001": lambda: certified(0.001),
    "a token that is not finite": lambda: certified(float("nan")),
}
