"""Gains of a model while it trains: read off taps at every step, checked against a probe now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mhc_diag.watch.alerts import Alert, OnAlert
from mhc_diag.watch.distribution import Distribution
from mhc_diag.watch.settings import Settings
from mhc_diag.watch.watcher import Watch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from mhc_diag.policy import Policy

__all__ = ["Alert", "Distribution", "Watch", "watch"]


def watch(
    model: nn.Module,
    *,
    every: int = 1,
    tokens: int = 64,
    verify_every: int = 1000,
    probe_every: int = 100,
    example: Any = None,
    evaluation: bool = False,
    policy: Policy | None = None,
    max_rise: float | None = None,
    on_alert: OnAlert = "warn",
    jsonl: str | Path | None = None,
    gradients: bool = False,
    distribution: Distribution | None = None,
) -> Watch:
    """Watch the composite gains of a model while it trains.

    The first forward pass in training mode is probed, to find for each site a tap: a place where the model
    shows the operator that it applies. From then on the taps are read as the model runs. Where not every site
    has a tap, the model is probed again from time to time instead.

    Args:
        model: the module that the training loop calls.
        every: record each forward pass of so many.
        tokens: how many tokens to keep of a forward pass, evenly spread over all of them.
        verify_every: compare the taps with a probe after so many recorded forward passes, and after 1, 2, 4,
            8 and so on before that.
        probe_every: without taps, probe each forward pass of so many.
        example: what to call the model with for probes, as for `mhc_diag.probe`; the running input if None.
        evaluation: also record forward passes in evaluation mode.
        policy: limits that every record is held against: `Policy(max_gain=4)`, and limits of composite
            gains, of single sites, and of how little the streams may be averaged. Matrices that are not
            finite are always told.
        max_rise: how many times those of the first record the composite gains may become.
        on_alert: once for each crossing of a limit: `warn`; `stop`, which also sets `should_stop`; or a
            function that takes the `Alert`.
        jsonl: a file to add each record to, as one line of JSON.
        gradients: also take, from backward passes of recorded steps, how the gradient of the streams grows on
            its way back, and what mixing alone would make of it; not across the stages of a pipeline.
        distribution: which ranks of torch.distributed hold which tokens and sites of the model. None takes
            what DDP and FSDP2 say of themselves; any other model is then watched on its own.

    Returns:
        The watch, which is open: use it in a `with` statement, or call `close()`.

    Raises:
        MhcDiagError: a number is not 1 or more, the example cannot be measured, a limit is on something that
            is not recorded, or the file cannot be written.
        NothingToCheck: the example passes through no residual mixing.

    Example:
        >>> import torch
        >>> class Residual(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mixing = torch.nn.Parameter(torch.tensor([[0.5, 0.5], [0.0, 2.0]]))
        ...         self.branch = torch.nn.Linear(8, 8)
        ...     def forward(self, x):
        ...         streams = torch.stack([x, x], dim=-2)
        ...         return self.mixing @ streams + self.branch(x)[..., None, :]
        >>> model = Residual()
        >>> with watch(model) as w:
        ...     loss = model(torch.ones(1, 3, 8)).sum()
        >>> w.gains()["forward_max"], w.gains()["backward_max"]
        (2.0, 2.5)
    """
    settings = Settings(
        every, tokens, verify_every, probe_every, evaluation, policy, max_rise, on_alert, jsonl, gradients
    )
    return Watch(model, settings, example, distribution or Distribution.of_model(model))
