"""What stages send each other, against the whole stack in one place."""

import pytest
import torch
from torch import Tensor

from mhc_diag.errors import MhcDiagError
from mhc_diag.watch.stages import Kept, Sent, of_stage, thinned
from mhc_diag.watch.tables import joined, log10_numbers, table

N = 4


def drawn(sites: int, tokens: int, seed: int = 0) -> Tensor:
    made = torch.randn(sites, tokens, N, N, generator=torch.Generator().manual_seed(seed))
    return made.double()


def met(*records: Kept | None) -> list[Sent | None]:
    """Everything sent and received, with the padding that the longest needs."""
    width = max(record.matrices.shape[1] for record in records if record is not None) + 2
    return [None if r is None else Sent.unpacked(r.packed(width), r.matrices.shape[1], N) for r in records]


def numbers(*records: Kept | None) -> Tensor:
    sent = met(*records)
    tables = [of_stage(record, sent, own) for own, record in enumerate(records) if record is not None]
    assert (
        len({float(made.tokens) for made in tables}) == len({float(made.nonfinite) for made in tables}) == 1
    )
    return log10_numbers(joined(tables))


def test_uneven_stages_and_one_without_sites() -> None:
    parts = [drawn(1, 5), drawn(4, 5, 1), drawn(2, 5, 2)]
    found = numbers(Kept(3, parts[0]), None, Kept(3, parts[1]), Kept(3, parts[2]))
    assert torch.allclose(found, log10_numbers(table(torch.cat(parts))), rtol=1e-9)


def test_a_stage_whose_matrices_are_the_same_for_all_tokens() -> None:
    static, dynamic = drawn(2, 1), drawn(3, 5, 1)
    expected = log10_numbers(table(torch.cat([static.expand(-1, 5, -1, -1), dynamic])))
    weights = torch.tensor([1.0, 1, 1, 0, 1])
    assert torch.allclose(numbers(Kept(1, static), Kept(1, dynamic)), expected, rtol=1e-9)
    some = table(torch.cat([static.expand(-1, 4, -1, -1), dynamic[:, [0, 1, 2, 4]]]))
    found = numbers(Kept(1, static), Kept(1, dynamic, weights))  # which only one of them knows
    assert torch.allclose(found, log10_numbers(some), rtol=1e-9)


def test_a_token_that_is_not_finite_on_one_stage_counts_once() -> None:
    one, two = drawn(2, 5), drawn(2, 5, 1)
    one[1, 3, 0, 0], two[0, 3, 1, 1], two[0, 4, 0, 0] = torch.nan, torch.inf, torch.nan
    assert numbers(Kept(1, one), Kept(1, two))[-1] == 2


def test_stages_that_kept_other_tokens_are_refused() -> None:
    one = Kept(7, drawn(2, 3), numbers=torch.tensor([0, 4, 8]))
    with pytest.raises(MhcDiagError, match="forward pass 7 the stages kept other tokens"):
        numbers(one, Kept(7, drawn(2, 3), numbers=torch.tensor([0, 4, 9])))
    with pytest.raises(MhcDiagError, match="other tokens: 3, 4"):
        numbers(one, Kept(7, drawn(2, 4)))


def test_a_probe_keeps_the_tokens_that_taps_keep() -> None:
    record = thinned(Kept(1, drawn(1, 10), numbers=torch.arange(20, 30)), 4)
    assert record.numbers is not None
    assert record.numbers.tolist() == [20, 22, 25, 27]
    assert torch.equal(record.matrices, drawn(1, 10)[:, [0, 2, 5, 7]])
    assert thinned(record, 4) is record
