"""Which sites or tensors, in a few words."""

from __future__ import annotations

from collections.abc import Sequence

from mhc_diag.sources.families import FoundSite
from mhc_diag.sources.printable import printable


def label(site: FoundSite) -> str:
    """A site as the report names it."""
    return printable(".".join(part for part in (site.path, site.kind) if part))


def these(names: Sequence[str], unit: str) -> str:
    """One name, or how many and the first.

    Example:
        >>> these(["a.base"], "tensors"), these(["a.base", "b.base"], "tensors")
        ('a.base', '2 tensors, first a.base')
    """
    return printable(names[0]) if len(names) == 1 else f"{len(names)} {unit}, first {printable(names[0])}"


def sites_at(numbers: Sequence[int], sites: Sequence[FoundSite]) -> str:
    """One site by its label, several as how many of all and the first.

    Example:
        >>> two = [FoundSite(f"layers.{i}", "attn", 4, "layers.", {}) for i in range(2)]
        >>> sites_at([1], two), sites_at([0, 1], two)
        ('layers.1.attn', 'all 2 sites')
    """
    if len(numbers) == 1:
        return label(sites[numbers[0]])
    if len(numbers) == len(sites):
        return f"all {len(sites)} sites"
    return f"{len(numbers)} of {len(sites)} sites, first {label(sites[numbers[0]])}"


def joined(words: Sequence[str]) -> str:
    """Words of a sentence.

    Example:
        >>> joined(["base"]), joined(["base", "scale", "fn"])
        ('base', 'base, scale and fn')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
