"""Tables of ranks and stages, against one stack that holds all tokens and all sites, in plain numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gains import by_hand

from mhc_diag.watch.depth import Product, beside, prefixes, suffixes
from mhc_diag.watch.gains import NAMES, log10_gains
from mhc_diag.watch.tables import Table, joined, log10_numbers, merged, table


def product(stage: torch.Tensor) -> Product | None:
    made = prefixes(stage) if len(stage) else None
    return None if made is None else Product(made.mantissa[-1], made.scale[-1])


def by_stages(matrices: torch.Tensor, depths: list[int], weights: torch.Tensor | None = None) -> Table:
    """The table of a stack cut into stages of these depths, each knowing of the others one product only."""
    stages = matrices.split(depths)
    products = [product(stage) for stage in stages]
    finite = torch.isfinite(matrices).all(-1).all(-1).all(0)
    return joined(
        [
            table(stage, weights, *beside(products, own), finite)
            for own, stage in enumerate(stages)
            if len(stage)
        ]
    )


def whole(matrices: torch.Tensor, depths: list[int], tokens: list[int]) -> np.ndarray:
    """The gains of a stack cut by depth and by tokens."""
    parts = matrices.split(tokens, dim=1)
    return 10 ** log10_numbers(merged([by_stages(part, depths) for part in parts])).numpy()[:-1]


cuts = st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any)


@settings(deadline=None, max_examples=60)
@given(cuts, cuts, st.sampled_from([1, 2, 4]), st.integers(0, 2**32 - 1))
def test_any_cut_gives_what_one_process_finds(
    depths: list[int], tokens: list[int], n: int, seed: int
) -> None:
    matrices = np.random.default_rng(seed).standard_normal((sum(depths), sum(tokens), n, n))
    expected = by_hand(matrices)
    found = whole(torch.from_numpy(matrices), depths, tokens)
    np.testing.assert_allclose(found, [expected[name] for name in NAMES], rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(cuts, st.integers(0, 2**32 - 1))
def test_every_prefix_and_suffix_of_a_stage_is_one_of_the_whole_model(depths: list[int], seed: int) -> None:
    matrices = torch.from_numpy(np.random.default_rng(seed).standard_normal((sum(depths), 3, 4, 4)))
    found, expected = by_stages(matrices, depths).logs, table(matrices).logs
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_gain_that_no_stage_has_alone() -> None:
    """Each of two stages amplifies by less than 7, and the model by 40."""
    one = torch.diag(torch.tensor([4.0, 1.0, 1.0, 1.0])).expand(1, 2, 4, 4)
    two = torch.diag(torch.tensor([10.0, 1.0, 1.0, 1.0])).expand(1, 2, 4, 4)
    assert (10 ** log10_gains(one)[0]).item() == pytest.approx(4)
    assert whole(torch.cat([one, two]), [1, 1], [2])[0] == pytest.approx(40)


def test_beyond_the_range_of_floats() -> None:
    matrices = torch.full((1200, 2, 1, 1), 1000.0)
    found = log10_numbers(merged([by_stages(matrices, [500, 0, 700])] * 2))
    np.testing.assert_allclose(found[:4], 3600.0)


def test_tokens_that_do_not_count() -> None:
    matrices = torch.eye(2).repeat(2, 4, 1, 1)
    matrices[:, 2:] *= 5
    some = table(matrices, torch.tensor([1.0, 1, 1, 0]))
    none = table(100 * matrices, torch.zeros(4))
    found = 10 ** log10_numbers(merged([some, none]))
    assert found[0].item() == pytest.approx(25) and found[1].item() == pytest.approx((1 + 1 + 25) / 3)
    assert merged([some, none]).tokens == 3
    empty = table(matrices[:, :0])
    assert torch.equal(merged([some, empty]).logs, some.logs)


def test_a_token_that_is_not_finite_at_one_stage_of_one_rank() -> None:
    matrices = torch.eye(4).repeat(4, 5, 1, 1)
    matrices[1, 2, 0, 0] = torch.nan
    matrices[3, 2, 0, 0] = torch.inf
    broken, clean = by_stages(matrices, [2, 2]), by_stages(torch.eye(4).repeat(4, 3, 1, 1), [2, 2])
    found = log10_numbers(merged([clean, broken]))
    assert found[-1] == 1 and found[:4].isnan().all()
    assert log10_numbers(clean)[-1] == 0


def test_suffixes_are_prefixes_of_the_transposes_from_the_other_end() -> None:
    matrices = torch.randn(7, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made, other = suffixes(matrices), prefixes(matrices.mT.flip(0))
    assert torch.allclose(made.mantissa, other.mantissa.mT.flip(0))
    assert torch.allclose(made.scale, other.scale.flip(0))
