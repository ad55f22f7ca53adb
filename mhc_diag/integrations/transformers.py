"""A watch for the Trainer of transformers.

callback = MhcCallback(every=10, policy=mhc_diag.Policy(max_gain=4), on_alert="stop")
callback.attach(trainer)
trainer.train()
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.integrations.run import WatchedRun
from mhc_diag.watch import Distribution, Watch
from mhc_diag.watch.distribution import Role

try:
    from transformers import TrainerCallback
    from transformers.trainer_callback import DefaultFlowCallback
except ImportError as e:
    raise MhcDiagError("transformers is not installed", hint="pip install 'mhc-diag[train]'") from e

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

STATE = "mhc_diag"
"""Under which the state of the watch stands in the Trainer's checkpoints, among those of callbacks."""
ROLES: dict[str, Role] = {"tp": "same"}
"""What ranks have along an axis of accelerate's mesh, if that is not the same sites and other tokens."""


class MhcCallback(TrainerCallback):
    """Watches the composite gains of the model that a Trainer trains.

    The numbers of the latest record are added to what the Trainer logs, so that every backend of `report_to`
    gets them, the progress bar and `log_history` too. Steps are those of the Trainer: of each recorded step,
    the first forward pass is taken. An alert with `on_alert="stop"` sets `should_training_stop`. A run that
    is resumed from a checkpoint goes on counting, with each step once in the file of records.

    On several ranks all numbers are those of all of them, which meet after each recorded step. Who has what
    is read off accelerate's mesh, or else every rank is taken to have other data.

    Args:
        every: record each step of so many, from the first.
        options: those of `mhc_diag.integrations.run.WatchedRun`: `policy`, `max_rise`, `on_alert`, `module`,
            `jsonl` and `report`, which are files in `output_dir`, and those of `mhc_diag.watch`. The module
            is the model itself unless `module` names a part of it.
    """

    def __init__(self, every: int = 1, **options: Any) -> None:
        self._run = WatchedRun(every, **options)
        self._attached = False
        self._logged = 0.0

    @property
    def watch(self) -> Watch | None:
        """The watch of the run, or what is left of it; None before the first."""
        return self._run.watch

    def attach(self, trainer: Trainer) -> MhcCallback:
        """Put this before the callbacks that report to backends, which were there first."""
        found = trainer.callback_handler.callbacks
        if self in found:
            found.remove(self)
        flow = next((i for i, c in enumerate(found) if isinstance(c, DefaultFlowCallback)), -1)
        found.insert(flow + 1, self)  # after the one that decides whether this step is saved
        self._attached = True
        return self

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the watch."""
        if args.report_to and not self._attached:
            warnings.warn(
                f"{', '.join(args.report_to)} will not get the gains, because a callback that is given to "
                "the Trainer comes after it: use MhcCallback(...).attach(trainer)",
                RuntimeWarning,
                stacklevel=2,
            )
        kept: Any = state.stateful_callbacks if state.global_step else {}
        saved = kept[STATE]["attributes"] if STATE in kept else None
        folder = Path(str(args.output_dir)) if state.is_world_process_zero else None
        self._run.begin(kwargs["model"], folder, saved, _distribution())
        self._logged = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say which step it is."""
        assert self.watch is not None
        self.watch.step = state.global_step + 1

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a stop, and lay the state where the Trainer saves it."""
        assert self.watch is not None
        if self._run.asks_for_end():
            control.should_training_stop = True
        if control.should_save or control.should_training_stop:
            self._save(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Lay the state where the Trainer saves it."""
        self._save(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the latest record to what is logged, unless it was logged before."""
        if self.watch is None or logs is None or not self.watch.recorded:
            return
        metrics = self.watch.metrics()
        if metrics["mhc/forward_pass"] == self._logged:
            return
        self._logged = metrics["mhc/forward_pass"]
        logs.update(metrics)
        if state.log_history:
            state.log_history[-1].update(metrics)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the watch and leave the report."""
        self._run.end()

    def _save(self, state: TrainerState) -> None:
        assert self.watch is not None
        saved: Any = state.stateful_callbacks
        saved[STATE] = {"args": {}, "attributes": self.watch.state_dict()}


def _distribution() -> Distribution | None:
    """From the mesh of accelerate, where the Trainer was given a `parallelism_config`."""
    from accelerate.state import AcceleratorState

    mesh = AcceleratorState().device_mesh
    if mesh is None or mesh.size() == 1:
        return None
    return Distribution.of_mesh(mesh, {name: ROLES.get(name, "tokens") for name in mesh.mesh_dim_names})
