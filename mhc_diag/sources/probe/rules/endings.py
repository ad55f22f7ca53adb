"""What is not linear: it makes coefficients and branches, and, where the streams are scaled by it, norms."""

from __future__ import annotations

from mhc_diag.sources.probe.call import Call, Cut, Outcome, Restart
from mhc_diag.sources.probe.combine import kept_stage
from mhc_diag.sources.probe.rules.family import Family


def power(call: Call) -> Outcome:
    """Powers and absolute values of the streams: the first half of a norm."""
    if call.signal(call.args[0]) is not None:
        return Cut(call.name, stage=1)
    return Cut(call.name, stage=kept_stage(call))


def norm(call: Call) -> Outcome:
    """Norms, variances and extremes: a statistic of the streams."""
    return Cut(call.name, stage=2 if call.signal(call.args[0]) else kept_stage(call, reduces=True))


def keep_stage(call: Call) -> Outcome:
    """What may be done to a statistic on its way to being divided by: roots, clamps, constants."""
    return Cut(call.name, stage=kept_stage(call))


def normalise(call: Call) -> Outcome:
    """A whole normalisation in one operation. What comes out may be the streams of a post-norm model."""
    signal = call.signal(call.args[0])
    return Cut(call.name) if signal is None else Restart(signal, "a normalisation")


FAMILIES = (
    Family(
        "powers",
        ("pow", "square", "abs"),
        power,
        "Not linear: the path ends. It is noted that the output is a power of the streams, of which a "
        "statistic may be made.",
    ),
    Family(
        "statistics",
        ("linalg_vector_norm", "norm", "var", "std", "amax", "amin"),
        norm,
        "Not linear: the path ends. Streams that are scaled by the output are normalised.",
    ),
    Family(
        "what becomes of a statistic",
        ("sqrt", "rsqrt", "reciprocal", "clamp", "clamp_min", "clamp_max", "maximum"),
        keep_stage,
        "Not linear: the path ends. A statistic stays one under roots and bounds.",
    ),
    Family(
        "normalisations",
        (
            *("native_layer_norm", "_fused_rms_norm", "native_group_norm", "native_batch_norm"),
            "_native_batch_norm_legit_no_training",
        ),
        normalise,
        "Not linear: the path is split here, since the output may be the streams of a post-norm model or the "
        "input of a branch; which of the two shows where they meet the streams again.",
    ),
)
