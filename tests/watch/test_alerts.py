"""Limits are told once for each crossing, at the step of the crossing, with the site to blame."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mhc_diag
from mhc_diag import Policy
from mhc_diag.errors import MhcDiagError
from mhc_diag.verdict import Limit
from mhc_diag.watch import Alert


class Steered(nn.Module):
    """Three static sites; the test sets the gain of the one in the middle, and knows every composite."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.sites = nn.ModuleList(Site() for _ in range(3))

    def turn(self, gain: float) -> None:
        self.sites[1].mixing.data = gain * torch.eye(2)

    def forward(self, x: Tensor) -> Tensor:
        streams = torch.stack([x, x], dim=-2)
        for site in self.sites:
            streams = site(streams)
        return streams.sum(-2)


class Site(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.eye(2))
        self.branch = nn.Linear(4, 4)

    def forward(self, streams: Tensor) -> Tensor:
        return self.mixing @ streams + self.branch(streams.mean(-2))[..., None, :]


def alerts_of(gains: list[float], **options: Any) -> list[Alert]:
    model, found = Steered(), []
    with mhc_diag.watch(model, on_alert=found.append, **options) as w:
        for gain in gains:
            model.turn(gain)
            model(torch.ones(1, 3, 4))
    assert w.alerts == tuple(found)
    return found


def test_once_for_each_crossing_with_the_site() -> None:
    found = alerts_of([1, 3, 5, 6, *[4] * 10, 7], policy=Policy(max_gain=4))
    assert [(a.step, a.metric, round(a.value, 9)) for a in found] == [
        (3, "mhc/forward_max", 5),
        (3, "mhc/backward_max", 5),
        (15, "mhc/forward_max", 7),
        (15, "mhc/backward_max", 7),
    ]
    assert {a.site for a in found} == {"sites.1.branch"}
    assert found[0].text == (
        "step 3: forward_max is 5.000, allowed is at most 4; worst through site 1 (sites.1.branch), "
        "largest forward gain of one site 5.000 at site 1 (sites.1.branch)"
    )


def test_a_number_that_sways_about_its_limit_is_told_once() -> None:
    swaying = [5, *[4] * 9] * 3
    found = alerts_of(swaying, policy=Policy(max_gain=4))
    assert [(a.step, a.metric) for a in found] == [(1, "mhc/forward_max"), (1, "mhc/backward_max")]


def test_the_rise_since_the_first_record() -> None:
    found = alerts_of([2, 19, 21], max_rise=10)
    assert [(a.step, a.metric, a.value) for a in found] == [
        (3, "mhc/forward_rise", pytest.approx(10.5)),
        (3, "mhc/backward_rise", pytest.approx(10.5)),
    ]
    assert found[0].site == "sites.1.branch"


def test_what_fades_or_is_averaged_out() -> None:
    fading = Policy(limits=(Limit("amax_forward", "prefix", "min", at_least=0.5),))
    (alert,) = alerts_of([1, 0.6, 0.4], policy=fading)
    assert (alert.step, alert.metric, alert.site) == (3, "mhc/forward_min", "sites.1.branch")
    assert alert.value == pytest.approx(0.4)
    model = Steered()
    averaged = Policy(limits=(Limit("uniformity", "prefix", "mean", at_least=0.1),))
    with mhc_diag.watch(model, policy=averaged, on_alert=lambda _: None) as w:
        model(torch.ones(1, 3, 4))
        model.sites[2].mixing.data = torch.full((2, 2), 0.5)
        model(torch.ones(1, 3, 4))
    (alert,) = w.alerts
    assert (alert.step, alert.metric, alert.site) == (2, "mhc/uniformity_mean", "sites.2.branch")


def test_what_is_not_finite_is_told_without_any_policy() -> None:
    with pytest.warns(RuntimeWarning, match=r"step 2: nonfinite_tokens is 3, .* at site 1 \(sites.1.branch"):
        model = Steered()
        with mhc_diag.watch(model) as w:
            model(torch.ones(1, 3, 4))
            model.turn(float("nan"))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*(taps no longer|could not be probed)")
                model(torch.ones(1, 3, 4))
    assert [a.metric for a in w.alerts] == ["mhc/nonfinite_tokens"]


def test_stop_asks_for_a_stop_and_a_warning_of_the_policy_does_not() -> None:
    model = Steered()
    gentle = Policy(limits=(Limit("amax_forward", "site", at_most=2.0, level="warn"),), max_gain=4)
    with mhc_diag.watch(model, policy=gentle, on_alert="stop") as w:
        model(torch.ones(1, 3, 4))
        model.turn(3)
        with pytest.warns(RuntimeWarning, match="site_forward_max is 3"):
            model(torch.ones(1, 3, 4))
        assert not w.should_stop
        model.turn(5)
        with pytest.warns(RuntimeWarning) as told:
            model(torch.ones(1, 3, 4))
        assert [str(t.message).split(",")[0] for t in told] == [
            "step 3: forward_max is 5.000",
            "step 3: backward_max is 5.000",
        ]
        assert w.should_stop


def test_of_a_profile_what_a_watch_can_hold() -> None:
    """The profile is chosen by the first record: doubly stochastic, whose gains are 1."""
    found = alerts_of([1, 1, 3], policy=Policy(profile="mhc"))
    assert {a.step for a in found} == {3} and "mhc/forward_max" in {a.metric for a in found}


def test_a_report_holds_nothing_of_another_forward_pass() -> None:
    """The parts of a probe that no tap shows, such as how branches read and write, are of the first pass."""
    model = Steered()
    with mhc_diag.watch(model) as w:
        model(torch.ones(1, 3, 4))
        model.turn(3)
        model(torch.ones(1, 5, 4))
    stack = w.stack()
    assert stack.pre is None and stack.post is None and stack.logits is None
    assert w.report().worst("forward").value == 3


def test_what_cannot_be_held_is_refused() -> None:
    with pytest.raises(MhcDiagError, match="a watch does not record half_life:stack"):
        mhc_diag.watch(Steered(), policy=Policy(limits=(Limit("half_life", "stack", "", at_least=9.0),)))
    with pytest.raises(MhcDiagError, match="a watch does not record amax_forward:site:max:a"):
        mhc_diag.watch(
            Steered(), policy=Policy(limits=(Limit("amax_forward", "site", sites="a*", at_most=1),))
        )
    with pytest.raises(MhcDiagError, match="max_rise is 0"):
        mhc_diag.watch(Steered(), max_rise=0)
    with pytest.raises(MhcDiagError, match="on_alert is 'halt'"):
        mhc_diag.watch(Steered(), on_alert="halt")  # type: ignore[arg-type]
