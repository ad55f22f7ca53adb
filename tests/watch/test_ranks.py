"""What four ranks tell of their watch is what one process with all of their sites and tokens would tell."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks_at_work
import torch
from test_gains import by_hand

from mhc_diag.sources import runs
from mhc_diag.watch.gains import NAMES

pytestmark = [
    pytest.mark.slow,  # four processes that import torch
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package"),
]

RANKS = 4
Told = list[Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def job(folder: Path) -> dict[str, Told]:
    """One job for all tests, because starting four processes is what takes time."""
    return ranks_at_work.run(folder, RANKS, list(ranks_at_work.SCENARIOS))


def told(job: dict[str, Told], scenario: str) -> Told:
    ranks = job[scenario]
    assert not [f"rank {rank}: {words}" for rank, words in enumerate(ranks) if isinstance(words, str)]
    return ranks


def whole(ranks: Told, tokens: list[list[int]], record: int) -> np.ndarray:
    """What was applied, of ranks that hold the same sites in one list, and of the stages in another."""
    per_stage = [torch.cat([ranks[r]["applied"][record] for r in stage], dim=1) for stage in tokens]
    return torch.cat([stage for stage in per_stage if len(stage)]).numpy()


@pytest.mark.parametrize(
    ("scenario", "stages"),
    [
        ("data", [[0, 1, 2, 3]]),
        ("padded", [[0, 1, 2, 3]]),
        ("fsdp", [[0, 1, 2, 3]]),
        ("fsdp_of_parameters", [[0, 1, 2, 3]]),
        ("tensor", [[0, 2]]),
        ("pipeline", [[0], [1], [2], [3]]),
        ("mixture", [[0, 1], [2, 3]]),
    ],
)
def test_every_number_is_that_of_one_process(
    job: dict[str, Told], scenario: str, stages: list[list[int]]
) -> None:
    ranks = told(job, scenario)
    for words in ranks:
        assert not words["notes"]
        assert len(words["rows"]) == ranks_at_work.STEPS
        for record, row in enumerate(words["rows"]):
            expected = by_hand(whole(ranks, stages, record))
            found = [row[f"mhc/{name}"] for name in NAMES]
            np.testing.assert_allclose(found, [expected[name] for name in NAMES], rtol=1e-6)
            assert row["mhc/tapped"] == 1 and row["mhc/nonfinite_tokens"] == 0
        latest = whole(ranks, stages, -1)
        if scenario == "fsdp_of_parameters":  # one matrix for all tokens, and one a rank
            latest = latest[:, :RANKS]
        np.testing.assert_allclose(words["stack"], latest, rtol=1e-6, atol=1e-7)
        assert words["report"] == pytest.approx(by_hand(latest)["forward_max"], rel=1e-6)
        assert len(set(words["sites"])) == 3


def test_gains_of_the_gradient_are_the_largest_of_all_ranks(job: dict[str, Told]) -> None:
    ranks = told(job, "gradients")
    truth = np.array([words["truth"] for words in ranks]).max(0)
    assert len({tuple(words["truth"][0]) for words in ranks}) == RANKS  # each has its own
    for words in ranks:
        assert not words["notes"]
        names = ("mhc/gradient_gain", "mhc/gradient_gain_predicted", "mhc/gradient_step")
        found = np.array([[row[name] for name in names] for row in words["rows"]])
        np.testing.assert_allclose(found[:, :2], truth, rtol=1e-5)
        assert found[:, 2].tolist() == [1, 2, 3]


def test_limits_and_the_file_are_of_the_whole_model(job: dict[str, Told], folder: Path) -> None:
    ranks = told(job, "pipeline")
    gains = [by_hand(whole(ranks, [[0], [1], [2], [3]], k)) for k in range(ranks_at_work.STEPS)]
    first = {
        name: next(k for k, found in enumerate(gains, 1) if found[name] > 1.5)
        for name in ("forward_max", "backward_max")
    }
    for words in ranks:
        assert {(step, f"mhc/{name}") for name, step in first.items()} <= set(words["alerts"])
        assert words["stop"]
    run = runs.read(folder / "run.jsonl")
    assert list(run.sites) == ranks[0]["sites"] and len(run.sites) == 3 and run.streams == ranks_at_work.N
    assert run.curve("forward_max") == pytest.approx([found["forward_max"] for found in gains], rel=1e-6)
    assert [(a["step"], a["metric"]) for a in run.alerts] == ranks[0]["alerts"]


def test_a_watch_changes_no_bit_of_what_fsdp_trains(job: dict[str, Told]) -> None:
    for words in told(job, "unchanged"):
        assert len(words["same"]) > 10 and all(words["same"])


def test_ranks_have_other_tokens_and_amplify(job: dict[str, Told]) -> None:
    """That the comparison above is one: gains are not 1, and differ from those of any rank alone."""
    ranks = told(job, "mixture")
    of_all = ranks[0]["rows"][-1]["mhc/forward_max"]
    assert of_all > 2
    assert all(by_hand(words["applied"][-1].numpy())["forward_max"] < of_all for words in ranks)
    assert "rank 3" in ranks[0]["told"][-1]


def test_stages_that_look_harmless_alone(job: dict[str, Told]) -> None:
    for rank, words in enumerate(told(job, "planted")):
        assert words["alone"]["forward_max"] == pytest.approx([4, 2.5, 2, 2][rank])
        assert words["whole"]["forward_max"] == pytest.approx(40)
        assert words["report"] == pytest.approx(40)


def test_a_rank_that_does_not_ask_is_named(job: dict[str, Told]) -> None:
    for rank in (0, 1, 3):
        assert told(job, "silent")[rank]["error"] == "rank 2 of 4 did not come within 5 s"


def test_a_rank_with_other_settings_is_named(job: dict[str, Told]) -> None:
    for words in told(job, "otherwise"):
        assert words["error"].startswith("rank 1 watches with policy Policy(max_gain=1.5,")
        assert words["error"].endswith("and rank 0 with None")


def test_a_rank_that_fails_is_named_with_its_reason(job: dict[str, Told]) -> None:
    for rank in (0, 2, 3):
        assert told(job, "failing")[rank]["error"] == "rank 1 left: RuntimeError: out of memory"


def test_a_rank_that_dies_is_named(job: dict[str, Told]) -> None:
    ranks = told(job, "dying")
    assert ranks[3] is None
    for rank in (0, 1, 2):
        assert ranks[rank]["error"] == "rank 3 of 4 did not come within 5 s"
