"""What the gate says of a live model, by way of the command line's own path."""

import sys
from types import ModuleType

from mhc_diag import analyse
from mhc_diag.gate import Policy, judge
from mhc_diag.sources.target import Request, scan


def findings(model, tokens):
    """Ids and texts."""
    made = ModuleType("a_reported_bug")
    made.build = lambda: (model, tokens)
    sys.modules[made.__name__] = made
    try:
        (stack,) = scan(Request("a_reported_bug:build"))
    finally:
        del sys.modules[made.__name__]
    return {f.rule: f for f in judge([analyse(stack)], Policy(profile="auto")).findings}
