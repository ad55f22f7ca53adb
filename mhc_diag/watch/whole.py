"""The operators of the whole model, gathered from all ranks for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack, Observation, Provenance, Site, Skipped
from mhc_diag.watch.exchange import gathered_rows

if TYPE_CHECKING:
    from torch import Tensor

    from mhc_diag.watch.ranks import Ranks

Told = Mapping[str, Any]


def whole_stack(ranks: Ranks, own: MixingStack | None, name: str, latest: int) -> MixingStack:
    """One stack of all sites and all tokens, the same on every rank. All ranks call this.

    Args:
        ranks: with whom the model is shared.
        own: the sites and tokens of this rank; None for a stage without sites.
        name: of the model.
        latest: the forward pass that they are of.

    Raises:
        MhcDiagError: a rank is missing, or has its latest record of another forward pass.
    """
    full = _said(ranks, own, latest)
    matrices = _matrices(ranks, own, full)
    stages = [full[rank] for rank in ranks.stages if rank in full]
    return MixingStack(
        name, matrices, _sites(stages), _provenance(own, name, stages, full, matrices.shape[1])
    )


def whole_sites(ranks: Ranks, own: MixingStack | None, latest: int) -> tuple[int, tuple[Site, ...]]:
    """Streams and sites of that stack, without any matrix. All ranks call this; see `whole_stack`."""
    full = _said(ranks, own, latest)
    return next(iter(full.values()))["n"], _sites([full[rank] for rank in ranks.stages if rank in full])


def _said(ranks: Ranks, own: MixingStack | None, latest: int) -> dict[int, Told]:
    """What each rank that has sites says of them."""
    said = ranks.call(_told(own, latest))
    full: dict[int, Told] = {rank: words for rank, words in said.items() if words["sites"]}
    passes = {rank: words["latest"] for rank, words in full.items()}
    if len(set(passes.values())) > 1:
        told = ", ".join(f"rank {rank} of {forward}" for rank, forward in passes.items())
        raise MhcDiagError(
            f"the latest records are of other forward passes: {told}",
            hint="ask for a report when all ranks have finished the same step",
        )
    return full


def _told(own: MixingStack | None, latest: int) -> dict[str, Any]:
    if own is None:
        return {"sites": []}
    about = own.provenance
    return {
        "latest": latest,
        "sites": [[site.path, site.kind] for site in own.sites],
        "tokens": int(own.matrices.shape[1]),
        "n": own.streams,
        "notes": list(about.notes),
        "skipped": [[s.what, s.reason] for s in about.skipped],
        "remarks": [[r.check, r.where, r.text] for r in about.remarks],
    }


def _matrices(ranks: Ranks, own: MixingStack | None, full: Mapping[int, Told]) -> Tensor:
    """(all sites, all tokens, n, n)."""
    import torch

    shared = ranks.distribution
    tokens = max(full[rank]["tokens"] for rank in ranks.stages if rank in full)
    n = next(iter(full.values()))["n"]
    made = torch.zeros(0, tokens, n, n).double()
    if own is not None:
        made = torch.as_tensor(own.matrices).double().expand(-1, tokens, -1, -1)
    if shared.stages is not None:
        made = gathered_rows(made, shared.stages, shared.timeout)
    made = made.transpose(0, 1)
    for group in shared.tokens:
        made = gathered_rows(made, group, shared.timeout)
    return made.transpose(0, 1)


def _sites(stages: Sequence[Told]) -> tuple[Site, ...]:
    """All sites in the order of depth; where stages use the same names, with the number of the stage."""
    names = [(path, kind) for words in stages for path, kind in words["sites"]]
    apart = len(set(names)) < len(names) and len(stages) > 1
    labelled = [
        (f"stage {stage}: {path}" if apart else path, kind)
        for stage, words in enumerate(stages)
        for path, kind in words["sites"]
    ]
    return tuple(Site(path, kind, depth) for depth, (path, kind) in enumerate(labelled))


def _provenance(
    own: MixingStack | None, name: str, stages: Sequence[Told], full: Mapping[int, Told], tokens: int
) -> Provenance:
    how = "measured on every rank while the model ran"
    about = Provenance(name, "observed", how, "observed", "token") if own is None else own.provenance
    said = list(full.values())
    spread = ", ".join(f"{words['tokens']} of rank {rank}" for rank, words in full.items())
    depths = ", ".join(str(len(words["sites"])) for words in stages)
    notes = [note for words in said for note in words["notes"]]
    notes += [f"gathered from {len(said)} ranks; sites by stage: {depths}; tokens: {spread}"]
    return replace(
        about,
        token_shape=(tokens,),
        token_numbers=(),
        certificates=None,
        fitted=(),
        exposed=(),
        notes=tuple(dict.fromkeys(notes)),
        skipped=tuple(dict.fromkeys(Skipped(*s) for words in said for s in words["skipped"])),
        remarks=tuple(dict.fromkeys(Observation(*r) for words in said for r in words["remarks"])),
    )
