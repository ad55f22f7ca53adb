"""How often a watch does what, and what it expects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mhc_diag.errors import MhcDiagError
from mhc_diag.policy import Policy
from mhc_diag.watch.alerts import OnAlert

_SHARED = ("every", "verify_every", "probe_every", "evaluation", "policy", "max_rise", "gradients")


@dataclass(frozen=True, slots=True)
class Settings:
    """How often to do what; see `mhc_diag.watch`."""

    every: int
    tokens: int
    verify_every: int
    probe_every: int
    evaluation: bool
    policy: Policy | None = None
    max_rise: float | None = None
    on_alert: OnAlert = "warn"
    jsonl: str | Path | None = None
    gradients: bool = False

    def shared(self) -> dict[str, str]:
        """What has to be the same on all ranks, in words: whether and when they meet follows from it."""
        return {name: str(getattr(self, name)) for name in _SHARED}

    def __post_init__(self) -> None:
        for name in ("every", "tokens", "verify_every", "probe_every"):
            if getattr(self, name) < 1:
                raise MhcDiagError(f"{name} is {getattr(self, name)}", hint="give 1 or more")
