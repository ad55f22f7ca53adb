"""Who works: the backend of joblib that is active, whatever it can do."""

from __future__ import annotations

import sys

import joblib
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.sweeps import engine


def squared(x):
    return x * x


@pytest.mark.parametrize("backend", ["threading", "sequential"])
def test_every_item_is_done_once(backend):
    with joblib.parallel_config(backend=backend):
        found = dict(engine.parallel(squared, range(9), 3))
    assert found == {k: k * k for k in range(9)}


def test_backends_that_return_all_at_once_are_given_some_at_a_time(monkeypatch):
    """Such as ray: what is finished is kept before everything is."""
    from joblib._parallel_backends import ThreadingBackend

    monkeypatch.setattr(ThreadingBackend, "supports_return_generator", False)
    monkeypatch.setattr(engine, "ROUNDS", 1)
    begun = []

    def noted(x):
        begun.append(x)
        return -x

    with joblib.parallel_config(backend="threading"):
        done = engine.parallel(noted, range(7), 2)
        assert next(done) == (0, 0) and len(begun) < 7
        assert sorted([*done]) == [(k, -k) for k in range(1, 7)]


def test_the_number_of_jobs_is_that_of_the_configuration_unless_asked_for(monkeypatch):
    asked = []

    class Recording(joblib.Parallel):
        def __init__(self, *args, **options):
            asked.append(options["n_jobs"])
            super().__init__(*args, **options)

    monkeypatch.setattr(joblib, "Parallel", Recording)
    assert not engine.configured()
    with joblib.parallel_config(backend="threading", n_jobs=3):
        assert engine.configured()
        [*engine.parallel(squared, range(2), None)]
        [*engine.parallel(squared, range(2), 2)]
    assert asked == [3, 2]


def test_a_backend_is_chosen_by_name():
    with engine.chosen("threading"):
        assert engine.configured()
    with engine.chosen(None):
        assert not engine.configured()


@pytest.mark.parametrize(
    ("name", "message"),
    [("slurm", "no backend 'slurm'"), ("dask", "dask needs distributed"), ("ray", "ray needs ray")],
)
def test_backends_that_are_not_there_are_refused(monkeypatch, name, message):
    for module in ("distributed", "ray"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MhcDiagError, match=message), engine.chosen(name):
        pass
