"""A real Trainer of lightning that trains an unstable model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from unstable import LABEL, crossing, gains

import mhc_diag
from mhc_diag import Policy
from mhc_diag.sources import runs, saved

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="lightning is not installed"),
    pytest.mark.filterwarnings("ignore:::lightning", "ignore:::torch", "ignore:.*LeafSpec"),
]
LIMIT = 4.0


@pytest.fixture(scope="module")
def parts() -> Any:
    """Imported here and not above: lightning takes seconds, and every worker collects every file."""
    return importlib.import_module("lightning_parts")


def test_fifty_steps_of_an_unstable_model(parts: Any, tmp_path: Path) -> None:
    model, callback = parts.Wrapped(), parts.MhcCallback(policy=Policy(max_gain=LIMIT))
    trainer = parts.trainer_of(tmp_path, callback)
    with pytest.warns(RuntimeWarning, match=f"allowed is at most 4; .*{LABEL}"):
        parts.fit(trainer, model)
    seen = model.model.seen
    assert len(seen) == 50
    logged = [(step, row) for step, row in trainer.logger.logged if "mhc/forward_max" in row]
    assert [step for step, _ in logged] == list(range(1, 51))
    for (_, row), mixing in zip(logged, seen, strict=True):
        assert (row["mhc/forward_max"], row["mhc/backward_max"]) == pytest.approx(gains(mixing), rel=1e-5)
    assert callback.watch is not None
    first = callback.watch.alerts[0]
    assert (first.step, first.site) == (crossing(seen, LIMIT), LABEL) and 2 < first.step < 49
    run = runs.read(tmp_path / "mhc-run.jsonl")
    assert [record.step for record in run.records] == list(range(1, 51))
    assert run.alerts[0]["step"] == first.step and run.alerts[0]["site"] == LABEL
    (report,) = saved.read(tmp_path / "mhc-report.json").reports
    own = report.curve("amax_forward", "site", "max").value
    assert report.sites[int(own.argmax())].label == LABEL
    assert report.worst("forward").value == pytest.approx(gains(seen[-1])[0], rel=1e-5)


def test_it_stops_the_run_at_the_step_of_the_crossing(parts: Any, tmp_path: Path) -> None:
    model = parts.Wrapped()
    trainer = parts.trainer_of(tmp_path, parts.MhcCallback(policy=Policy(max_gain=LIMIT), on_alert="stop"))
    with pytest.warns(RuntimeWarning, match="allowed is at most 4"):
        parts.fit(trainer, model)
    assert trainer.global_step == crossing(model.model.seen, LIMIT) < 50


def test_resumed_from_a_checkpoint(parts: Any, tmp_path: Path) -> None:
    told: list[mhc_diag.watch.Alert] = []
    first, again = parts.Wrapped(), parts.Wrapped()
    keep = parts.ModelCheckpoint(tmp_path / "kept", "at-{step}", every_n_train_steps=30, save_top_k=-1)
    options = {"policy": Policy(max_gain=LIMIT), "on_alert": told.append}
    trainer = parts.trainer_of(tmp_path, parts.MhcCallback(**options), 40, enable_checkpointing=True)
    trainer.callbacks.append(keep)
    parts.fit(trainer, first)
    (checkpoint,) = (tmp_path / "kept").glob("*step=30*")
    parts.fit(parts.trainer_of(tmp_path, parts.MhcCallback(**options), 50), again, ckpt_path=checkpoint)
    run = runs.read(tmp_path / "mhc-run.jsonl")
    assert [record.step for record in run.records] == list(range(1, 51))
    whole = [*first.model.seen[:30], *again.model.seen]
    found = [record.metrics["mhc/forward_max"] for record in run.records]
    assert found == pytest.approx([gains(mixing)[0] for mixing in whole], rel=1e-5)
    assert crossing(whole, LIMIT) < 30 and {alert.step for alert in told} <= set(range(1, 31))


def test_several_batches_in_a_step(parts: Any, tmp_path: Path) -> None:
    model, callback = parts.Wrapped(), parts.MhcCallback(every=2)
    parts.fit(parts.trainer_of(tmp_path, callback, 6, accumulate_grad_batches=3), model)
    assert callback.watch is not None
    assert [row["mhc/step"] for row in callback.watch.history] == [1, 3, 5]
    found = [row["mhc/forward_max"] for row in callback.watch.history]
    assert found == pytest.approx([gains(mixing)[0] for mixing in model.model.seen[::6]], rel=1e-5)


def test_a_module_that_training_does_not_call(parts: Any, tmp_path: Path) -> None:
    class Own(parts.Wrapped):
        def __init__(self) -> None:
            super().__init__()
            self.other = torch.nn.Linear(1, 1)

    with pytest.raises(mhc_diag.MhcDiagError, match="does not call the module"):
        parts.fit(parts.trainer_of(tmp_path, parts.MhcCallback(), 2), Own())
    callback = parts.MhcCallback(module="model")
    parts.fit(parts.trainer_of(tmp_path, callback, 2), Own())
    assert callback.watch is not None and callback.watch.recorded == 2
