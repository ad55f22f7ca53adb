"""What the gate says of a model, by way of the command line's own path."""

import sys
from types import ModuleType

from mhc_diag import analyse
from mhc_diag.gate import Policy, judge
from mhc_diag.sources.checkpoint import scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.target import Request, scan


def report_of(model, tokens):
    """A scan's."""
    made = ModuleType("a_reported_bug")
    made.build = lambda: (model, tokens)
    sys.modules[made.__name__] = made
    try:
        (stack,) = scan(Request("a_reported_bug:build"))
    finally:
        del sys.modules[made.__name__]
    return analyse(stack)


def of_report(report):
    """Findings by id."""
    return {f.rule: f for f in judge([report], Policy(profile="auto")).findings}


def of_model(model, tokens):
    """The same of a model that is run."""
    return of_report(report_of(model, tokens))


def of_file(path, **options):
    """The same of a checkpoint that is read without its code."""
    (stack,) = scan_variants(path, Options(**options))
    return of_report(analyse(stack))
