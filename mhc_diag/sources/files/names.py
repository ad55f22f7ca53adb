"""Names of tensors as the model gave them, without what wrappers of modules put in."""

from __future__ import annotations

from collections.abc import Collection, Iterable

WRAPPERS = frozenset(
    {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
)
"""What data-parallel training, torch.compile and checkpointing put into the names of a model's tensors."""


def by_clean_name(raw_names: Iterable[str], expected: Collection[str] = ()) -> dict[str, str]:
    """The file's name of each tensor, by its name without wrappers.

    Where two names become the same, the later one stays as it is.
    """
    names: dict[str, str] = {}
    for raw in raw_names:
        clean = ".".join(part for part in raw.split(".") if part not in WRAPPERS)
        names[raw if raw in expected or clean in names else clean] = raw
    return names
