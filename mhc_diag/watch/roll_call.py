"""A roll call: every rank says that it is there, and what it has to say, before anybody waits for numbers.

It goes through the store of the job, which every backend has, and not through a collective: so whoever waits
can tell which rank is missing, and a rank that fails can say why.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

SOONEST, LATEST, SHARE = 0.0005, 0.25, 0.1
"""Who waits looks again after that share of the time waited so far, in seconds at least and at most. Waiting
in the store itself would cost no looks, but torch logs every wait that runs out."""
ASK_AGAIN = 1.0
"""Seconds after which who waits asks who is missing, and whether one of them has left."""

_opened: Counter[tuple[int, ...]] = Counter()


class RollCall:
    """The roll of some ranks. All of them open it in the same order, and call it equally often.

    Args:
        store: that all of them reach.
        ranks: who belongs to it.
        own: who this is.
        timeout: seconds to wait for the others.
    """

    def __init__(self, store: Store, ranks: Iterable[int], own: int, timeout: float) -> None:
        self.ranks, self.own, self.timeout = tuple(sorted(ranks)), own, timeout
        _opened[self.ranks] += 1
        self._store = store
        self._name = f"mhc-diag/{'-'.join(map(str, self.ranks))}/{_opened[self.ranks]}"
        self._calls = 0

    def call(self, what: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        """Say something, and hear what the others say.

        Args:
            what: anything that JSON can hold; under `problem`, why this rank cannot go on.

        Returns:
            What each rank said.

        Raises:
            MhcDiagError: a rank is missing after the timeout, or has a problem; the message names it.
        """
        self._calls += 1
        self._store.set(self._key(self._calls, self.own), json.dumps(what))
        said = self._heard()
        if self._calls > 2:  # everybody is here, so everybody has heard what was said two calls ago
            self._store.delete_key(self._key(self._calls - 2, self.own))
        problems = [
            f"rank {rank}: {words['problem']}" for rank, words in said.items() if words.get("problem")
        ]
        if problems:
            raise MhcDiagError("; ".join(problems), hint="the other ranks cannot go on without it")
        return said

    def leave(self, reason: str) -> None:
        """Say that this rank comes to no further call, so that nobody waits for it."""
        self._store.set(self._left(self.own), reason)

    def _heard(self) -> dict[int, dict[str, Any]]:
        keys = {rank: self._key(self._calls, rank) for rank in self.ranks}
        start, asked = time.monotonic(), 0.0
        try:
            while not self._store.check(list(keys.values())):  # one request, whatever the number of ranks
                waited = time.monotonic() - start
                if waited >= min(asked + ASK_AGAIN, self.timeout):
                    asked = waited
                    missing = [rank for rank, key in keys.items() if not self._store.check([key])]
                    gone = [rank for rank in missing if self._store.check([self._left(rank)])]
                    left = {rank: self._store.get(self._left(rank)).decode() for rank in gone}
                    if left or (missing and waited >= self.timeout):
                        raise self._error(missing, left)
                time.sleep(min(max(SHARE * waited, SOONEST), LATEST, max(self.timeout - waited, SOONEST)))
            texts = [self._store.get(key) for key in keys.values()]
            return {rank: json.loads(text) for rank, text in zip(keys, texts, strict=True)}
        except RuntimeError as e:  # what the stores of torch raise, timeouts included
            raise MhcDiagError(
                f"the store of torch.distributed cannot be reached: {type(e).__name__}: {_first_line(e)}",
                hint="the process that holds it, rank 0 or torchrun, has probably ended",
            ) from e

    def _error(self, missing: list[int], left: Mapping[int, str]) -> MhcDiagError:
        if left:
            told = "; ".join(f"rank {rank} left: {reason}" for rank, reason in left.items())
            return MhcDiagError(told, hint="see what that rank says")
        names = ", ".join(map(str, missing))
        return MhcDiagError(
            f"rank {names} of {len(self.ranks)} did not come within {self.timeout:g} s",
            hint="it has died, hangs, or does not ask: every rank has to ask a watch at the same steps",
        )

    def _key(self, call: int, rank: int) -> str:
        return f"{self._name}/{call}/{rank}"

    def _left(self, rank: int) -> str:
        return f"{self._name}/left/{rank}"


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
