"""What simulate and scan can be asked for beyond their defaults, as a user asks for it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HC = str(Path(__file__).parents[2] / "sample_models" / "hc.pt")
SMALL = ("simulate", "--depth", "6", "--seeds", "5")


def reports(folder: Path, name: str = "out.json") -> dict[str, Any]:
    return {r["name"]: r for r in json.loads((folder / name).read_text())["reports"]}


def curve(report: dict[str, Any], metric: str, scope: str, statistic: str) -> list[float]:
    found = [
        c["value"]
        for c in report["curves"]
        if (c["metric"], c["scope"], c["statistic"]) == (metric, scope, statistic)
    ]
    assert len(found) == 1
    return found[0]


def test_a_dial_over_iterations(run: Callable[..., Any], folder: Path) -> None:
    done = run(*SMALL, "--sinkhorn-iters", "0..3,40", "--report", "json=out.json", "--plot", "dial.svg")
    assert done.code == 0
    made = reports(folder)
    assert list(made) == ["identity", "HC", "mHC 0", "mHC 1", "mHC 2", "mHC 3", "mHC 40"]
    worst = [max(curve(made[f"mHC {k}"], "column_residual", "site", "max")) for k in (0, 1, 2, 3, 40)]
    assert worst == sorted(worst, reverse=True) and worst[-1] < 1e-12 < worst[-2]
    assert "Sinkhorn iterations" in (folder / "dial.svg").read_text()


def test_manifolds_side_by_side(run: Callable[..., Any], folder: Path) -> None:
    done = run(*SMALL, "--manifold", "cayley,softmax-rows,permutations", "--report", "json=out.json")
    assert done.code == 0
    made = reports(folder)
    assert [round(max(curve(r, "spectral_norm", "prefix", "max")), 9) for r in made.values()][0] == 1
    np.testing.assert_allclose(curve(made["softmax_rows"], "amax_forward", "prefix", "max"), 1)
    np.testing.assert_allclose(curve(made["permutations"], "amax_backward", "suffix", "max"), 1)


def test_signals_show_what_a_gain_does(run: Callable[..., Any], folder: Path) -> None:
    done = run("simulate", "--depth", "64", "--signal", "--branch-gain", "0", "--report", "json=out.json")
    assert done.code == 0 and "RMS of random signals and gradients" in done.out
    made = reports(folder)
    np.testing.assert_allclose(curve(made["identity"], "activation_rms", "prefix", "max"), 1)
    assert curve(made["HC"], "activation_rms", "prefix", "p50")[-1] > 1000
    assert max(curve(made["mHC"], "gradient_rms", "suffix", "max")) < 1.001


def test_a_triangle_is_drawn_and_saved(run: Callable[..., Any], folder: Path) -> None:
    done = run(*SMALL, "--triangle", "map.png", "--report", "json=out.json", "--metrics", "paper")
    assert done.code == 0 and "wrote map.png (png)" in done.err
    assert (folder / "map.png").read_bytes().startswith(b"\x89PNG")
    hc = reports(folder)["HC"]
    saved = {(t["metric"], t["statistic"]): t["log10"] for t in hc["triangles"]}
    assert [len(row) for row in saved["amax_forward", "max"]] == [6, 5, 4, 3, 2, 1]
    forward = curve(hc, "amax_forward", "prefix", "max")
    np.testing.assert_allclose(10 ** np.array(saved["amax_forward", "max"][0]), forward, rtol=1e-9)


def test_coarse_coefficients_are_seen(run: Callable[..., Any], folder: Path) -> None:
    assert run(*SMALL, "--dtype", "bf16", "--report", "json=out.json").code == 0
    residual = max(curve(reports(folder)["mHC"], "row_residual", "site", "max"))
    assert 1e-4 < residual < 4e-3


def test_a_measured_model_is_projected_and_resampled(run: Callable[..., Any], folder: Path) -> None:
    done = run("scan", HC, "--project", "sinkhorn:20", "--report", "json=hc.json")
    assert done.code == 0 and "sinkhorn:20" in done.out
    measured, counterfactual = reports(folder, "hc.json").values()
    assert max(curve(measured, "amax_forward", "prefix", "max")) > 100
    np.testing.assert_allclose(curve(counterfactual, "amax_forward", "prefix", "max"), 1, rtol=1e-12)
    done = run(
        "simulate",
        "--ensemble",
        "from-report",
        "--measured",
        "hc.json",
        "--depth",
        "120",
        "--report",
        "json=out.json",
    )
    assert done.code == 0
    growth = {s["name"]: s["value"] for s in reports(folder)["HC"]["scalars"]}["growth_forward"]
    assert growth > math.log(100) / 60


def test_a_projection_does_not_decide_over_a_limit(run: Callable[..., Any]) -> None:
    done = run("scan", HC, "--project", "sinkhorn:20", "--max-gain", "4")
    assert done.code == 1
