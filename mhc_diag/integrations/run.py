"""What every callback does with a run: opens a watch, hands over its numbers, leaves a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag import atomic
from mhc_diag.analyse import analyse
from mhc_diag.errors import MhcDiagError
from mhc_diag.policy import Policy
from mhc_diag.render import json as as_json
from mhc_diag.watch import Distribution, Watch, watch
from mhc_diag.watch.alerts import OnAlert

if TYPE_CHECKING:
    from torch import nn

JSONL, REPORT = "mhc-run.jsonl", "mhc-report.json"
"""What a run leaves in its folder."""


class WatchedRun:
    """A run of a framework, from its first step to its last.

    Args:
        every: record the first forward pass of each step of so many.
        policy: what every record is held against; see `mhc_diag.watch`.
        max_rise: how many times those of the first record the composite gains may become.
        on_alert: `warn`, `stop`, or a function that takes the `Alert`.
        module: what to watch, as a path of modules from the model; the model itself if empty.
        jsonl: the file of records, and `report` that of the last report, in the folder of the run; None for
            none.
        report: see `jsonl`.
        options: further options of `mhc_diag.watch`.
    """

    def __init__(
        self,
        every: int = 1,
        *,
        policy: Policy | None = None,
        max_rise: float | None = None,
        on_alert: OnAlert = "warn",
        module: str = "",
        jsonl: str | Path | None = JSONL,
        report: str | Path | None = REPORT,
        **options: Any,
    ) -> None:
        self._options = {
            "every": every,
            "policy": policy,
            "max_rise": max_rise,
            "on_alert": on_alert,
            **options,
        }
        self._module, self._jsonl, self._report = module, jsonl, report
        self._folder: Path | None = None
        self.watch: Watch | None = None
        """Open during the run, and what is left of it afterwards."""

    def begin(
        self,
        model: nn.Module,
        folder: Path | None,
        state: Mapping[str, Any] | None,
        distribution: Distribution | None = None,
    ) -> None:
        """Open the watch.

        Args:
            model: as the framework has it.
            folder: where files go; None for a process that writes none.
            state: of the watch of the run that is resumed.
            distribution: what the framework knows of its ranks. If that is nothing, what the model says, or
                else that all ranks of the job train the same model on other data; what the user says goes
                before all of these.

        Raises:
            MhcDiagError: the model has no such module, or as for `mhc_diag.watch`.
        """
        self.stop()
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        jsonl = None if folder is None or self._jsonl is None else folder / self._jsonl
        part = part_of(model, self._module)
        shared = distribution or Distribution.of_model(part) or Distribution.of_job()
        self.watch = watch(part, jsonl=jsonl, **{"distribution": shared, **self._options})
        if state is not None:
            self.watch.load_state_dict(state)

    def asks_for_end(self) -> bool:
        """Asked after each step: whether an alert asks for the end of the run. Ranks meet here."""
        assert self.watch is not None
        if self.watch.distribution is not None:
            _ = self.watch.alerts  # without a new record nobody waits for anybody
        return self.watch.should_stop

    def end(self) -> None:
        """Close the watch and leave the report.

        Raises:
            MhcDiagError: no forward pass was seen, as of a module that the loop does not call.
        """
        if self.watch is None:
            return
        self.stop()
        if not self.watch.recorded:
            raise MhcDiagError(
                "no forward pass was recorded: training does not call the module that is watched",
                hint="name the one that it does call, such as module='model'",
            )
        if self._report is None or (self._folder is None and self.watch.distribution is None):
            return
        stack = self.watch.stack()  # of all ranks, which all ask for it
        if self._folder is not None:
            atomic.write(self._folder / self._report, as_json.render([analyse(stack)]))

    def stop(self, failure: BaseException | None = None) -> None:
        """Close the watch.

        Args:
            failure: why the run ends here; other ranks are told, and are not waited for.
        """
        if self.watch is not None:
            self.watch.__exit__(type(failure), failure, None)


def part_of(model: nn.Module, path: str) -> nn.Module:
    """The module of that path, or the model itself.

    Raises:
        MhcDiagError: the model has no such module.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2))
        >>> part_of(net, "0") is net[0], part_of(net, "") is net
        (True, True)
    """
    try:
        return model.get_submodule(path)
    except AttributeError as e:
        own = ", ".join(name for name, _ in model.named_children())
        raise MhcDiagError(
            f"{type(model).__name__} has no module {path}", hint=f"its own are {own or 'none'}"
        ) from e
