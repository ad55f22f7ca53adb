"""What the ranks of a distribution recorded, made into numbers of the whole model.

All ranks ask together: first a roll call, so that whoever is missing is named, then one exchange along each
axis of the distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mhc_diag.errors import MhcDiagError
from mhc_diag.watch.distribution import Distribution
from mhc_diag.watch.exchange import gathered
from mhc_diag.watch.roll_call import RollCall
from mhc_diag.watch.stages import BESIDE, Kept, Sent, of_stage
from mhc_diag.watch.tables import NUMBERS, Table, log10_numbers, merged, no_numbers, worst_of

if TYPE_CHECKING:
    from torch import Tensor

Told = Mapping[str, Any]


class Whole(NamedTuple):
    """One forward pass over all ranks."""

    forward: int
    numbers: Tensor
    """(NUMBERS), as of `log10_numbers`."""
    step: int
    streams: int
    tapped: bool


class Ranks:
    """The ranks that share a model, as one of them meets the others.

    Args:
        distribution: who they are.
    """

    def __init__(self, distribution: Distribution) -> None:
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import _get_default_store

        self.distribution, self.own = distribution, dist.get_rank()
        store, timeout = _get_default_store(), distribution.timeout
        self._all = RollCall(store, distribution.ranks, self.own, timeout)
        self._replicas = RollCall(store, distribution.replicas, self.own, timeout)
        pipeline = distribution.stages
        self.stages = (self.own,) if pipeline is None else tuple(dist.get_process_group_ranks(pipeline))
        """The ranks that hold the sites of this rank's tokens, in the order of depth."""

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that writes files."""
        return self.own == min(self.distribution.ranks)

    @property
    def has_stages(self) -> bool:
        """Whether other ranks hold other sites, so that one may have none."""
        return self.distribution.stages is not None

    def agreed(self, told: str, failure: MhcDiagError | None = None) -> str:
        """What any rank with the same sites has to tell, so that all of them take the same way.

        Args:
            told: by this rank; empty if nothing.
            failure: why this rank cannot go on.

        Raises:
            MhcDiagError: a rank cannot go on, or is missing.
        """
        words = {"told": told, "failure": "" if failure is None else failure.message}
        said = self._replicas.call(words)
        if failure is not None:
            raise failure
        for rank, other in said.items():
            if other["failure"]:
                raise MhcDiagError(f"rank {rank}: {other['failure']}", hint="see what that rank says")
        return told or "; ".join(f"rank {rank}: {w['told']}" for rank, w in said.items() if w["told"])

    def leave(self, reason: str) -> None:
        """Say that this rank does not go on, so that nobody waits for it."""
        self._all.leave(reason)
        self._replicas.leave(reason)

    def call(self, what: Told) -> dict[int, dict[str, Any]]:
        """A roll call of all ranks."""
        return self._all.call(what)

    def rows(self, pending: Sequence[Kept], settings: Mapping[str, str], *, empty: bool) -> list[Whole]:
        """The numbers of the forward passes that every rank has recorded.

        Args:
            pending: what this rank recorded since it was asked last.
            settings: what has to be the same on all of them.
            empty: whether this is a stage without sites, which records nothing.

        Raises:
            MhcDiagError: a rank is missing, or ranks do not fit together.
        """
        records = {str(record.forward): record.told() for record in pending}
        words = self.call({"empty": empty, "records": records, "settings": dict(settings)})
        _check_settings({rank: w["settings"] for rank, w in words.items()})
        said = {rank: w["records"] for rank, w in words.items() if not w["empty"]}
        common = _common(said)
        if not common:
            return []
        _check_sites(said, common, self.distribution.replicas)
        shared = [record for record in pending if record.forward in common]
        made = self._over_tokens(self._of_stage(shared, said, common))
        numbers = self._over_stages([log10_numbers(t) for t in made], len(common))
        return [_whole(f, said, found) for f, found in zip(common, numbers, strict=True)]

    def _of_stage(
        self, records: Sequence[Kept], said: Mapping[int, Told], common: Sequence[int]
    ) -> list[Table]:
        """This rank's tables, made with the products of the other stages; none if it has no sites."""
        import torch

        group = self.distribution.stages
        if group is None:
            return [record.made for record in records if record.made is not None]
        n = next(iter(said.values()))[str(common[0])]["n"]
        width = max(told[str(forward)]["tokens"] for told in said.values() for forward in common)
        packed = [record.packed(width) for record in records]
        own = torch.stack(packed) if packed else torch.zeros(len(common), width, n * n + BESIDE).double()
        parts = dict(zip(self.stages, gathered(own, group, self.distribution.timeout), strict=True))
        tables = []
        for k, record in enumerate(records):
            sent = [
                Sent.unpacked(parts[rank][k], said[rank][str(record.forward)]["tokens"], n)
                if rank in said
                else None
                for rank in self.stages
            ]
            tables.append(of_stage(record, sent, self.stages.index(self.own)))
        return tables

    def _over_tokens(self, tables: list[Table]) -> list[Table]:
        import torch

        for group in self.distribution.tokens if tables else ():
            rows = [torch.cat([t.logs.flatten(), t.tokens[None], t.nonfinite[None]]) for t in tables]
            parts = gathered(torch.stack(rows), group, self.distribution.timeout)
            tables = [merged([_table(part[k]) for part in parts]) for k in range(len(tables))]
        return tables

    def _over_stages(self, numbers: list[Tensor], count: int) -> list[Tensor]:
        """The worst over all stages; the means are over tokens only, and each stage has the same tokens."""
        import torch

        group = self.distribution.stages
        if group is None:
            return numbers
        own = torch.stack(numbers) if numbers else no_numbers(count)
        return list(worst_of(gathered(own, group, self.distribution.timeout)))


def _whole(forward: int, said: Mapping[int, Told], numbers: Tensor) -> Whole:
    told = [records[str(forward)] for records in said.values()]
    step, streams = told[0]["step"], told[0]["n"]
    return Whole(forward, numbers, step, streams, all(words["tapped"] for words in told))


def _common(said: Mapping[int, Told]) -> list[int]:
    """The forward passes that all of them have."""
    have = [set(map(int, records)) for records in said.values()]
    return sorted(set.intersection(*have)) if have else []


def _check_settings(said: Mapping[int, Mapping[str, str]]) -> None:
    first, wanted = next(iter(said.items()))
    for rank, settings in said.items():
        for name, value in settings.items():
            if value != wanted[name]:
                raise MhcDiagError(
                    f"rank {rank} watches with {name} {value}, and rank {first} with {wanted[name]}",
                    hint="watch with the same settings on every rank; the first one alone writes files",
                )


def _check_sites(said: Mapping[int, Told], common: Sequence[int], replicas: Sequence[int]) -> None:
    for forward in map(str, common):
        sites = {rank: said[rank][forward]["sites"] for rank in replicas if rank in said}
        streams = {rank: told[forward]["n"] for rank, told in said.items()}
        for what, counts in (("sites", sites), ("streams", streams)):
            if len(set(counts.values())) > 1:
                told = ", ".join(f"{count} on rank {rank}" for rank, count in counts.items())
                raise MhcDiagError(
                    f"in forward pass {forward} the ranks found other numbers of {what}: {told}",
                    hint="name the axes of the mesh along which the ranks hold other stages",
                )


def _table(flat: Tensor) -> Table:
    return Table(flat[:-2].reshape(NUMBERS - 1, -1), flat[-2], flat[-1])
