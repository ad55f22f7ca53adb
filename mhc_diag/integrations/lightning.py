"""A watch for the Trainer of lightning, under either of its names.

trainer = Trainer(callbacks=[MhcCallback(every=10, policy=mhc_diag.Policy(max_gain=4), on_alert="stop")])
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.integrations.run import WatchedRun
from mhc_diag.watch import Distribution, Watch
from mhc_diag.watch.distribution import Role

ROLES: dict[str, Role] = {"data_parallel": "tokens", "tensor_parallel": "same"}
"""The axes of the mesh of lightning's ModelParallelStrategy."""
NAMES = ("lightning.pytorch", "pytorch_lightning")


def _callback() -> Any:
    """The base class, of the package that is imported already, or else of the one that is there."""
    import sys

    for name in sorted(NAMES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name).Callback
        except ImportError:
            continue
    raise MhcDiagError("lightning is not installed", hint="pip install 'mhc-diag[train]'")


class MhcCallback(_callback()):  # type: ignore[misc]
    """Watches the composite gains of the module that a Trainer of lightning trains.

    Every record goes to all loggers of the Trainer, under its own step, once its numbers have arrived:
    nothing waits for the device. Steps are those of `trainer.global_step`, from 1: of each recorded step,
    the first forward pass is taken. An alert with `on_alert="stop"` sets `trainer.should_stop`. A run that is
    resumed from a checkpoint goes on counting, with each step once in the file of records.

    On several ranks all numbers are those of all of them, which meet after each recorded step. Who has what
    is read off the mesh of a ModelParallelStrategy, or else every rank is taken to have other data.

    Args:
        every: record each step of so many, from the first.
        options: those of `mhc_diag.integrations.run.WatchedRun`: `policy`, `max_rise`, `on_alert`, `module`,
            `jsonl` and `report`, which are files in `log_dir` or else in `default_root_dir`, and those of
            `mhc_diag.watch`. Without `module`, the only child with parameters is watched, or else the
            LightningModule itself, whose `training_step` must call it then.
    """

    def __init__(self, every: int = 1, **options: Any) -> None:
        self._run = WatchedRun(every, **options)
        self._named = bool(options.get("module"))
        self._state: dict[str, Any] | None = None

    @property
    def watch(self) -> Watch | None:
        """The watch of the run, or what is left of it; None before the first."""
        return self._run.watch

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the watch."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        model = pl_module if self._named else _only_child(pl_module)
        shared = _distribution(trainer.strategy)
        self._run.begin(model, folder if trainer.is_global_zero else None, self._state, shared)
        self._state = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Say which step it is."""
        assert self.watch is not None
        self.watch.step = trainer.global_step + 1

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log what has arrived, and ask for a stop."""
        stop = self._run.asks_for_end()
        self._log(trainer, wait=False)
        if stop:
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the watch, and leave the report."""
        self._log(trainer, wait=True)
        self._run.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the watch."""
        self._run.stop(exception)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on counting."""
        return {} if self.watch is None else self.watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, when training begins."""
        self._state = state_dict or None

    def _log(self, trainer: Any, *, wait: bool) -> None:
        assert self.watch is not None
        for row in self.watch.fresh(wait=wait):
            for logger in trainer.loggers:
                logger.log_metrics(row, step=int(row["mhc/step"]))


def _distribution(strategy: Any) -> Distribution | None:
    """From the mesh of lightning's ModelParallelStrategy."""
    mesh: Any = getattr(strategy, "device_mesh", None)
    if set(getattr(mesh, "mesh_dim_names", None) or ()) != set(ROLES):
        return None
    return Distribution.of_mesh(mesh, ROLES) if mesh.size() > 1 else None


def _only_child(model: Any) -> Any:
    """The only child that has parameters, where the model has none of its own; or else the model."""
    own = next(model.parameters(recurse=False), None) is not None
    children = [child for child in model.children() if next(child.parameters(), None) is not None]
    return children[0] if len(children) == 1 and not own else model
