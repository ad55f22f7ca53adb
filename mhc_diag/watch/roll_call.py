"""A roll call: every rank says that it is there, and what it has to say, before anybody waits for numbers.

It goes through the store of the job, which every backend has, and not through a collective: so whoever waits
can tell which rank is missing, and a rank that fails can say why.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

LOOK_AGAIN = 1.0
"""Seconds after which somebody who waits looks whether the others have failed meanwhile."""

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
        until = time.monotonic() + self.timeout
        while True:
            wait = min(LOOK_AGAIN, until - time.monotonic())
            try:
                self._store.wait(list(keys.values()), timedelta(seconds=max(wait, 0.001)))
                texts = [self._store.get(key) for key in keys.values()]
                return {rank: json.loads(text) for rank, text in zip(keys, texts, strict=True)}
            except Exception as e:
                missing, left = self._missing(keys, e)
                if left or time.monotonic() >= until:
                    raise self._error(missing, left) from e

    def _missing(self, keys: Mapping[int, str], error: Exception) -> tuple[list[int], dict[int, str]]:
        """Who is not here, and who has left for what reason."""
        try:
            missing = [rank for rank, key in keys.items() if not self._store.check([key])]
            gone = [rank for rank in missing if self._store.check([self._left(rank)])]
            return missing, {rank: self._store.get(self._left(rank)).decode() for rank in gone}
        except Exception as e:
            raise MhcDiagError(
                f"the store of torch.distributed cannot be reached: {type(e).__name__}: {_first_line(error)}",
                hint="the process that holds it, rank 0 or torchrun, has probably ended",
            ) from e

    def _error(self, missing: list[int], left: Mapping[int, str]) -> MhcDiagError:
        if left:
            told = "; ".join(f"rank {rank} left: {reason}" for rank, reason in left.items())
            return MhcDiagError(told, hint="see what that rank says")
        if not missing:  # the last of them came just now
            return MhcDiagError(f"not all ranks came within {self.timeout:g} s", hint="allow more time")
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
