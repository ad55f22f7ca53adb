"""Ranks that meet in a store: threads here, because the roll does not care."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from mhc_diag.errors import MhcDiagError
from mhc_diag.watch import roll_call
from mhc_diag.watch.roll_call import RollCall

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch has no distributed package")


@pytest.fixture
def rolls(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[RollCall]]:
    """Rolls as three processes would open them."""
    store = dist.HashStore()

    def opened(timeout: float = 5.0) -> list[RollCall]:
        made = []
        for rank in range(3):
            monkeypatch.setattr(roll_call, "_opened", type(roll_call._opened)())
            made.append(RollCall(store, [2, 0, 1], rank, timeout))
        return made

    return opened


def together(*calls: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def error(call: Callable[[], object]) -> str:
    with pytest.raises(MhcDiagError) as caught:
        call()
    return caught.value.message


def test_everybody_hears_everybody_again_and_again(rolls: Callable[..., list[RollCall]]) -> None:
    ranks = rolls()
    for k in range(4):
        calls = [lambda roll=roll, k=k: roll.call({"has": 10 * k + roll.own}) for roll in ranks]
        for said in together(*calls):
            assert said == {rank: {"has": 10 * k + rank} for rank in range(3)}
    assert ranks[0]._store.num_keys() <= 2 * 3  # words that all have heard do not pile up


def test_who_is_missing_is_named(rolls: Callable[..., list[RollCall]]) -> None:
    ranks = rolls(timeout=0.3)
    found = together(*(lambda roll=roll: error(lambda: roll.call({})) for roll in ranks[:2]))
    assert found == ["rank 2 of 3 did not come within 0.3 s"] * 2
    assert error(lambda: rolls(timeout=0.05)[1].call({})).startswith("rank 2 of 3")


def test_who_has_left_is_named_at_once(rolls: Callable[..., list[RollCall]]) -> None:
    ranks = rolls(timeout=3600)
    ranks[2].leave("RuntimeError: out of memory")
    assert error(lambda: ranks[0].call({})) == "rank 2 left: RuntimeError: out of memory"


def test_a_problem_of_one_is_told_to_all(rolls: Callable[..., list[RollCall]]) -> None:
    problems = ["", "nothing was recorded", ""]
    calls = [lambda roll=roll: error(lambda: roll.call({"problem": problems[roll.own]})) for roll in rolls()]
    assert together(*calls) == ["rank 1: nothing was recorded"] * 3


def test_a_store_that_is_gone() -> None:
    class Gone:
        def set(self, *_: object) -> None:
            pass

        def wait(self, *_: object) -> None:
            raise dist.DistNetworkError("connection reset\nby peer")

        check = wait

    assert "connection reset" in error(lambda: RollCall(Gone(), [0, 1], 0, 1.0).call({}))  # type: ignore[arg-type]
