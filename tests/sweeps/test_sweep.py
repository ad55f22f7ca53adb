"""The numbers of a sweep are the same to the last bit, whoever measures which part when."""

from __future__ import annotations

import json
import pickle
import threading

import joblib
import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.errors import MhcDiagError
from mhc_diag.maths import blocks
from mhc_diag.sources.simulate import Simulation, simulate
from mhc_diag.sweeps import Plan, Shard, engine, measure_shard, merged, run
from mhc_diag.sweeps.plan import Work


@pytest.mark.parametrize("metrics", [("all",), ("paper",)])
def test_one_worker_and_five_and_shards_and_analyse_give_the_same_bytes(plan, saved, tmp_path, metrics):
    made = plan(metrics=metrics)
    wanted = saved(run(made, jobs=1))
    assert saved(analyse(case.parts(), metrics=metrics) for case in made.cases) == wanted
    with joblib.parallel_config(backend="threading"):
        assert saved(run(made, jobs=5)) == wanted
    for count in (3, 8, 40):  # of 13 parts
        folder = tmp_path / str(count)
        for number in range(count, 0, -1):
            measure_shard(made, Shard(number, count), folder, jobs=1)
        assert saved(merged([folder])) == wanted


def test_processes_give_the_same_bytes(plan, saved):
    wanted = saved(run(plan(seeds=20), jobs=1))
    assert saved(run(plan(seeds=20), jobs=2)) == wanted


@pytest.mark.parametrize("branch_gain", [None, 0.5])
def test_the_numbers_are_those_of_the_whole(plan, branch_gain):
    """Of windows that really lose numbers, and of a part that is smaller than the others."""
    made = plan(seeds=3001, part=700, metrics=("paper",), ensemble="gaussian")
    parted = run(Plan(made.simulation, made.metrics, branch_gain), jobs=1, triangle=True)
    for report, stack in zip(parted, simulate(made.simulation), strict=True):
        whole = analyse(stack, metrics=("paper",), branch_gain=branch_gain)
        assert report.tokens == whole.tokens and len(report.curves) == len(whole.curves)
        for curve in whole.curves:
            found = report.curve(curve.metric, curve.scope, curve.statistic)
            np.testing.assert_allclose(found.log10, curve.log10, rtol=1e-12, atol=1e-13)
            np.testing.assert_array_equal(found.token, curve.token)
        assert [t.log10.shape for t in report.triangles] == [(5, 5)] * len(report.triangles) != []


def test_progress_is_told_of_everything_in_every_mode(plan, tmp_path):
    total = sum(map(plan().matrices, plan().tasks))
    assert total == 3 * 5 * (1 + 44 + 44)

    def told(**options):
        done = []
        run(plan(), progress=done.append, **options)
        return sum(done)

    assert told(jobs=1) == total
    with joblib.parallel_config(backend="threading"):
        assert told(jobs=2) == total
    assert told(jobs=1, state=tmp_path / "state") == total
    assert told(jobs=1, state=tmp_path / "state") == total  # which measures nothing


def test_small_sweeps_start_no_workers(plan, monkeypatch):
    made = plan()
    monkeypatch.undo()
    monkeypatch.setattr(engine, "parallel", lambda *_: pytest.fail("workers were started"))
    run(made, jobs=2)
    large = Plan(Simulation(depth=64, seeds=100_000))
    assert large.seconds(large.tasks) > engine.WORTH_WORKERS
    one = Plan(Simulation(depth=64, seeds=64))
    assert one.seconds(one.tasks) < engine.WORTH_WORKERS


def test_one_job_is_one_thread(plan, monkeypatch):
    seen, start = [], threading.Thread.start
    monkeypatch.setattr(blocks, "usable", lambda: 8)
    monkeypatch.setattr(threading.Thread, "start", lambda self: (seen.append(self), start(self))[1])
    made = plan(seeds=3000, part=3000, manifolds=("none",))
    run(made, jobs=1)
    assert not seen
    run(made, jobs=2)
    assert seen


def test_a_worker_is_told_all_that_a_part_follows_from(plan):
    """Even where the settings of its own process are others, as on another machine."""
    made = plan()
    work = pickle.loads(pickle.dumps(made.work(made.tasks[3], 1)))
    plan(part=44)
    assert isinstance(work, Work) and list(work.measurement().tokens.items()) == [(2, 8)]


def test_what_comes_from_a_worker_may_be_read_only(plan, saved, monkeypatch):
    """As it is out of ray's store of objects."""
    wanted, measurement = saved(run(plan(), jobs=1)), Work.measurement

    def read_only(self, progress=None):
        buffers = []
        made = pickle.dumps(measurement(self, progress), protocol=5, buffer_callback=buffers.append)
        return pickle.loads(made, buffers=[bytes(buffer) for buffer in buffers])

    monkeypatch.setattr(Work, "measurement", read_only)
    assert saved(run(plan(), jobs=1)) == wanted


def test_an_error_in_a_worker_arrives_as_it_was(plan, monkeypatch):
    made = plan(ensemble="gaussian")

    def fail(self, progress=None):
        raise MhcDiagError("no such thing", hint="do another")

    monkeypatch.setattr(Work, "measurement", fail)
    with joblib.parallel_config(backend="threading"), pytest.raises(MhcDiagError, match="no such thing"):
        run(made, jobs=2)


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_workers_are_refused(plan, jobs):
    with pytest.raises(MhcDiagError, match=f"--jobs is {jobs}"):
        run(plan(), jobs=jobs)


def test_the_settings_make_the_plan_again(plan, tmp_path):
    simulation = Simulation(depth=7, ensemble="correlated", scale=2.5, sinkhorn_iters=(1, 3), dtype="bf16")
    made = Plan(simulation, ("uniformity",), 0.25)
    again = Plan.of(json.loads(json.dumps(made.settings())))
    assert again == made and again.settings() == made.settings()
    default = Plan(Simulation())
    assert Plan.of(json.loads(json.dumps(default.settings()))) == default
    with pytest.raises(MhcDiagError, match="make no sense"):
        Plan.of({"depth": 3})
