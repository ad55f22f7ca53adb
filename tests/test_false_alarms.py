"""Healthy stacks pass and sick ones fail, of every kind; `make bench` counts a thousand of each.

A kind that is meant to be caught in at least 99 % is caught in all of four, and none of four healthy ones is.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "false_alarms.py"
STACKS = 4


def loaded():
    spec = importlib.util.spec_from_file_location("false_alarms", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


BENCHMARK = loaded()
CAUGHT_BY = {
    "amplifying: unconstrained, as in the paper": "MHC101 error",
    "amplifying: sums of 1.04 to 1.2": ("MHC101 error", "MHC103 error", "MHC304 error"),
    "collapsed: streams replaced by their mean": "MHC201 error",
    "collapsed: logits after weight decay": "MHC201 error",
    "collapsed: all streams the first": "MHC204 error",
    "dead: temperature 0.05": "MHC203 error",
    "transposed": "MHC302 error",
    "truncated: 1 to 3 Sinkhorn iterations": "MHC301 error",
}


def counted(kind, seed=1):
    """How many raise an error, and which findings there were."""
    ((_, stacks, errors, found),) = BENCHMARK.judged((kind,), STACKS, seed)
    assert stacks == STACKS
    return errors, found


@pytest.mark.parametrize("kind", BENCHMARK.HEALTHY, ids=lambda kind: kind.what)
def test_what_is_healthy_raises_no_error(kind):
    errors, found = counted(kind)
    assert errors == 0, found
    assert set(found) <= {"MHC201 warn"}, "and warns of nothing but averaging"


@pytest.mark.parametrize("kind", BENCHMARK.SICK, ids=lambda kind: kind.what)
def test_what_is_sick_is_caught_by_the_finding_that_is_meant_for_it(kind):
    errors, found = counted(kind)
    assert errors == STACKS, found
    assert sum(times for rule, times in found.items() if rule.startswith(CAUGHT_BY[kind.what])) == STACKS
