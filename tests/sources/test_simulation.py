"""Settings of a simulation: what is refused, and what stands for what was not given."""

import math
from pathlib import Path

import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.simulation import Simulation


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": 0}, "--depth is 0"),
        ({"depth": 10**7}, "--depth is 10000000"),
        ({"streams": 1}, "--streams is 1"),
        ({"streams": 65}, "--streams is 65"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"seeds": 10**7 + 1}, "--seeds is 10000001"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**63}, "--seed is 9223372036854775808"),
        ({"sinkhorn_iters": (20, -1)}, "--sinkhorn-iters is -1"),
        ({"sinkhorn_iters": (1, 5, 1)}, "--sinkhorn-iters has 1 twice"),
        ({"sinkhorn_iters": ()}, "--sinkhorn-iters is empty"),
        ({"scale": -0.1}, "--scale is -0.1"),
        ({"scale": math.nan}, "--scale is nan"),
        ({"scale": math.inf}, "--scale is inf"),
        ({"ensemble": "gauss"}, "--ensemble is 'gauss'"),
        ({"ensemble": "__init__"}, "--ensemble is '__init__'"),
        ({"ensemble": "correlated", "noise": -1.0}, "--noise is -1.0"),
        ({"ensemble": "correlated", "noise": math.nan}, "--noise is nan"),
        ({"noise": 0.3}, "--noise is 0.3, but --ensemble near-identity has no noise"),
        ({"manifolds": ("identity", "birkhoff")}, "--manifold is 'birkhoff'"),
        ({"manifolds": ()}, "--manifold is empty"),
        ({"manifolds": ("softmax-rows", "softmax_rows")}, "--manifold has softmax-rows twice"),
        ({"dtype": "int8"}, "--dtype is 'int8'"),
        ({"ensemble": "from-report"}, "--ensemble from-report needs a report to draw from"),
        (
            {"report": Path("r.json")},
            "--measured was given, but --ensemble near-identity draws from no report",
        ),
        (
            {"ensemble": "from-report", "report": Path("r.json"), "scale": 2.0},
            "--scale is 2.0, but --ensemble from-report has no scale",
        ),
    ],
)
def test_invalid_settings_name_the_flag(setting, message):
    with pytest.raises(MhcDiagError) as caught:
        Simulation(**setting)
    assert caught.value.message == message and caught.value.hint


def test_what_can_be_chosen_is_listed_as_it_is_written():
    with pytest.raises(MhcDiagError) as caught:
        Simulation(ensemble="nearidentity")
    assert "near-identity" in caught.value.hint and "from-report" in caught.value.hint
    with pytest.raises(MhcDiagError) as caught:
        Simulation(manifolds=("softmax",))
    assert "softmax-rows" in caught.value.hint


@pytest.mark.parametrize(
    ("setting", "scale", "noise"),
    [
        ({}, 0.366100593157, None),
        ({"scale": 0.0}, 0.0, None),
        ({"ensemble": "gaussian"}, 1.0, None),
        ({"ensemble": "correlated"}, 4.0, 0.3),
        ({"ensemble": "correlated", "noise": 0.0}, 4.0, 0.0),
        ({"ensemble": "deepseek-init"}, 2.56, None),  # 0.02 * sqrt(4 * 4096)
        ({"ensemble": "megatron-init"}, 0.01414213562373095, None),
        ({"ensemble": "from-report", "report": Path("r.json")}, None, None),
    ],
)
def test_what_stands_for_a_scale_or_noise_that_was_not_given(setting, scale, noise):
    simulation = Simulation(**setting)
    found = simulation.resolved_scale
    assert found == scale if scale is None else found == pytest.approx(scale, rel=1e-8)
    assert simulation.resolved_noise == noise
