"""The order in which sites run, judged by the names of their parameters.

All numbers in a name count, from left to right: `layers.3.1` follows `layers.3.0`. Where they agree,
attention runs before cross-attention and that before the feed-forward network. What neither tells is not
guessed: composites depend on the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mhc_diag.records import Skipped

NUMBER = re.compile(r"(?<![0-9A-Za-z])\d{1,9}(?![0-9A-Za-z])")
ABSURD = re.compile(r"\d{10}")
KINDS = (
    (1, re.compile(r"cross", re.IGNORECASE)),
    (0, re.compile(r"attention|attn", re.IGNORECASE)),
    (2, re.compile(r"mlp|ffn|feed_?forward|moe|(?<![a-z])ff(?![a-z])", re.IGNORECASE)),
)
KIND_WORDS = re.compile(
    r"(?:self_|cross_)?(?:attention|attn)|mlp|ffn|feed_?forward|moe|(?<![a-z])ff(?![a-z])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site is."""

    prefix: str
    """What the names of its parameters begin with, dot included."""
    path: str
    """The name up to its last number: `layers.3`; the whole of it where it has none."""
    kind: str
    """What follows: `hc_attn`."""
    run: str
    """What precedes the first number: only sites of one run follow each other."""


def owners(names: Iterable[str], parameter: str) -> list[str]:
    """The prefixes, dot included, of all modules that have a parameter of that name.

    Example:
        >>> owners(["layers.0.hc.static_alpha", "layers.0.hc.static_beta", "static_alpha"], "static_alpha")
        ['layers.0.hc.', '']
    """
    return [name[: -len(parameter)] for name in names if name == parameter or name.endswith(f".{parameter}")]


def holders(prefixes: Iterable[str], names: Iterable[str], submodule: str) -> set[str]:
    """Those of some prefixes whose modules have parameters in a submodule of that name.

    Example:
        >>> sorted(holders(["", "h.0.", "h.1."], ["h.0.gate.weight", "h.1.gate", "gate.bias"], "gate"))
        ['', 'h.0.']
    """
    wanted, inside, found = set(prefixes), f".{submodule}.", set()
    for name in names:
        dotted = f".{name}"
        at = dotted.find(inside)
        while at >= 0:
            if dotted[1 : at + 1] in wanted:
                found.add(dotted[1 : at + 1])
            at = dotted.find(inside, at + 1)
    return found


def in_order(prefixes: Iterable[str]) -> tuple[list[Place], list[Skipped]]:
    """Sites in the order in which they run, and those whose order no name tells.

    A module inside the branch of another one is a run of its own.

    Example:
        >>> places, _ = in_order(["h.10.hc_mlp.", "h.9.hc_mlp.", "h.9.hc_attn."])
        >>> [place.prefix for place in places]
        ['h.9.hc_attn.', 'h.9.hc_mlp.', 'h.10.hc_mlp.']
    """
    groups: dict[tuple[str, tuple[int, ...]], list[tuple[int | None, Place]]] = {}
    skipped: list[Skipped] = []
    for prefix in prefixes:
        if ABSURD.search(prefix):
            skipped.append(Skipped(prefix.rstrip("."), "a number in its name is too long for a layer"))
            continue
        place, numbers = _place(prefix)
        groups.setdefault((place.run, numbers), []).append((_rank(prefix), place))
    placed: list[Place] = []
    for _, members in sorted(groups.items(), key=lambda group: group[0]):
        ranks = [rank for rank, _ in members]
        if len(members) > 1 and (None in ranks or len(set(ranks)) < len(ranks)):
            skipped += [
                Skipped(
                    place.prefix.rstrip("."), "no name tells which of several sites of one layer is first"
                )
                for _, place in members
            ]
        else:
            placed += [place for _, place in sorted(members, key=lambda member: member[0] or 0)]
    return placed, skipped


def _place(prefix: str) -> tuple[Place, tuple[int, ...]]:
    """A site and the numbers of its name."""
    outer, branch, own = prefix.rpartition(".branch.")
    found = list(NUMBER.finditer(own))
    name = prefix.rstrip(".")
    if not found:
        return Place(prefix, name, "", outer + branch), ()
    end = len(outer + branch) + found[-1].end()
    run = outer + branch + KIND_WORDS.sub("*", own[: found[0].start()])
    return Place(prefix, prefix[:end], name[end:].strip("._"), run), tuple(int(n[0]) for n in found)


def _rank(prefix: str) -> int | None:
    """Attention 0, cross-attention 1, feed-forward 2, judged by what follows the number or precedes it."""
    for text in reversed(NUMBER.split(prefix)):
        for rank, words in KINDS:
            if words.search(text):
                return rank
    return None
