"""Random stacks: the same for a seed whatever the machine, and growing as theory says."""

import json
import math
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from mhc_diag import plugins
from mhc_diag.analyse import analyse
from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import simulate as module
from mhc_diag.sources.simulate import Simulation, cases, simulate

GAUSSIAN_GROWTH, GAUSSIAN_VARIANCE = 0.557965757829206, 0.161233516712057  # n = 4, scale 1
NEAR_IDENTITY_GROWTH = 0.240616434544877  # n = 4, scale 0.5
MANIFOLDS = tuple(plugins.names("mhc_diag.maths.projections"))

STEADY = {"growth": 0.0, "lyapunov_1": 0.0}


def stacks(**settings):
    """Whole stacks by name."""
    return {stack.name: stack for stack in simulate(Simulation(**settings))}


def reports(*names, **settings):
    """Reports of the named stacks, or of all, by name."""
    made = simulate(Simulation(**settings))
    return {s.name: analyse(s, metrics=("paper",)) for s in made if not names or s.name in names}


@pytest.fixture(scope="module")
def default():
    return reports()


def normals(seed, stack, *shape):
    """Those of Philox4x64 with the key (seed, stack), made the long way."""
    return np.random.Generator(np.random.Philox(key=seed + (stack << 64))).standard_normal(shape)


def textbook_sinkhorn(logits, iterations):
    made = np.exp(logits)
    for _ in range(iterations):
        made = made / made.sum(axis=-2, keepdims=True)
        made = made / made.sum(axis=-1, keepdims=True)
    return made


@pytest.mark.parametrize(
    ("ensemble", "scale", "shift"), [("near-identity", 0.366100593156686, np.eye(3)), ("gaussian", 2.5, 0.0)]
)
def test_three_cases_from_the_same_logits(ensemble, scale, shift):
    made = stacks(depth=5, streams=3, seeds=40, seed=7, ensemble=ensemble, scale=scale)
    assert list(made) == ["identity", "HC", "mHC"]
    for k in range(40):
        np.testing.assert_array_equal(made["HC"].matrices[:, k], scale * normals(7, k, 5, 3, 3) + shift)
    np.testing.assert_array_equal(made["mHC"].logits, made["HC"].matrices)
    np.testing.assert_allclose(
        made["mHC"].matrices, textbook_sinkhorn(made["HC"].matrices, 20), rtol=1e-12, atol=1e-15
    )
    np.testing.assert_array_equal(made["identity"].matrices, np.broadcast_to(np.eye(3), (5, 1, 3, 3)))
    assert made["identity"].logits is None and made["HC"].logits is None
    for stack in made.values():
        assert stack.provenance.method == "simulated" and [s.depth for s in stack.sites] == [0, 1, 2, 3, 4]


def test_only_the_identity_is_static():
    identity, hc, mhc = cases(Simulation(depth=3, seeds=7))
    assert (identity.seeds, hc.seeds, mhc.seeds) == (1, 7, 7) and hc.depth == 3
    (part,) = identity.parts()
    assert (part.provenance.token_axis, part.provenance.token_shape) == ("none", ())
    (part,) = hc.parts()
    assert (part.provenance.token_axis, part.provenance.token_shape) == ("stack", (7,))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_parts_change_no_number(monkeypatch, size):
    settings = {"depth": 5, "streams": 4, "seeds": 8, "ensemble": "correlated", "manifolds": MANIFOLDS}
    together = stacks(**settings)
    monkeypatch.setattr(module, "PART_BYTES", size * 5 * 16 * 8)
    for case in cases(Simulation(**settings)):
        parts = list(case.parts())
        sizes = [1] if case.name == "identity" else [size] * (8 // size) + [8 % size] * (8 % size > 0)
        assert [p.matrices.shape[1] for p in parts] == sizes
        whole = np.concatenate([p.matrices for p in parts], axis=1)
        if case.name == "cayley":  # solved by LAPACK
            np.testing.assert_allclose(whole, together[case.name].matrices, atol=1e-12)
        else:
            np.testing.assert_array_equal(whole, together[case.name].matrices)
        assert {p.provenance.token_shape for p in parts} == {() if case.name == "identity" else (8,)}
        assert {(p.name, p.sites) for p in parts} == {(case.name, parts[0].sites)}
        for again, part in zip(case.parts(), parts, strict=True):
            np.testing.assert_array_equal(again.matrices, part.matrices)


@pytest.mark.parametrize(
    ("depth", "streams", "expected"), [(64, 4, 2048), (50_000, 4, 2), (600_000, 4, 1), (1, 64, 512)]
)
def test_a_part_is_as_large_as_its_memory_allows(monkeypatch, depth, streams, expected):
    """Logits of 16 MiB, unless a single stack takes more."""
    sizes = []

    def record(simulation, manifold, draw):
        sizes.append(len(draw.stacks))
        return np.zeros((1, 1, 1, 1)), None

    monkeypatch.setattr(module, "_projected", record)
    (case,) = cases(Simulation(depth=depth, streams=streams, seeds=2 * expected + 1, manifolds=("none",)))
    assert len(list(case.parts())) == 3
    assert sizes == [expected, expected, 1]


def test_memory_does_not_grow_with_the_number_of_stacks(monkeypatch):
    """A hundred parts of 128 KiB, 13 MB in all."""
    monkeypatch.setattr(module, "PART_BYTES", 2**17)
    (case,) = cases(Simulation(depth=64, seeds=1600, manifolds=("sinkhorn",)))
    next(case.parts())  # what is imported at the first use
    tracemalloc.start()
    count = sum(part.matrices.shape[1] for part in case.parts())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1600 and peak < 3_000_000


def test_nothing_is_drawn_before_it_is_asked_for(monkeypatch):
    def fail(*_):
        raise AssertionError("drawn")

    monkeypatch.setattr(module, "_projected", fail)
    made = cases(Simulation(depth=64, seeds=10_000_000))
    assert [case.seeds for case in made] == [1, 10_000_000, 10_000_000]
    with pytest.raises(MhcDiagError, match="7 streams"):
        cases(Simulation(streams=7, manifolds=("none", "permutations")))


def test_several_iteration_counts_are_a_dial():
    made = stacks(depth=3, seeds=5, sinkhorn_iters=(0, 1, 5, 20), manifolds=("none", "sinkhorn"))
    assert list(made) == ["HC", "mHC 0", "mHC 1", "mHC 5", "mHC 20"]
    for count in (0, 1, 5, 20):
        stack = made[f"mHC {count}"]
        np.testing.assert_allclose(
            stack.matrices, textbook_sinkhorn(made["HC"].matrices, count), rtol=1e-12, atol=1e-15
        )
        assert stack.provenance.settings["sinkhorn_iters"] == count
        assert stack.theory == (STEADY if count else {})
    assert "sinkhorn_iters" not in made["HC"].provenance.settings


def test_every_manifold_can_be_compared():
    dashed = tuple(name.replace("_", "-") for name in MANIFOLDS)
    made = stacks(depth=4, seeds=6, manifolds=dashed)
    renamed = {"none": "HC", "sinkhorn": "mHC"}
    assert list(made) == [renamed.get(name, name) for name in MANIFOLDS]
    logits = made["HC"].matrices
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(made["softmax_rows"].matrices, softmax, rtol=1e-13)
    assert made["circulant"].theory == STEADY and made["orthostochastic"].theory == {}
    assert [name for name, stack in made.items() if stack.logits is not None] == ["mHC"]


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_coefficients_are_rounded_after_the_projection(dtype):
    exact, coarse = stacks(depth=4, seeds=6), stacks(depth=4, seeds=6, dtype=dtype)
    narrow = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    for name in ("HC", "mHC"):
        expected = torch.from_numpy(exact[name].matrices).float().to(narrow).double().numpy()
        assert coarse[name].matrices.dtype == np.float64
        np.testing.assert_array_equal(coarse[name].matrices, expected)
        assert coarse[name].provenance.how == f"{exact[name].provenance.how}, rounded to {dtype}"
        assert coarse[name].provenance.settings["dtype"] == dtype
        assert bool(coarse[name].theory) == (dtype == "fp32")
    np.testing.assert_array_equal(coarse["mHC"].logits, exact["mHC"].logits)
    assert "dtype" not in exact["HC"].provenance.settings


def test_the_provenance_says_what_repeats_it():
    made = stacks(depth=2, seeds=3, seed=5, ensemble="correlated", noise=0.5)
    assert made["mHC"].provenance.settings == {
        "depth": 2,
        "streams": 4,
        "seeds": 3,
        "seed": 5,
        "ensemble": "correlated",
        "scale": 4.0,
        "noise": 0.5,
        "sinkhorn_iters": 20,
    }
    assert "noise" not in stacks(depth=2, seeds=1)["HC"].provenance.settings
    (note,) = stacks(depth=2, seeds=1, ensemble="deepseek-init")["mHC"].provenance.notes
    assert "4096" in note


@pytest.mark.parametrize(
    ("settings", "growth"),
    [
        ({"scale": 0.5}, NEAR_IDENTITY_GROWTH),
        ({"ensemble": "gaussian"}, GAUSSIAN_GROWTH),
        ({"ensemble": "gaussian", "scale": 0.0}, None),
        ({"ensemble": "correlated"}, None),
        ({"ensemble": "paper"}, None),
    ],
)
def test_theory_is_given_where_it_is_known(settings, growth):
    made = stacks(depth=2, seeds=1, **settings)
    assert made["HC"].theory.get("growth") == (growth and pytest.approx(growth, abs=1e-13))
    assert made["mHC"].theory == made["identity"].theory == STEADY


def test_number_of_threads_changes_no_digit():
    command = [
        sys.executable,
        "-m",
        "mhc_diag",
        "simulate",
        "--depth",
        "64",
        "--seeds",
        "8",
        "--format",
        "json",
    ]
    made = []
    for threads in ("1", "2"):
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(variables, threads)
        made.append(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert made[0] == made[1]
    assert len(json.loads(made[0])["reports"]) == 3


def test_the_default_tells_the_story_of_the_paper(default):
    for direction, site in (("forward", 59), ("backward", 4)):
        typical = default["HC"].composite(direction, "p50").value[site]  # 60 sites in either direction
        assert 1000 < typical < 10_000
    np.testing.assert_allclose(default["mHC"].composite("forward").value, 1, rtol=1e-12)
    backward = default["mHC"].composite("backward").value
    assert (backward >= 1 - 1e-12).all() and (backward < 1.5).all()
    for direction in ("forward", "backward"):
        curve = default["identity"].composite(direction)
        assert (curve.value == 1).all() and (curve.log10 == 0).all()


def check_growth(report, expected, error):
    """Both directions within 4 standard errors, and the standard error itself is right."""
    for direction in ("forward", "backward"):
        growth = report.scalar(f"growth_{direction}")
        assert growth.expected == pytest.approx(expected, abs=1e-13)
        assert abs(growth.value - expected) < 4 * growth.standard_error
        assert 0.5 * error < growth.standard_error < 2 * error


def test_gaussian_growth_is_that_of_theory():
    hc = reports("HC", depth=2000, ensemble="gaussian", scale=1.0)["HC"]
    check_growth(hc, GAUSSIAN_GROWTH, math.sqrt(GAUSSIAN_VARIANCE / 1000 / 64))
    assert hc.composite("forward").value[-1] == math.inf
    assert np.isfinite(hc.composite("forward").log10).all()


def test_near_identity_growth_is_that_of_theory():
    hc = reports("HC", depth=2000, scale=0.5)["HC"]
    check_growth(hc, NEAR_IDENTITY_GROWTH, math.sqrt(0.1 / 1000 / 64))


@pytest.mark.slow
def test_growth_over_ten_thousand_sites():
    hc = reports("HC", depth=10_000, ensemble="gaussian", scale=1.0)["HC"]
    check_growth(hc, GAUSSIAN_GROWTH, math.sqrt(GAUSSIAN_VARIANCE / 5000 / 64))
    assert np.isfinite(hc.composite("backward").log10).all()


def test_projected_stacks_do_not_grow():
    for direction in ("forward", "backward"):
        growth = reports("mHC", depth=400, seeds=8)["mHC"].scalar(f"growth_{direction}")
        assert growth.expected == 0.0 and abs(growth.value) < 1e-5


@pytest.mark.parametrize("ensemble", ["gaussian", "near-identity", "paper", "correlated"])
@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e3, 1e100])
@pytest.mark.parametrize("iterations", [0, 1, 20])
def test_the_ends_of_the_range_give_reports(ensemble, scale, iterations):
    """None hangs or warns, and only what truly overflows is not finite."""
    made = reports(depth=6, seeds=2, ensemble=ensemble, scale=scale, sinkhorn_iters=(iterations,))
    assert not any(made["HC"].nonfinite)
    if iterations or scale <= 1:
        assert not any(made["mHC"].nonfinite)
    else:
        assert any(made["mHC"].nonfinite), "exp(1000) has no number"


def test_no_iterations_leave_the_exponential_and_no_theory():
    mhc = stacks(depth=2, seeds=1, sinkhorn_iters=(0,))["mHC"]
    np.testing.assert_allclose(mhc.matrices, np.exp(mhc.logits), rtol=1e-15)
    assert mhc.theory == {}


def test_what_is_promised_is_kept() -> None:
    manifolds = tuple(name.replace("_", "-") for name in plugins.names("mhc_diag.maths.projections"))
    simulation = Simulation(depth=6, seeds=8, manifolds=manifolds, sinkhorn_iters=(0, 3), ensemble="gaussian")
    for stack in simulate(simulation):
        promise, m = stack.provenance.promise, np.asarray(stack.matrices)
        assert promise is not None and promise.origin == "the simulation"
        rows, columns = (np.abs(m.sum(axis) - 1).max() for axis in (-1, -2))
        assert promise.exact not in ("rows", "both") or rows < 1e-9, stack.name
        assert promise.exact != "both" or columns < 1e-9, stack.name
        assert promise.exact != "rows" or columns > 1e-6, stack.name
        if promise.manifold == "orthogonal":
            np.testing.assert_allclose(
                m @ np.swapaxes(m, -1, -2), np.broadcast_to(np.eye(4), m.shape), atol=1e-9
            )
        if not promise.manifold:
            assert rows > 0.1 and stack.name in {"HC", "mHC 0"}
