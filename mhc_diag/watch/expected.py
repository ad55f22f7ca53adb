"""What a policy allows of the numbers that a watch records at every step.

A limit of a policy names metric, scope and statistic; those that a watch takes are in `RECORDED`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mhc_diag.analyse import analyse
from mhc_diag.errors import MhcDiagError
from mhc_diag.policy import NONE, Policy
from mhc_diag.records import MixingStack
from mhc_diag.verdict import Limit

RECORDED = {
    ("amax_forward", "prefix", "max"): "forward_max",
    ("amax_forward", "prefix", "mean"): "forward_mean",
    ("amax_forward", "prefix", "min"): "forward_min",
    ("amax_backward", "suffix", "max"): "backward_max",
    ("amax_backward", "suffix", "mean"): "backward_mean",
    ("amax_backward", "suffix", "min"): "backward_min",
    ("amax_forward", "site", "max"): "site_forward_max",
    ("amax_backward", "site", "max"): "site_backward_max",
    ("uniformity", "prefix", "mean"): "uniformity_mean",
}
"""Which number of a record is which metric, scope and statistic, the worst over the sites."""
ROUNDING = 1e-9
"""By how much, relative, a number may be beyond its limit: records hold logarithms."""
NONFINITE = "nonfinite_tokens"
RISES = ("forward_rise", "backward_rise")


@dataclass(frozen=True, slots=True)
class Expected:
    """One number of a record, and what is allowed of it.

    Example:
        >>> Expected("forward_max", Limit("amax_forward", "prefix", at_most=4.0)).holds(float("nan"))
        False
    """

    name: str
    """Without the `mhc/` before it."""
    limit: Limit

    def holds(self, value: float) -> bool:
        """Whether a value is allowed; NaN never is."""
        most, least = self.limit.at_most, self.limit.at_least
        within = most is None or value <= most + abs(most) * ROUNDING
        return within and (least is None or value >= least - abs(least) * ROUNDING)


def expected(
    policy: Policy | None, max_rise: float | None, stack: MixingStack | None = None
) -> tuple[Expected, ...]:
    """What is expected of every record; always that its numbers are finite.

    Args:
        policy: limits of composite gains, of single sites, and of `uniformity` in the scope `prefix` under
            the statistic `mean`. Of a profile, those of its limits count that a watch can hold.
        max_rise: how many times the gains of the first record the composite gains may become.
        stack: the first record, from which a profile is chosen; None before there is one.

    Raises:
        MhcDiagError: a limit of the user's is on something that is not recorded.

    Example:
        >>> [e.name for e in expected(Policy(max_gain=4), None)]
        ['nonfinite_tokens', 'forward_max', 'backward_max']
    """
    found = [Expected(NONFINITE, Limit(NONFINITE, "stack", "", at_most=0.0))]
    if max_rise is not None:
        if not max_rise > 0:
            raise MhcDiagError(f"max_rise is {max_rise}", hint="give a factor above 0, such as 10")
        found += [Expected(name, Limit(name, "stack", "", at_most=max_rise)) for name in RISES]
    if policy is None:
        return tuple(found)
    for limit in _limits(policy, stack):
        name = RECORDED.get(limit.key[:3])
        if name is not None and limit.sites == "*":
            found.append(Expected(name, limit))
        elif not limit.by_profile:
            raise MhcDiagError(
                f"a watch does not record {':'.join(part for part in limit.key if part)}",
                hint="it records "
                + ", ".join(":".join(key) for key in RECORDED)
                + " of all sites; hold other limits against report() with mhc_diag.judge",
            )
    return tuple(found)


def _limits(policy: Policy, stack: MixingStack | None) -> tuple[Limit, ...]:
    if stack is None or policy.profile == NONE:
        return policy.limits_of(NONE)
    report = analyse(stack)
    return policy.limits_of(policy.profile_of(report), report)
