"""Shards of one sweep, all of them and each once: anything else is refused, and named."""

from __future__ import annotations

import shutil

import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.sweeps import Shard, measure_shard, merged, run


@pytest.fixture
def shards(plan, tmp_path):
    """The files of three shards, each in a folder of its own."""
    return [measure_shard(plan(), Shard(k, 3), tmp_path / f"node-{k}", jobs=1) for k in (1, 2, 3)]


def test_files_and_folders_alike(plan, saved, shards):
    wanted = saved(run(plan(), jobs=1, triangle=True))
    assert saved(merged([shards[2], shards[0].parent, shards[1]], triangle=True)) == wanted


def test_a_missing_shard_is_named(shards):
    with pytest.raises(MhcDiagError, match=r"^shard 1/3 is missing, 3/3 is missing$"):
        merged([shards[1]])


def test_an_unfinished_shard_is_named(plan, shards, monkeypatch):
    shards[2].unlink()
    from mhc_diag.sweeps.folder import Folder

    tasks = Shard(3, 3).tasks(plan())
    keeper = Folder(shards[2].parent, plan(), Shard(3, 3))
    keeper.keep(tasks[0], plan().work(tasks[0], 1).measurement())
    with pytest.raises(MhcDiagError, match=r"^shard 3/3 has measured 1 of 4 parts$"):
        merged([path.parent for path in shards])


def test_a_shard_that_is_given_twice_is_named(shards, tmp_path):
    shutil.copy(shards[1], tmp_path / "copy.npz")
    with pytest.raises(MhcDiagError, match=r"^shard 2/3 is given twice: .*2-of-3.npz and .*copy.npz$"):
        merged([*shards, tmp_path / "copy.npz"])


@pytest.mark.parametrize(
    ("settings", "named"), [({"seed": 5}, "seed 5 and not 0"), ({"seeds": 43}, "seeds 43")]
)
def test_a_shard_of_another_sweep_is_named(plan, shards, settings, named):
    other = measure_shard(plan(**settings), Shard(3, 3), shards[2].parent.parent / "other", jobs=1)
    with pytest.raises(MhcDiagError, match=rf"other/3-of-3.npz was measured with {named}"):
        merged([*shards[:2], other])


def test_shards_of_another_number_of_shards_are_named(plan, shards, tmp_path):
    other = measure_shard(plan(), Shard(4, 4), tmp_path / "other", jobs=1)
    with pytest.raises(MhcDiagError, match=r"1-of-3.npz is shard 1/3 and .*4-of-4.npz is shard 4/4"):
        merged([*shards, other])


def test_nothing_to_merge_is_said(tmp_path):
    with pytest.raises(MhcDiagError, match="no file of a sweep"):
        merged([tmp_path])
    with pytest.raises(MhcDiagError, match=r"there is no .*gone.npz"):
        merged([tmp_path / "gone.npz"])


def test_many_missing_shards_are_counted(plan, tmp_path):
    measure_shard(plan(), Shard(1, 40), tmp_path, jobs=1)
    with pytest.raises(MhcDiagError, match=r"9/40 is missing and 31 more"):
        merged([tmp_path])


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "1/3/3", "-1/3", "1/1000000"])
def test_what_is_no_shard(text):
    with pytest.raises(MhcDiagError, match="--shard is"):
        Shard.parse(text)


def test_shards_share_everything_out_once(plan):
    assert sorted(t for k in range(1, 6) for t in Shard(k, 5).tasks(plan())) == plan().tasks
