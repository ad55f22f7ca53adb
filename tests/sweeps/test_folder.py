"""An interrupted sweep goes on after the last part that was finished, and ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.measuring import Measurement
from mhc_diag.sources import simulate
from mhc_diag.sweeps import Shard, folder, measure_shard, merged, run
from mhc_diag.sweeps.plan import Work
from mhc_diag.sweeps.saved import look
from mhc_diag.sweeps.state import from_arrays, to_arrays

ROOT = Path(__file__).parents[2]
MEASUREMENT = Work.measurement


def stop_after(monkeypatch, count):
    """Interrupt when so many parts are measured; the list tells which were."""
    measured: list[tuple[str, int]] = []

    def counted(self, progress=None):
        if len(measured) == count:
            raise KeyboardInterrupt
        measured.append((self.case.name, self.part))
        return MEASUREMENT(self, progress)

    monkeypatch.setattr(Work, "measurement", counted)
    return measured


@pytest.mark.parametrize("done", [0, 1, 6, 12])
@pytest.mark.parametrize("loose", [0, 2**26])
def test_an_interrupted_sweep_goes_on_and_ends_with_the_same_bytes(
    plan, saved, tmp_path, monkeypatch, done, loose
):
    wanted = saved(run(plan(), jobs=1))
    monkeypatch.setattr(folder, "LOOSE", loose)
    first = stop_after(monkeypatch, done)
    with pytest.raises(KeyboardInterrupt):
        run(plan(), jobs=1, state=tmp_path)
    second = stop_after(monkeypatch, 13)
    with joblib.parallel_config(backend="threading"):
        assert saved(run(plan(), jobs=4, state=tmp_path)) == wanted
    assert len(first) == done and len(second) == 13 - done and not set(first) & set(second)
    assert [p.name for p in tmp_path.iterdir()] == ["1-of-1.npz"]
    third = stop_after(monkeypatch, 0)
    assert saved(run(plan(), state=tmp_path)) == saved(merged([tmp_path])) == wanted and not third


KILLED = """
import os, signal, sys
from pathlib import Path
from mhc_diag.sources import simulate
from mhc_diag.sweeps import Plan, engine, run
from mhc_diag.sweeps.folder import Folder
keep, kept = Folder.keep, []

def keep_and_die(self, task, measured):
    if len(kept) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    kept.append(keep(self, task, measured))

Folder.keep = keep_and_die
simulate.PART_BYTES = 8 * 5 * 9 * 8
simulation = simulate.Simulation(depth=5, streams=3, seeds=44)
if __name__ == "__main__":
    engine.WORTH_WORKERS = 0.0
    run(Plan(simulation, ("uniformity",)), state=Path(sys.argv[1]), jobs=int(sys.argv[2]))
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_killed_without_warning_goes_on(plan, saved, tmp_path, jobs):
    """Its workers end with it: until they do, they hold the pipe that is read here."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(jobs)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.npz"))) == 4
    with joblib.parallel_config(backend="threading"):
        assert saved(run(plan(), jobs=3, state=tmp_path)) == saved(run(plan(), jobs=1))


def test_a_worker_that_begins_after_the_process_that_started_it_was_killed_ends_at_once():
    begin = "import threading; from mhc_diag.sweeps import engine; engine._end_with(2**30); "
    done = subprocess.run(
        [sys.executable, "-c", begin + "threading.Event().wait(100)"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 1


def test_parts_that_were_gathered_before_the_end_came_are_not_counted_twice(plan, saved, tmp_path):
    run(plan(), jobs=1, state=tmp_path)
    keeper = folder.Folder(tmp_path, plan(), Shard())
    for task in plan().tasks[2:4]:
        keeper.keep(task, plan().work(task, 1).measurement())
    assert (
        saved(merged([tmp_path])) == saved(run(plan(), jobs=1, state=tmp_path)) == saved(run(plan(), jobs=1))
    )
    assert [p.name for p in tmp_path.iterdir()] == ["1-of-1.npz"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"seeds": 45}, "seeds 44 and not 45"),
        ({"seed": 1}, "seed 0 and not 1"),
        ({"metrics": ("paper",)}, r"metrics \['uniformity'\] and not \['paper'\]"),
        ({"manifolds": ("none",)}, "manifolds"),
        ({"scale": 0.5}, "scale"),
    ],
)
def test_another_sweep_is_refused_naming_the_difference(plan, tmp_path, settings, named):
    measure_shard(plan(), Shard(), tmp_path, jobs=1)
    with pytest.raises(MhcDiagError, match=named):
        run(plan(**settings), jobs=1, state=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_versions_and_other_shards_are_refused(plan, tmp_path, monkeypatch):
    measure_shard(plan(), Shard(2, 3), tmp_path, jobs=1)
    with pytest.raises(MhcDiagError, match=r"2-of-3.npz is shard 2/3, and this is 1/4"):
        measure_shard(plan(), Shard(1, 4), tmp_path, jobs=1)
    monkeypatch.setattr("mhc_diag.__version__", "9.9")
    with pytest.raises(MhcDiagError, match=r"mhc_diag '0.1.0' and not '9.9'"):
        measure_shard(plan(), Shard(1, 3), tmp_path, jobs=1)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "one array missing", "one array short"])
def test_a_damaged_file_is_refused_and_named(plan, tmp_path, damage):
    path = measure_shard(plan(), Shard(), tmp_path, jobs=1)
    data = path.read_bytes()
    if damage.startswith("one"):
        with np.load(path) as file:
            arrays = dict(file)
        name = next(n for n in arrays if n.endswith("p50") and "tally" in n)
        arrays[name] = arrays[name][:-1]
        if damage.endswith("missing"):
            del arrays[name]
        np.savez(path, **arrays)
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"depth: 5\n"}[damage])
    with pytest.raises(MhcDiagError, match=r"1-of-1.npz is no intact file of a sweep"):
        run(plan(), jobs=1, state=tmp_path)


def test_a_measurement_survives_its_file(plan, monkeypatch):
    def same(a, b):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)

    made = plan(ensemble="gaussian", scale=1e100, metrics=("all",))  # which overflows
    for k, case in enumerate(made.cases):
        found: Measurement | None = None
        for task in [t for t in made.tasks if t.case == k]:
            more = made.work(task, 1).measurement()
            if found is None:
                found = more
            else:
                found.take(more)
        arrays = to_arrays(found)
        same(to_arrays(from_arrays(arrays, case.depth, 3, case.seeds)), arrays)


def test_a_folder_that_cannot_be_made_is_refused(plan, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(MhcDiagError, match="cannot make the folder"):
        run(plan(), jobs=1, state=tmp_path / "file" / "state")


def test_what_a_file_says_of_itself(plan, tmp_path):
    path = measure_shard(plan(), Shard(2, 5), tmp_path, jobs=1)
    told = look(path)
    assert (told.shard, list(told.tasks)) == (Shard(2, 5), plan().tasks[1::5])
    assert told.settings["seeds"] == 44 and simulate.PART_BYTES < 2**20
