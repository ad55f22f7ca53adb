"""Sites out of the names of tensors, for layouts whose names hold the number of the layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mhc_diag.records import Skipped

PREDICTION = "a multi-token-prediction block, no part of the model's own residual path"
BESIDE_PREDICTION = ("eh_proj", "e_proj", "enorm", "hnorm", "shared_head.norm")
"""What only such a block has: it joins the streams with the embedding of the next token."""


@dataclass(frozen=True, slots=True)
class Place:
    """What one name says."""

    run: str
    """What precedes the layer's number."""
    layer: int | None
    """None where one tensor holds all layers."""
    kind: str
    role: str


@dataclass(frozen=True, slots=True)
class Group:
    """The tensors of one site, or of one kind of site in all layers, by role."""

    run: str
    layer: int | None
    kind: str
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The prefix with the layer's number."""
        return self.run.rstrip(".") if self.layer is None else f"{self.run}{self.layer}"

    @property
    def label(self) -> str:
        """Path and kind."""
        return f"{self.path}.{self.kind}" if self.kind else self.path


def grouped(
    names: Iterable[str], parse: Callable[[str], Place | None], kinds: Sequence[str], mark: str
) -> list[Group]:
    """The groups that names with a mark in them fall into, by run, layer and then the order of `kinds`."""
    found: dict[tuple[str, int | None, str], dict[str, str]] = {}
    for name in [name for name in names if mark in name]:  # a model with experts has 100,000 others
        if place := parse(name):
            found.setdefault((place.run, place.layer, place.kind), {})[place.role] = name
    groups = [Group(*key, parts) for key, parts in found.items()]
    return sorted(groups, key=lambda g: (g.run, -1 if g.layer is None else g.layer, kinds.index(g.kind)))


def is_prediction(group: Group, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a site belongs to a block that predicts further tokens, by its names or those beside it.

    Example:
        >>> is_prediction(Group("mtp.", 0, "attn", {"fn": "mtp.0.hc_attn_fn"}), {})
        True
        >>> is_prediction(Group("layers.", 45, "attn"), {"layers.45.enorm.weight": (64,)})
        True
    """
    if any(part.startswith("mtp") for name in group.names.values() for part in name.split(".")):
        return True
    return any(f"{group.path}.{name}.weight" in shapes for name in BESIDE_PREDICTION)


def once(skipped: Iterable[Skipped]) -> tuple[Skipped, ...]:
    """Without repetitions, in order."""
    return tuple(dict.fromkeys(skipped))
