"""Whether a model that a configuration describes can be built in memory, judged before anything is built.

Who builds a model allocates whatever config.json says, and what is not in the files of weights is drawn at
random: a kilobyte of text can ask for terabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mhc_diag.sources.printable import printable

LARGEST = 100_000_000
"""No size, count or length in a configuration is larger."""
MOST_LAYERS = 10_000
DEEPEST = 8
SIZES = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "vocabulary": ("vocab_size",),
    "inner": ("intermediate_size", "n_inner", "ffn_dim"),
    "expert": ("moe_intermediate_size",),
    "experts": ("n_routed_experts", "num_experts", "num_local_experts"),
}


def implausible(config: Mapping[str, Any], memory: float) -> str:
    """Why no model of this configuration is to be built, in a few words; empty where it can be tried.

    Args:
        config: what config.json says.
        memory: bytes that the parameters may take.

    Example:
        >>> implausible({"hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 32_000}, 1e11)
        ''
        >>> implausible({"hidden_size": 4096, "num_hidden_layers": 10**9}, 1e11)
        'its config.json says num_hidden_layers 1000000000'
    """
    for name, number in _numbers(config, 0):
        if number > (MOST_LAYERS if name in SIZES["layers"] else LARGEST):
            what = str(number) if number < 10**12 else "of more than twelve digits"
            return f"its config.json says {printable(name)} {what}"
    size = 2.0 * max(map(_parameters, _tables(config, 0)))
    if size > memory:
        return f"its config.json describes a model of {size / 2**30:.1f} GiB or more"
    return ""


def _parameters(table: Mapping[str, Any]) -> float:
    """About how many parameters a transformer of these sizes has, at least."""
    found = {
        what: max((float(table[key]) for key in keys if type(table.get(key)) is int), default=0.0)
        for what, keys in SIZES.items()
    }
    hidden, inner = found["hidden"], found["inner"]
    if found["experts"]:
        inner = found["experts"] * (found["expert"] or inner)
    layer = 2 * hidden * hidden + 2 * hidden * inner
    return found["vocabulary"] * hidden + found["layers"] * layer


def _numbers(node: Any, depth: int) -> Iterator[tuple[str, int]]:
    """All whole numbers in a configuration, by the key that they have."""
    for table in _tables(node, depth):
        for key, value in table.items():
            values = value if isinstance(value, list) else [value]
            yield from ((str(key), item) for item in values if type(item) is int)


def _tables(node: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """A table and those inside it."""
    if isinstance(node, Mapping) and depth < DEEPEST:
        yield node
        for value in node.values():
            yield from _tables(value, depth + 1)
