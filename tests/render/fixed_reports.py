"""Reports made by hand for everything that is rendered.

`build` fills every statistic from log10 gains by plain sorting: no code under test has a part in them.
"""

import math

import numpy as np

from mhc_diag.records import (
    Curve,
    Histogram,
    MetricCard,
    Observation,
    Provenance,
    Report,
    Scalar,
    Site,
    Skipped,
)

FORMULAS = {
    "amax_forward": "max_i abs(sum_j A_ij)",
    "amax_backward": "max_j abs(sum_i A_ij)",
    "inf_norm": "max_i sum_j abs(A_ij)",
    "one_norm": "max_j sum_i abs(A_ij)",
    "spectral_norm": "largest singular value of A",
}
CARDS = tuple(MetricCard(n, n.replace("_", " "), f, 1.0, 1, "arXiv 2512.24880") for n, f in FORMULAS.items())


def build(name, gains, sites, provenance, streams=4, **extra):
    """A report of log10 gains (L, T) by (metric, scope)."""
    curves = [
        c
        for (metric, scope), log10 in gains.items()
        for c in _curves(metric, scope, np.asarray(log10, float))
    ]
    tokens = next(iter(gains.values())).shape[1]
    cards = tuple(c for c in CARDS if c.name in {metric for metric, _ in gains})
    if tokens > 1:
        ends = (("amax_forward", "prefix"), ("amax_backward", "suffix"))
        extra["histograms"] = tuple(_histogram(*end, np.asarray(gains[end], float)) for end in ends)
    return Report(name, streams, tokens, sites, tuple(curves), cards, provenance, **extra)


def _histogram(metric, scope, log10):
    worst = np.round(log10.max(axis=0), 6)
    finite = worst[np.isfinite(worst)]
    if not len(finite):
        return Histogram(metric, scope, 0.0, 0.5, (), 0, len(worst))
    low, width = math.floor(finite.min() * 2) / 2, 0.5
    counts, _ = np.histogram(finite, low + width * np.arange(30))
    used = int(np.flatnonzero(counts)[-1]) + 1
    return Histogram(
        metric, scope, low, width, tuple(map(int, counts[:used])), 0, int(len(worst) - len(finite))
    )


def _curves(metric, scope, log10):
    length, tokens = log10.shape
    ordered = np.sort(log10, axis=1)  # NaN last
    bad = np.isnan(log10).any(axis=1)
    for statistic in ("mean", "p05", "p50", "p95", "p99", "max", "of_mean_matrix"):
        if statistic in ("mean", "of_mean_matrix"):
            logs = np.array([_log_mean(row) for row in log10.tolist()])
        else:
            rank = {"p05": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}[statistic]
            logs = np.where(bad, np.nan, ordered[:, int(rank * (tokens - 1))])
        logs = np.round(logs, 6) + 0.0
        value = np.array([_power(x) for x in logs.tolist()])
        token = np.nanargmax(np.where(np.isnan(log10), np.inf, log10), axis=1) if statistic == "max" else None
        yield Curve(metric, scope, statistic, value, logs, token)


def _log_mean(row):
    top = max(row)
    if any(map(math.isnan, row)):
        return math.nan
    return top if math.isinf(top) else top + math.log10(sum(10 ** (x - top) for x in row) / len(row))


def _power(x):
    if math.isnan(x):
        return math.nan
    return float(f"{10**x:.5g}") if abs(x) < 300 else 0.0 if x < 0 else math.inf


def layers(length):
    return tuple(Site(f"model.layers.{i // 2}", ("self_attn", "mlp")[i % 2], i) for i in range(length))


def noise(*shape):
    """Numbers between -1 and 1 that no library version changes: k**2 modulo a prime."""
    k = np.arange(1, math.prod(shape) + 1)
    return (((k * k * 7919) % 10007) / 5003.5 - 1).reshape(shape)


def log_gain(matrices, axis):
    """log10 of the largest absolute row sum (axis -1) or column sum (axis -2)."""
    return np.log10(np.abs(matrices.sum(axis=axis)).max(axis=-1))


def products(matrices):
    """Prefixes and suffixes of (L, T, n, n), later sites on the left."""
    prefix, suffix = [matrices[0]], [matrices[-1]]
    for m in matrices[1:]:
        prefix.append(m @ prefix[-1])
    for m in matrices[-2::-1]:
        suffix.append(suffix[-1] @ m)
    return np.array(prefix), np.array(suffix[::-1])


def amax(matrices):
    prefix, suffix = products(matrices)
    return {
        ("amax_forward", "site"): log_gain(matrices, -1),
        ("amax_backward", "site"): log_gain(matrices, -2),
        ("amax_forward", "prefix"): log_gain(prefix, -1),
        ("amax_backward", "suffix"): log_gain(suffix, -2),
    }


def clean():
    """Doubly stochastic, static, six sites, all five metrics."""
    shift = np.roll(np.eye(4), 1, axis=0)
    weights = 0.5 + noise(6) / 4
    matrices = np.array([[w * np.eye(4) + (1 - w) * shift] for w in weights])
    one = np.zeros((6, 1))
    gains = {(metric, scope): one for metric in FORMULAS for scope in ("site", "prefix", "suffix")}
    assert max(abs(x).max() for x in amax(matrices).values()) < 1e-12
    where = Provenance(
        "clean.safetensors", "static", "square matrices that recur with a layer index", "transposed", "none",
        settings={"matrices": "layers.*.h_res"}, notes=("These are the static parts only.",),
        audit=(
            Observation("moved", "all 6 sites", "M is 0.11 to 0.87 from where the code starts it"),
            Observation("dtypes", "", "all mixing parameters are float32"),
        ),
    )  # fmt: skip
    growth = Scalar("growth_forward", "growth forward, ln per site", "ln(gain) / L", 0.0, expected=0.0)
    verdict = "No composite gain exceeds 1.000."
    return build("clean", gains, layers(6), where, scalars=(growth,), summary=verdict, nonfinite=(0,) * 6)


def failing():
    """Unconstrained mixing of forty sites and eight tokens that grows into the thousands; awkward names."""
    matrices = np.eye(4) + 0.52 * noise(40, 8, 4, 4)
    where = Provenance(
        "checkpoints/[bold]hc[/bold].pt", "observed", "one forward pass", "observed", "token", (2, 4),
        certificates=tuple(round(1e-8 * (1 + i % 7), 10) for i in range(40)),
        settings={"seed": 0, "dtype": "float32"},
        notes=("The input is random.", "No padding was masked."),
        skipped=tuple(Skipped(f"model.norm.{i}", "no streams pass through it") for i in range(7)),
    )  # fmt: skip
    sites = list(layers(40))
    sites[7] = Site("model.layers.3.a_wrapper_with_a_long_name.another_inside_it.the_block_itself", "mlp", 7)
    sites[8] = Site("model.\x1b[31mlayers[/red].4", "self_attn", 8)
    growth = Scalar("growth_forward", "growth forward, ln per site", "ln(gain) / L", 0.18321, 0.0123)
    summary = "The composite forward gain reaches the thousands."
    gains = amax(matrices)
    return build(
        "failing", gains, tuple(sites), where, scalars=(growth,), summary=summary, nonfinite=(0,) * 40
    )


def overflowing():
    """Gains up to 1e2400, a gain of zero, one beyond the smallest float, one infinite site and one NaN."""
    site = np.arange(30)[:, None]
    spread = np.array([-1.5, 0.0, 0.25, 0.6])
    own_forward = 80 + 0 * site + spread
    own_backward = 60 + 0 * site + spread
    own_backward[5] = -412.3
    forward = 80.0 * (site + 1) + spread - 0.6
    backward = 60.0 * (30 - site) + spread
    backward[3] = -np.inf
    own_forward[25, 2] = forward[25, 2] = np.inf
    own_forward[28, 1] = forward[28, 1] = np.nan
    gains = {
        ("amax_forward", "site"): own_forward,
        ("amax_backward", "site"): own_backward,
        ("amax_forward", "prefix"): forward,
        ("amax_backward", "suffix"): backward,
    }
    where = Provenance("overflow", "observed", "made by hand", "direct", "token", (4,))
    rate = Scalar("growth_forward", "growth forward, ln per site", "ln(gain) / L", math.inf, math.nan)
    nonfinite = tuple(int(i in (25, 28)) for i in range(30))
    summary = "The composite forward gain is NaN at site 28."
    return build(
        "overflowing", gains, layers(30), where, scalars=(rate,), summary=summary, nonfinite=nonfinite
    )


def side_by_side():
    """Three simulated stacks of depth 60, nine seeds each."""
    gauss = noise(60, 9, 4, 4) + noise(61, 9, 4, 4)[1:]
    shift = np.roll(np.eye(4), 1, axis=0)
    mixed = np.abs(noise(60, 9))[..., None, None]
    stacks = {
        "identity": np.broadcast_to(np.eye(4), (60, 9, 4, 4)),
        "HC": np.eye(4) + 0.43 * gauss,
        "mHC": mixed * np.eye(4) + (1 - mixed) * shift + 1e-3 * noise(60, 9, 1, 4),
    }
    reports = []
    for name, matrices in stacks.items():
        where = Provenance(
            "simulation",
            "simulated",
            f"{name} drawn at random",
            "direct",
            "stack",
            (9,),
            settings={"seed": 0},
        )
        growth = (
            Scalar("growth_forward", "growth forward, ln per site", "ln(gain) / L", 0.1334, 0.0021, 0.13344),
            Scalar("growth_backward", "growth backward, ln per site", "ln(gain) / L", -0.0012, 0.0004),
        )
        sites = tuple(Site("", f"site {i}", i) for i in range(60))
        gains = amax(matrices)
        reports.append(
            build(name, gains, sites, where, scalars=growth, summary=f"It is {name}.", nonfinite=(0,) * 60)
        )
    return tuple(reports)


REPORTS = {
    "clean": (clean(),),
    "failing": (failing(),),
    "overflowing": (overflowing(),),
    "side-by-side": side_by_side(),
}
