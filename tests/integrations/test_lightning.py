"""A real Trainer of lightning that trains an unstable model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from unstable import BATCHES, LABEL, Unstable, crossing, gains

import mhc_diag
from mhc_diag import Policy
from mhc_diag.sources import runs, saved

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
from lightning.pytorch.loggers.logger import Logger  # noqa: E402

from mhc_diag.integrations.lightning import MhcCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:::lightning", "ignore:::torch", "ignore:.*LeafSpec")
LIMIT = 4.0


class Backend(Logger):  # type: ignore[misc]
    """Keeps what every logger gets."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[tuple[int, dict[str, float]]] = []

    name, version = "backend", 0  # type: ignore[assignment]

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append((int(step or 0), dict(metrics)))


class Wrapped(lightning.LightningModule):  # type: ignore[misc]
    """The usual form: the model is the only child, and training calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Unstable()

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        self.model.note()
        return self.model(**batch)["loss"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer_of(folder: Path, callback: MhcCallback, steps: int = 50, **options: Any) -> Any:
    return lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=Backend(),
        callbacks=[callback],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"enable_checkpointing": False, **options},
    )


def fit(trainer: Any, model: Wrapped, **options: Any) -> None:
    trainer.fit(model, torch.utils.data.DataLoader(BATCHES, batch_size=1), **options)


def test_fifty_steps_of_an_unstable_model(tmp_path: Path) -> None:
    model, callback = Wrapped(), MhcCallback(policy=Policy(max_gain=LIMIT))
    trainer = trainer_of(tmp_path, callback)
    with pytest.warns(RuntimeWarning, match=f"allowed is at most 4; .*{LABEL}"):
        fit(trainer, model)
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


def test_it_stops_the_run_at_the_step_of_the_crossing(tmp_path: Path) -> None:
    model = Wrapped()
    trainer = trainer_of(tmp_path, MhcCallback(policy=Policy(max_gain=LIMIT), on_alert="stop"))
    with pytest.warns(RuntimeWarning, match="allowed is at most 4"):
        fit(trainer, model)
    assert trainer.global_step == crossing(model.model.seen, LIMIT) < 50


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    told: list[mhc_diag.watch.Alert] = []
    first, again = Wrapped(), Wrapped()
    keep = lightning.callbacks.ModelCheckpoint(
        tmp_path / "kept", "at-{step}", every_n_train_steps=30, save_top_k=-1
    )
    options = {"policy": Policy(max_gain=LIMIT), "on_alert": told.append}
    trainer = trainer_of(tmp_path, MhcCallback(**options), 40, enable_checkpointing=True)
    trainer.callbacks.append(keep)
    fit(trainer, first)
    (checkpoint,) = (tmp_path / "kept").glob("*step=30*")
    fit(trainer_of(tmp_path, MhcCallback(**options), 50), again, ckpt_path=checkpoint)
    run = runs.read(tmp_path / "mhc-run.jsonl")
    assert [record.step for record in run.records] == list(range(1, 51))
    whole = [*first.model.seen[:30], *again.model.seen]
    found = [record.metrics["mhc/forward_max"] for record in run.records]
    assert found == pytest.approx([gains(mixing)[0] for mixing in whole], rel=1e-5)
    assert crossing(whole, LIMIT) < 30 and {alert.step for alert in told} <= set(range(1, 31))


def test_several_batches_in_a_step(tmp_path: Path) -> None:
    model, callback = Wrapped(), MhcCallback(every=2)
    fit(trainer_of(tmp_path, callback, 6, accumulate_grad_batches=3), model)
    assert callback.watch is not None
    assert [row["mhc/step"] for row in callback.watch.history] == [1, 3, 5]
    found = [row["mhc/forward_max"] for row in callback.watch.history]
    assert found == pytest.approx([gains(mixing)[0] for mixing in model.model.seen[::6]], rel=1e-5)


def test_a_module_that_training_does_not_call(tmp_path: Path) -> None:
    class Own(Wrapped):
        def __init__(self) -> None:
            super().__init__()
            self.other = torch.nn.Linear(1, 1)

    with pytest.raises(mhc_diag.MhcDiagError, match="does not call the module"):
        fit(trainer_of(tmp_path, MhcCallback(), 2), Own())
    callback = MhcCallback(module="model")
    fit(trainer_of(tmp_path, callback, 2), Own())
    assert callback.watch is not None and callback.watch.recorded == 2
