"""What a watch keeps of a run: its records, held against what is expected, and written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mhc_diag.policy import NONE, Policy
from mhc_diag.schema.numbers import number_in, plain
from mhc_diag.watch.alerts import Alarm, Alert, OnAlert
from mhc_diag.watch.expected import expected
from mhc_diag.watch.gradients import OFF, Gradients
from mhc_diag.watch.history import History
from mhc_diag.watch.log import About, RunLog
from mhc_diag.watch.shelf import Shelf


class Books:
    """The records of a run, its alerts and its file.

    Args:
        model: what to call the model.
        policy: what is expected; see `mhc_diag.watch.expected`.
        max_rise: how many times the gains of the first record the composite gains may become.
        on_alert: what to do then.
        jsonl: the file that records are written to.
        shelf: where records wait for those of other ranks, if there are any.
        gradients: gains of the gradient, if they are taken.
    """

    def __init__(
        self,
        model: str,
        policy: Policy | None,
        max_rise: float | None,
        on_alert: OnAlert,
        jsonl: str | Path | None,
        shelf: Shelf | None = None,
        gradients: Gradients | None = None,
    ) -> None:
        self._model, self._policy, self._max_rise = model, policy, max_rise
        self._about: About | None = None
        self._several = shelf is not None
        self._by_profile = policy is not None and policy.profile != NONE
        self.history = History(shelf)
        self.alarm = Alarm(expected(policy, max_rise), on_alert, warns=shelf is None or shelf.is_first)
        self.gradients = gradients or Gradients(OFF)
        self.alerts: tuple[Alert, ...] = ()
        self._log = None if jsonl is None else RunLog(Path(jsonl))

    def settle(self, *, wait: bool = False) -> None:
        """Take in every record that has arrived.

        Args:
            wait: for the device, and for the other ranks, so that all of them have.
        """
        self.gradients.settle(wait=wait)
        if wait:
            self.history.meet()
        for record in self.history.arrived(wait=wait):
            if self._about is None and (self._several or self._log is not None):
                streams, sites = record.sites()  # of all ranks, also of those that write no file
                self._about = About(self._model, streams, tuple(site.label for site in sites))
            if self._by_profile:  # which fits is known from the first record on
                self._by_profile = False
                self.alarm.expected = expected(self._policy, self._max_rise, record.stack())
            alerts = self.alarm.hold(record.step, record.row, record.stack)
            self.alerts += tuple(alerts)
            gained = self.gradients.of_step(record.step) or self.gradients.latest()
            record = replace(record, row=record.row | gained)
            if self._log is not None and self._about is not None:
                self._log.write(record, alerts, self._about, self.alarm.expected)
            for alert in alerts:
                self.alarm.tell(alert)

    def close(self, *, alone: bool = False) -> None:
        """Take in all records and close the file.

        Args:
            alone: do not wait for the other ranks.
        """
        if not alone:
            self.settle(wait=True)
        if self._log is not None:
            self._log.close()

    def state(self) -> dict[str, Any]:
        """What a resumed run must know, in values that JSON can hold."""
        self.settle(wait=True)
        first = self.history.first
        return {
            "first": None if first is None else plain(list(first)),
            "crossed": dict(sorted(self.alarm.crossed.items())),
        }

    def resume(self, state: Mapping[str, Any], step: int) -> None:
        """Go on after a step of another run that had this state."""
        self.alarm.crossed = {name: int(calm) for name, calm in state["crossed"].items()}
        if state["first"] is not None:
            forward, backward = map(number_in, state["first"])
            self.history.first = forward, backward
        if self._log is not None:
            self._log.resume(step)
