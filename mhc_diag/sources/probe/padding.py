"""Tokens that are padding, by the mask that the model is called with: no model means anything by them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from mhc_diag.records import MixingStack
from mhc_diag.sources.inputs import Arguments

KEEPS = ("attention_mask", "mask", "input_mask")
"""Arguments by which a model is told which tokens count: 1 for those that do."""
PADS = ("src_key_padding_mask", "key_padding_mask", "padding_mask")
"""Arguments by which it is told which do not."""


def without_padding(stack: MixingStack, model: nn.Module, call: Arguments) -> MixingStack:
    """A stack without the tokens that the model was told are padding, if it was told of any.

    A mask counts if it is one of whole numbers or truth values and has the shape of the tokens, or that shape
    with both axes exchanged.
    """
    where = stack.provenance
    found = _real_tokens(model, call, where.token_shape)
    if found is None:
        return stack
    name, real = found
    left_out = int((~real).sum())
    note = f"{left_out} of {real.numel()} tokens are padding by {name} and left out"
    numbers = tuple(real.nonzero().flatten().tolist())
    return replace(
        stack,
        matrices=stack.matrices[:, real.to(stack.matrices.device)],
        pre=None if stack.pre is None else stack.pre[:, real.to(stack.pre.device)],
        post=None if stack.post is None else stack.post[:, real.to(stack.post.device)],
        provenance=replace(where, token_numbers=numbers, notes=(note, *where.notes)),
    )


def _real_tokens(model: nn.Module, call: Arguments, token_shape: Sequence[int]) -> tuple[str, Tensor] | None:
    for name, value in named_arguments(model, call):
        if name not in KEEPS + PADS or not isinstance(value, Tensor) or value.is_floating_point():
            continue
        shape = tuple(value.shape)
        if shape != tuple(token_shape) and shape[::-1] == tuple(token_shape):
            value = value.T
        elif shape != tuple(token_shape):
            continue
        kept = (value != 0) if name in KEEPS else (value == 0)
        if bool(kept.any()) and not bool(kept.all()):
            return name, kept.flatten()
    return None


def named_arguments(model: nn.Module, call: Arguments) -> Iterator[tuple[str, Any]]:
    """The arguments of a forward pass with their names, positional ones first."""
    args, kwargs = call
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # no signature to be had, as of a function in C
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    yield from zip(names, args, strict=False)
    yield from kwargs.items()
