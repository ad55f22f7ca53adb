"""Reports made by hand for everything that is rendered.

`build` fills every statistic from log10 gains by plain sorting: no code under test has a part in them.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

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
from mhc_diag.verdict import Check, Doubt, Finding, Limit, Place, Verdict

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


def passed():
    """Two limits that hold, one of them beyond float64."""
    most = Limit("amax_forward", "prefix", at_most=4.04, rule="MHC101", origin="profile mhc")
    place = Place("amax_forward", "prefix", "max", 1.0, 0.0, 0, "model.layers.0.self_attn", 0)
    said = "forward composite gain 1.000 at site 0 (model.layers.0.self_attn)"
    life = Limit("half_life", "stack", "", at_least=3.0, level="warn", origin="pyproject.toml")
    rest = Place("half_life", "stack", "", math.inf, math.inf)
    return Verdict(
        "passed",
        (
            Check("clean", most, "passed", place, said),
            Check("clean", life, "passed", rest, "half-life of the differences between streams inf"),
        ),
        profiles={"clean": "mhc"},
        sources=("profile mhc", "pyproject.toml"),
        enforced=True,
    )


def failed():
    """A broken limit, one that is only a warning, one that could not be held, a finding, and two doubts."""
    most = Limit("amax_forward", "prefix", at_most=100.0, rule="MHC101", origin="profile hc")
    label = "model.\x1b[31mlayers[/red].4.self_attn"
    place = Place("amax_forward", "prefix", "max", 815.91, 2.91164, 36, label, 5)
    said = f"forward composite gain 815.9 at site 36 ({label})"
    own = Limit("inf_norm", "site", "p99", "*.mlp", at_least=0.5, at_most=2.0, level="warn", origin="--limit")
    lost = Limit("half_life", "stack", "", at_least=10.0, origin="mhc-diag.toml")
    near = Place("inf_norm", "site", "p99", 3.0, 0.47712, 3, "model.layers.1.mlp")
    title, fix = "composite gain above what the streams allow", "Project each matrix, or bound its norm."
    allowed = "inf_norm of a site 3 at site 3 (model.layers.1.mlp), allowed is at least 0.5 and at most 2"
    return Verdict(
        "failed",
        (
            Check("failing", most, "failed", place, said),
            Check("failing", own, "failed", near, "inf_norm of a site 3 at site 3 (model.layers.1.mlp)"),
            Check(
                "failing",
                lost,
                "could not tell",
                Place("half_life", "stack"),
                "the report holds no half_life",
            ),
        ),
        (
            Finding("MHC101", title, "error", "failing", f"{said}, allowed is at most 100", fix, place, most),
            Finding(
                "MHC501",
                "mixing in low precision",
                "error",
                "failing",
                "all 40 sites are bfloat16",
                "Use float32.",
            ),
            Finding("MHC100", "a limit of yours is broken", "warn", "failing", allowed, "Look.", near, own),
            Finding("MHC201", "averaged out", "warn", "failing", "half-life 0.3", "Look.", accepted=True),
        ),
        (
            Doubt("failing", "7 not measured, first model.norm.0: no streams pass through it"),
            Doubt("failing", "half_life at least 10: the report holds no half_life"),
            Doubt("broken|<b>.pt", "cut short: 12 of 40 bytes", hint="check the download"),
            Doubt("dense.pt", "no mixing was found in it", "passed", "try --select"),
        ),
        profiles={"failing": "hc"},
        sources=("profile hc", "mhc-diag.toml", "--limit"),
        enforced=True,
        notes=("1 entry of the baseline no longer occurs: [MHC202] of failing",),
    )


def not_finite():
    """One NaN, by which two findings of a kind are made, and advice only."""
    most = Limit("amax_forward", "prefix", at_most=10.0, level="warn", origin="profile hc", rule="MHC101")
    place = Place("amax_forward", "prefix", "max", math.nan, math.nan, 28, "model.layers.14.self_attn", 1)
    said = "forward composite gain NaN at site 28 (model.layers.14.self_attn)"
    beyond = Place("amax_backward", "suffix", "max", math.inf, 1800.6, 0, "model.layers.0.self_attn", 3)
    title, fix = "mixing that is not finite", "Look at the first site that is named."
    return Verdict(
        "passed",
        (Check("overflowing", most, "failed", place, said),),
        (
            Finding("MHC502", title, "warn", "overflowing", "1 site is NaN", fix, place),
            Finding("MHC502", title, "warn", "overflowing", "1 site is infinite", fix, place),
            Finding("MHC103", "growth", "warn", "overflowing", "gain 3.981e+1800", "Project.", beyond),
        ),
        profiles={"overflowing": "hc"},
        sources=("profile hc",),
    )


def unreadable():
    """Nothing but doubts: no report at all."""
    doubt = Doubt("missing\n::error::\x1b[2J</testsuite>.pt", "there is no such file")
    return Verdict("could not tell", doubts=(doubt,), enforced=True)


HOSTILE = (
    "\x00\x07\x1b[31m\n::error::x\r\n</testsuite><script>alert(1)</script>|`*_[a](http://evil.example)"
    "![i](http://evil.example/x.png) www.evil.example @user #1 :x: %0A %25 {0} $x$ \u202e \ufffe \x85\u2028"
    " \"' &amp; &#60; ]]> ##[error]x <img src=x onerror=x>"
)
"""What a stranger may call a module, a tensor or a file."""


def hostile():
    """A report and a verdict in which every text is hostile."""
    (report,) = side_by_side()[1:2]
    sites = tuple(Site(f"{i} {HOSTILE}", HOSTILE, i) for i in range(len(report.sites)))
    where = replace(
        report.provenance,
        target=HOSTILE,
        method="static",
        how=HOSTILE,
        settings={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
        skipped=(Skipped(HOSTILE, HOSTILE),),
        audit=(Observation("moved", HOSTILE, HOSTILE),),
        failure=HOSTILE,
    )
    limit = Limit("inf_norm", "site", "max", HOSTILE, at_most=1.0, origin=HOSTILE)
    place = Place("inf_norm", "site", "max", 2.0, 0.30103, 0, sites[0].label, 0)
    return replace(report, name=HOSTILE, sites=sites, provenance=where, summary=HOSTILE), Verdict(
        "failed",
        (Check(HOSTILE, limit, "failed", place, HOSTILE),),
        (
            Finding("MHC100", "a limit of yours is broken", "error", HOSTILE, HOSTILE, HOSTILE, place, limit),
            Finding("MHC502", "mixing that is not finite", "warn", HOSTILE, HOSTILE, HOSTILE, place),
        ),
        (Doubt(HOSTILE, HOSTILE), Doubt(f"other {HOSTILE}", HOSTILE, hint=HOSTILE)),
        profiles={HOSTILE: "hc"},
        sources=(HOSTILE,),
        enforced=True,
        notes=(HOSTILE,),
    )


REPORTS = {
    "clean": (clean(),),
    "failing": (failing(),),
    "overflowing": (overflowing(),),
    "side-by-side": side_by_side(),
}
VERDICTS = {"clean": passed(), "failing": failed(), "overflowing": not_finite(), "unreadable": unreadable()}
RULES = {
    "MHC101": SimpleNamespace(
        ID="MHC101", TITLE="composite gain above what the streams allow",
        LEVELS={"mhc": "error", "hc": "warn"}, WHAT="\nThe largest gain is above its limit. So it is.\n",
        WHY="\nGradients grow by it.\n", FIX="\nProject each matrix, or bound its norm. Then see.\n",
        REFERENCES=("Xie et al., arXiv 2512.24880, Fig. 3", "[an issue](https://example.org/1)"),
    ),
    "MHC502": SimpleNamespace(
        ID="MHC502", TITLE="mixing that is not finite", LEVELS={"mhc": "off"},
        WHAT="NaN.", WHY="It spreads.", FIX="Look.", REFERENCES=(),
    ),
}  # fmt: skip
"""Two findings that no change of the real ones changes."""
