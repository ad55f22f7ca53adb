"""Signals, and how to express one in the basis of another code."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mhc_diag.sources.probe.codes import Code, shared
from mhc_diag.sources.probe.layout import decode, of_some_tokens


@dataclass(frozen=True, eq=False)
class Signal:
    """Tangents and labels in the shape of a tensor."""

    tangent: Tensor
    label: Tensor
    code: Code
    complete: bool = True


class Bases:
    """All codes of a run, and what is known of how they hang together."""

    def __init__(self) -> None:
        self.codes: list[Code] = []
        self.resolved: set[Code] = set()
        """Codes of some tokens that have become part of a site of all tokens."""
        self.absorbed = 0
        """Codes that branches of others were made of, as a set of bits by their numbers."""
        self._merged: set[Code] = set()
        """Sites of some of the streams that have become part of a site of all streams."""
        self._rows: dict[Code, tuple[Code, ...]] = {}

    def new(self, code: Code) -> Code:
        """Give a code its number."""
        numbered = replace(code, number=len(self.codes))
        self.codes.append(numbered)
        return numbered

    def standing(self) -> list[Code]:
        """The codes in order, without those that became part of another and led to nothing else."""
        standing, parents = [], set()
        for code in reversed(self.codes):
            if code not in self._merged or code in parents:
                standing.append(code)
                parents.add(code.parent)
        return standing[::-1]

    def inside(self) -> set[Code]:
        """The codes of which a branch was made: a path that ends there is a part of the branch."""
        return {code for code in self.codes if self.absorbed >> code.number & 1}

    def rebase(self, signal: Signal, older: Code) -> Signal | None:
        """Express a signal in the basis of an earlier code; None where the code is no ancestor of it.

        Elements without a tangent stay as they are; the others are those of some or all tokens. What is in
        doubt about the operators in between is put on one channel of each stream, so that the spread of what
        is read later tells it.
        """
        # no path leads past a fit, for whose error a product has no place
        if signal.code in self._rows.get(older, ()):
            path, row = [], self._rows[older].index(signal.code)
        else:
            path, row = list(itertools.takewhile(lambda c: c is not older, signal.code.ancestry())), None
            if path and path[-1].parent is not older or any(code.broken or code.fit for code in path):
                return None
            if all(code.part for code in path):
                self.resolved.update(path)
                return replace(signal, code=older)
        self.resolved.update(code for code in path if code.part)
        tracked = signal.label >= 0
        labels, tokens = of_some_tokens(older.space, signal.label[tracked])
        if not labels.streams:
            return None
        matrix, doubt = decode(signal.tangent[tracked], labels, signal.code.streams)
        for code in path:
            matrix, doubt = _after(matrix, doubt, code, tokens.to(matrix.device))
        if row is not None:
            wide = matrix.new_zeros(len(tokens), matrix.shape[1], older.streams)
            wide[:, :, row] = matrix[:, :, 0]
            matrix = wide
        self._merged.update(c for c in (signal.code, *path) if c.site and c.streams < older.streams)
        marked = (older.space.marks(older.streams) + tokens.to(matrix.device)[:, None]) % older.streams
        values = matrix.mT.gather(1, marked[:, :, None].expand(-1, -1, matrix.shape[1]))
        values[:, older.space.in_turn(older.streams)[: older.streams]] += doubt[:, None, None]
        tangent = torch.zeros_like(signal.tangent)
        values = (values * older.space.magnitudes[:, None]).to(tangent.device)
        tangent[tracked] = labels.scatter(values)
        return Signal(tangent, signal.label, older, signal.complete)

    def across(self, codes: Sequence[Code]) -> str:
        """What to say where streams of these codes are put side by side: nothing unless sites lie between."""
        base = shared(codes)
        if base is None:
            return ""
        between = (itertools.takewhile(lambda c: c is not base, code.ancestry()) for code in codes)
        most = max(sum(c.site and c.streams == base.streams for c in path) for path in between)
        return "streams of an earlier point stand beside its own: the sites between count as one" * (most > 1)

    def in_one(self, one: Signal, two: Signal) -> tuple[Signal, Signal] | None:
        """Two signals in one basis, where this loses nothing of what lies between; else None.

        Nothing is lost between branches that were given to some of the tokens, and between the streams of one
        point of the path that a model keeps in a tensor each.
        """
        code = self._without_parts(one, two) or self._abreast(one.code, two.code)
        if code is None:
            return None
        first, second = self.rebase(one, code), self.rebase(two, code)
        return None if first is None or second is None else (first, second)

    def _without_parts(self, one: Signal, two: Signal) -> Code | None:
        code = shared((one.code, two.code))
        if code is None:
            return None
        between = (itertools.takewhile(lambda c: c is not code, s.code.ancestry()) for s in (one, two))
        return code if all(c.part for c in itertools.chain(*between)) else None

    def _abreast(self, one: Code, two: Code) -> Code | None:
        """The code of n streams in n tensors, made when the first two of them meet."""
        for code in (one, two):
            if code in self._rows:
                return code if {one, two} <= {code, *self._rows[code]} else None
        for code, rows in self._rows.items():
            if {one, two} <= {*rows}:
                return code
        base = one.parent
        rows = tuple(c for c in self.codes if c.parent is base and c.site and c.streams == 1)
        if base is None or not {one, two} <= {*rows} or base.streams not in (1, len(rows)):
            return None
        matrices = [c.matrix for c in rows if c.matrix is not None]
        spreads = [c.spread for c in rows if c.spread is not None]
        spread = torch.stack(spreads).amax(0)
        first = replace(rows[0], streams=len(rows), matrix=torch.cat(matrices, 1), spread=spread)
        made = self.new(first)
        self._rows[made] = rows
        return made


def _after(matrix: Tensor, doubt: Tensor, code: Code, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """An operator after that of a code, and a bound on the error of their product."""
    assert code.matrix is not None and code.spread is not None  # only an entry has none, nor a parent
    first, spread = code.matrix[tokens], code.spread[tokens]
    largest = matrix.abs().amax((1, 2)) * spread, doubt * first.abs().amax((1, 2))
    return matrix @ first, code.streams * (largest[0] + largest[1] + doubt * spread)
