"""What the audit says of memory that nobody wrote."""

from sample_stacks import healthy

from mhc_diag.records import Observation


def audited(*checks):
    return healthy(
        audit=tuple(Observation(c, "layers.0.hc_attn_base", "numbers up to 1.2e+31") for c in checks)
    )


SAMPLES = {
    "huge numbers": lambda: audited("uninitialised"),
    "zeros": lambda: audited("all-zero", "uninitialised"),
    "huge numbers and NaN": lambda: audited("not-finite", "uninitialised"),
}
NEAR_MISSES = {
    "never trained": lambda: audited("unmoved"),
    "the mixing reads no streams": lambda: audited("reads-nothing"),
}
