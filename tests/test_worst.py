import math

import pytest

from mhc_diag.worst import runs, worst_sites

NAN, INF = math.nan, math.inf


def test_attenuation_counts_as_much_as_growth():
    assert worst_sites([[0.0, -3.0, 2.0, 0.1]], [[0.0] * 4], 2) == {1, 2}


def test_what_is_no_number_comes_first_and_its_cause_before_what_inherits_it():
    own = [[0.0, 0.0, NAN, 9.0, 0.0]]
    composite = [[0.0, 0.0, NAN, NAN, INF]]
    assert worst_sites(own, composite, 1) == {2}
    assert worst_sites(own, composite, 3) == {2, 3, 4}


def test_a_gain_of_zero_is_the_worst_number():
    assert worst_sites([[0.0, -INF, 400.0]], [[0.0, 0.0, 0.0]], 1) == {1}


@pytest.mark.parametrize("full", [set(), {0}, {3}, {0, 2, 5}, set(range(9)), {8}, {1, 3, 5, 7}])
def test_runs_hold_every_site_once_and_fold_none_alone(full):
    parts = runs(9, full)
    assert [s for sites, _ in parts for s in sites] == list(range(9))
    assert all(len(sites) > 1 for sites, folded in parts if folded)
    assert all(s not in full for sites, folded in parts if folded for s in sites)
    assert all(a != b for (_, a), (_, b) in zip(parts, parts[1:], strict=False))
