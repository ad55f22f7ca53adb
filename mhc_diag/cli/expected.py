"""What the options expect, over what the configuration and the environment do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mhc_diag.policy import Policy
    from mhc_diag.policy.given import Settings

CALLED = {
    "PROFILE": "--profile",
    "MAX_GAIN": "--max-gain",
    "BASELINE": "--baseline",
    "TOLERANCE": "--tolerance",
    "LIMIT": "--limit",
    "LEVEL": "--level",
}


def enforced(
    config: Path | None,
    *,
    profile: str | None = None,
    max_gain: float | None = None,
    limit: Sequence[str] | None = None,
    level: Sequence[str] | None = None,
    baseline: Path | None = None,
    tolerance: float | None = None,
) -> Settings:
    """What a gate holds its targets to: a file that is named or found, the environment, and the options.

    Raises:
        MhcDiagError: a key or value is wrong, wherever it stands.
    """
    from mhc_diag.policy.file import settings
    from mhc_diag.policy.given import from_texts

    over = from_texts(
        CALLED,
        profile=profile,
        max_gain=max_gain,
        baseline=baseline,
        tolerance=tolerance,
        limit=limit or (),
        level=level or (),
    )
    return settings(config, over=over)


def advised(
    config: Path | None, *, profile: str | None, max_gain: float | None, limit: Sequence[str] | None
) -> Policy:
    """What a scan holds its target to: what was asked for, and everything else as advice.

    A file or a profile that is named is enforced as the gate enforces it. Where neither is, only the limits
    that are given can fail, and no file is looked for.

    Raises:
        MhcDiagError: a key or value is wrong, wherever it stands.
    """
    from dataclasses import replace

    from mhc_diag.policy.given import from_texts, settled

    if config is not None:
        return enforced(config, profile=profile, max_gain=max_gain, limit=limit).policy
    over = from_texts(CALLED, profile=profile, max_gain=max_gain, limit=limit or ())
    return replace(settled([over]).policy, advice=profile is None)
