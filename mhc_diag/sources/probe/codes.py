"""Codes: the points of a residual path at which its streams are marked afresh, and how they follow on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from mhc_diag.sources.probe.space import Space


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a matrix was determined that was fitted to the values before and after an operation."""

    operation: str
    how: str
    """How values were come by: those that it took and gave, or those of further runs."""
    residual: float
    """Largest part of a token's results that does not fit, relative."""
    condition: float
    """Largest condition number of a token's streams."""


@dataclass(frozen=True, eq=False)
class Code:
    """One basis in which tangents are expressed: the streams as they were at one point of the path."""

    space: Space
    streams: int
    parent: Code | None = None
    matrix: Tensor | None = None
    """(T, streams, parent.streams): these streams as a function of the parent's."""
    spread: Tensor | None = None
    """(T): error bound of the matrix."""
    path: str = ""
    kind: str = ""
    site: bool = False
    """Whether a branch was added here; if not, it is an entry or the place where the streams are expanded."""
    broken: str = ""
    """Why these streams are no linear function of the parent's; empty where they are."""
    fit: Fit | None = None
    """Set where the matrix was fitted to values. If such a code is no site, it belongs to the next one."""
    part: bool = False
    """Whether it marks a branch that was added to some of the tokens, with the tangents as they were."""
    number: int = 0
    """Its place in the order in which codes were made."""

    @property
    def fits(self) -> tuple[Fit, ...]:
        """The fits that the operator of this site rests on."""
        return tuple(code.fit for code in self._links() if code.fit is not None)

    def applied(self) -> tuple[Tensor, Tensor]:
        """M and its error bound, from the streams of the site before.

        Fitted operations between the two belong to it, and so does an expansion of fewer streams that are
        collapsed again by now.

        Formula: |error of A B| <= |error of A| |B| + |A| |error of B|, largest entries of the products.
        """
        links = self._links()
        matrix, spread = next(links)._own()
        for code in links:
            before, error = code._own()
            spread = _largest_sum(before, -2) * spread + _largest_sum(matrix, -1) * error
            matrix = matrix @ before
        return matrix, spread

    def _own(self) -> tuple[Tensor, Tensor]:
        assert self.matrix is not None  # only an entry has none, and an entry is no site
        assert self.spread is not None  # recorded together with the matrix
        return self.matrix, self.spread

    @property
    def widest(self) -> int:
        """The most streams that there were since the site before, or at it."""
        return max(self._own()[0].shape[2], *(code._own()[0].shape[2] for code in self._links()))

    @property
    def basis(self) -> Code | None:
        """The streams that the operator of this site is expressed in."""
        return [*self._links()][-1].parent

    def _links(self) -> Iterator[Code]:
        yield self
        columns = self._own()[0].shape[2]
        for code in itertools.islice(self.ancestry(), 1, None):
            if code.site or code.matrix is None or (code.fit is None and columns == self.streams):
                return
            yield code
            columns = code.matrix.shape[2]

    @property
    def before_sites(self) -> bool:
        """Whether no branch was added anywhere on the way to this code."""
        return not any(code.site for code in self.ancestry())

    @property
    def run(self) -> Iterator[Code]:
        """This code and those before it, back to the last site or to where the path was broken."""
        for code in self.ancestry():
            yield code
            if code.site or code.broken:
                return

    @property
    def tentative(self) -> bool:
        """Whether a layer or a norm made these streams and no branch was added to them since.

        They may be the start of a path, or the start of a branch.
        """
        return bool([*self.run][-1].broken)

    def yields_to(self, other: Code) -> bool:
        """Whether these are a branch or a coefficient where they meet the streams of another code."""
        shared = set(other.ancestry())
        if shared.isdisjoint(self.ancestry()):
            return False
        mine = [*itertools.takewhile(lambda code: code not in shared, self.ancestry())]
        own = set(self.ancestry())
        theirs = [*itertools.takewhile(lambda code: code not in own, other.ancestry())]
        if not any(code.broken for code in mine):
            return False
        straight = not any(code.broken for code in theirs)
        return straight or sum(code.site for code in mine) <= sum(code.site for code in theirs)

    def ancestry(self) -> Iterator[Code]:
        """This code, its parent, and so on up to the entry."""
        code: Code | None = self
        while code is not None:
            yield code
            code = code.parent


def shared(codes: Iterable[Code]) -> Code | None:
    """The latest code that all of these come from, if any."""
    first, *others = codes
    common = [set(code.ancestry()) for code in others]
    return next((code for code in first.ancestry() if all(code in of for of in common)), None)


def _largest_sum(matrix: Tensor, axis: int) -> Tensor:
    return matrix.abs().sum(dim=axis).amax(dim=-1)
