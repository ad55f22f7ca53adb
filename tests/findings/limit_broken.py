"""A limit of the user's."""

from sample_stacks import scaled

from mhc_diag.gate import Policy
from mhc_diag.verdict import Limit

POLICY = Policy(profile="auto", limits=(Limit("spectral_norm", "prefix", at_most=1.5),))
SAMPLES = {"a norm of 1.61": lambda: scaled(1.02)}
NEAR_MISSES = {"a norm of 1.48": lambda: scaled(1.0165)}
