"""A real Trainer that trains an unstable model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from unstable import BATCHES, LABEL, Unstable, crossing, gains

import mhc_diag
from mhc_diag import Policy
from mhc_diag.sources import runs, saved

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="the Trainer of transformers needs accelerate")
from mhc_diag.integrations.transformers import MhcCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:::torch", "ignore:::accelerate", "ignore:::transformers")
LIMIT = 4.0


class Backend(transformers.TrainerCallback):
    """Stands where the callbacks of report_to stand, and keeps what they get."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logged.append((state.global_step, dict(logs)))


class Truth(transformers.TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["model"].note()


def trainer_of(folder: Path, steps: int = 50, **options: Any) -> Any:
    model = Unstable()
    arguments = transformers.TrainingArguments(
        str(folder),
        max_steps=steps,
        logging_steps=1,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        max_grad_norm=0,
        dataloader_pin_memory=False,
        **{"save_strategy": "no", **options},
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    return transformers.Trainer(
        model,
        arguments,
        train_dataset=BATCHES,
        optimizers=(optimizer, constant),
        callbacks=[Backend(), Truth()],
    )


def backend(trainer: Any) -> Backend:
    return next(c for c in trainer.callback_handler.callbacks if isinstance(c, Backend))


def test_fifty_steps_of_an_unstable_model(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    callback = MhcCallback(policy=Policy(max_gain=LIMIT)).attach(trainer)
    with pytest.warns(RuntimeWarning, match=f"allowed is at most 4; .*{LABEL}"):
        trainer.train()
    seen = trainer.model.seen
    assert len(seen) == 50
    logged = [
        (step, logs["mhc/forward_max"], logs["mhc/backward_max"])
        for step, logs in backend(trainer).logged
        if "mhc/forward_max" in logs
    ]
    assert [step for step, *_ in logged] == list(range(1, 51))
    for (_, *found), mixing in zip(logged, seen, strict=True):
        assert found == pytest.approx(gains(mixing), rel=1e-5)
    assert all(a[1] < b[1] for a, b in zip(logged, logged[1:], strict=False))
    assert {"loss", "mhc/forward_max"} <= set(trainer.state.log_history[0])
    assert callback.watch is not None
    first = callback.watch.alerts[0]
    assert (first.step, first.site) == (crossing(seen, LIMIT), LABEL) and 2 < first.step < 49
    run = runs.read(tmp_path / "mhc-run.jsonl")
    assert [record.step for record in run.records] == list(range(1, 51))
    assert run.alerts[0]["step"] == first.step and run.alerts[0]["site"] == LABEL
    (report,) = saved.read(tmp_path / "mhc-report.json").reports
    own = report.curve("amax_forward", "site", "max").value
    assert report.sites[int(own.argmax())].label == LABEL and LABEL.split(".")[0] in report.summary
    assert report.worst("forward").value == pytest.approx(gains(seen[-1])[0], rel=1e-5)
    assert "_compiled_call_impl" not in vars(trainer.model)  # nothing is left


def test_it_stops_the_run_at_the_step_of_the_crossing(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    MhcCallback(policy=Policy(max_gain=LIMIT), on_alert="stop").attach(trainer)
    with pytest.warns(RuntimeWarning, match="allowed is at most 4"):
        trainer.train()
    assert trainer.state.global_step == crossing(trainer.model.seen, LIMIT) < 50


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    told = []
    first = trainer_of(tmp_path, 40, save_strategy="steps", save_steps=30)
    MhcCallback(policy=Policy(max_gain=LIMIT), on_alert=told.append).attach(first)
    first.train()  # goes on to 40 beyond its checkpoint at 30
    again = trainer_of(tmp_path, 50)
    MhcCallback(policy=Policy(max_gain=LIMIT), on_alert=told.append).attach(again)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-30"))
    run = runs.read(tmp_path / "mhc-run.jsonl")
    assert [record.step for record in run.records] == list(range(1, 51))
    whole = [*first.model.seen[:30], *again.model.seen]
    found = [record.metrics["mhc/forward_max"] for record in run.records]
    assert found == pytest.approx([gains(mixing)[0] for mixing in whole], rel=1e-5)
    assert crossing(whole, LIMIT) < 30 and {alert.step for alert in told} <= set(range(1, 31))


def test_several_forward_passes_in_a_step(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 6, gradient_accumulation_steps=3)
    callback = MhcCallback(every=2).attach(trainer)
    trainer.train()
    assert callback.watch is not None
    assert [row["mhc/step"] for row in callback.watch.history] == [1, 3, 5]
    found = [row["mhc/forward_max"] for row in callback.watch.history]
    expected = [gains(mixing)[0] for mixing in trainer.model.seen[::2]]
    assert found == pytest.approx(expected, rel=1e-5)


def test_backends_that_come_first_are_named(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 1)
    trainer.add_callback(MhcCallback())
    trainer.args.report_to = ["tensorboard"]
    with pytest.warns(RuntimeWarning, match="tensorboard will not get the gains"):
        trainer.train()


def test_a_module_that_training_does_not_call(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 1)
    trainer.model.other = torch.nn.Linear(1, 1)
    MhcCallback(module="other").attach(trainer)
    with pytest.raises(mhc_diag.MhcDiagError, match="does not call the module"):
        trainer.train()
    MhcCallback(module="nothing").attach(trainer)
    with pytest.raises(mhc_diag.MhcDiagError, match="Unstable has no module nothing"):
        trainer.train()
