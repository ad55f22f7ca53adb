"""What a layout's code promises of its matrices: of a checkpoint, and of a live model with its parameters.

A live model is shown to the layouts by the names and shapes of its parameters. What it applies can then be
held against what the code of that layout says, with the iterations and eps of the model's own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Promise
from mhc_diag.sources.checkpoint.recognised import families
from mhc_diag.sources.families import Family, FoundSite, Settings
from mhc_diag.sources.files.names import by_clean_name

if TYPE_CHECKING:
    from torch import nn


def promise_of(
    name: str, family: Family, variant: str, settings: Settings, sites: Sequence[FoundSite]
) -> Promise | None:
    """What one variant of a layout says of M at some sites; None where it says nothing.

    Example:
        >>> from mhc_diag.sources.families import deepseek
        >>> settings = Settings({"hc_sinkhorn_iters": 20, "hc_eps": 1e-6})
        >>> made = promise_of("deepseek", deepseek, "nanowhale", settings, ())
        >>> made.exact, made.origin
        ('columns', 'layout deepseek')
    """
    if not hasattr(family, "promise"):
        return None
    made: Promise = replace(family.promise(variant, settings), origin=f"layout {name}")
    return replace(made, iterations=0) if any(site.averaged for site in sites) else made


def of_module(module: nn.Module, streams: int) -> Promise | None:
    """What the layout says whose names and shapes the parameters of a module have.

    Nothing where no layout is known by its names, or where it has other streams than were measured. Where
    several codes may read such parameters, what they disagree about is left out, and so are iterations and
    eps that the configuration does not tell.

    Example:
        >>> import torch
        >>> of_module(torch.nn.Linear(4, 4), 4) is None
        True
    """
    named = {name: tuple(p.shape) for name, p in module.named_parameters() if p.is_floating_point()}
    shapes = {clean: named[raw] for clean, raw in by_clean_name(named).items()}
    config = _config(module)
    for name, family in families():
        sites = () if family.GENERIC or not hasattr(family, "promise") else family.find(shapes).sites
        if not any(site.streams == streams for site in sites):
            continue
        try:
            made = [_told(name, family, v, config, sites) for v in family.variants(shapes, config)]
        except MhcDiagError:  # a configuration that cannot be meant promises nothing
            return None
        return _common([promise for promise in made if promise is not None])
    return None


def _told(
    name: str,
    family: Family,
    variant: str,
    config: Mapping[str, Any] | None,
    sites: Sequence[FoundSite],
) -> Promise | None:
    settings = family.settings(config, variant)
    made = promise_of(name, family, variant, settings, sites)
    if made is None or not settings.notes:
        return made
    text = " ".join(settings.notes)  # each names a number that was not told
    unknown_count, unknown_eps = "iter" in text, "eps" in text
    return replace(
        made, iterations=0 if unknown_count else made.iterations, eps=0.0 if unknown_eps else made.eps
    )


def _common(made: list[Promise]) -> Promise | None:
    """What all say."""
    if not made or len({p.manifold for p in made}) > 1:
        return None
    first = made[0]
    return replace(
        first,
        exact=first.exact if len({p.exact for p in made}) == 1 else "",
        applied=first.applied if len({p.applied for p in made}) == 1 else "",
        iterations=first.iterations if len({p.iterations for p in made}) == 1 else 0,
        eps=first.eps if len({p.eps for p in made}) == 1 else 0.0,
    )


def _config(module: nn.Module) -> Mapping[str, Any] | None:
    """The configuration that a model keeps, as transformers' and most others do."""
    held: Any = getattr(module, "config", None)
    if hasattr(held, "to_dict"):
        held = held.to_dict()
    elif is_dataclass(held) and not isinstance(held, type):
        held = asdict(held)
    return held if isinstance(held, Mapping) else None
