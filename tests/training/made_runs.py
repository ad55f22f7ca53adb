"""Runs that were made by hand, as a watch writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = (
    "forward_max",
    "forward_mean",
    "backward_max",
    "backward_mean",
    "site_forward_max",
    "site_backward_max",
)
TEXT = "step {step}: forward_max is {gain:.3f}, allowed is at most 4; largest at site 2 (layers.2.mlp)"


def number(value: float) -> Any:
    return value if math.isfinite(value) else str(value)


def line(step: int, log10: float, alerts: bool = False) -> str:
    gain = math.nan if math.isnan(log10) else 10**log10 if log10 < 300 else math.inf
    metrics: dict[str, float] = {"mhc/nonfinite_tokens": float(math.isnan(log10))}
    for name in NAMES:
        half = log10 / 2 if "mean" in name or "site" in name else log10
        metrics[f"mhc/log10_{name}"] = half
        metrics[f"mhc/{name}"] = math.nan if math.isnan(half) else 10**half if half < 300 else math.inf
    alert = {"step": step, "metric": "mhc/forward_max", "value": number(gain), "limit": "at most 4",
             "site": "layers.2.mlp", "text": TEXT.format(step=step, gain=gain), "level": "error"}  # fmt: skip
    told = {key: number(value) for key, value in metrics.items()}
    entry = {"step": step, "time": 1.0, "metrics": told, "alerts": [alert] if alerts else []}
    return json.dumps(entry, allow_nan=False) + "\n"


def head(model: str = "Toy") -> str:
    limits = [{"metric": "mhc/forward_max", "at_most": 4.0, "at_least": None}]
    sites = [f"layers.{i}.mlp" for i in range(4)]
    run = {
        "schema": "mhc-diag/run",
        "version": 1,
        "model": model,
        "streams": 4,
        "sites": sites,
        "limits": limits,
    }
    return json.dumps(run) + "\n"


def write(path: Path, log10: Sequence[float], *, model: str = "Toy", alert_at: int | None = None) -> Path:
    lines = [line(step, value, step == alert_at) for step, value in enumerate(log10, 1)]
    path.write_text(head(model) + "".join(lines))
    return path
