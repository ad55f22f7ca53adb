"""A watch tells of every training step what the model's own matrices say."""

import json

import numpy as np
import pytest
import torch
from shown_models import TOKENS, TOLD, Shown
from test_gains import by_hand
from torch import Tensor, nn

import mhc_diag
from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.schema import from_document, to_document

GAINS = ("forward_max", "forward_mean", "backward_max", "backward_mean")


class Trainer:
    """Training steps, with the model's own matrices of each."""

    def __init__(self, model: Shown) -> None:
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        self.applied: list[np.ndarray] = []

    def step(self, tokens: Tensor = TOKENS) -> None:
        loss = self.model(tokens).square().sum()
        self.applied.append(self.model.applied.flatten(1, 2).double().numpy())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def expected(self, steps: list[int] | None = None, tokens: list[int] | None = None) -> list[list[float]]:
        found = []
        for step in range(len(self.applied)) if steps is None else steps:
            gains = by_hand(self.applied[step][:, slice(None) if tokens is None else tokens])
            found.append([gains[name] for name in GAINS])
        return found


def told(w: mhc_diag.Watch) -> list[list[float]]:
    return [[row[f"mhc/{name}"] for name in GAINS] for row in w.history]


@pytest.mark.parametrize("form", TOLD)
def test_every_step_by_taps(form: str) -> None:
    trainer = Trainer(Shown(form))
    with mhc_diag.watch(trainer.model, verify_every=4) as w:
        for _ in range(6):
            trainer.step()
    assert w.tapped and not w.notes and w.forwards == 6
    np.testing.assert_allclose(told(w), trainer.expected(), rtol=1e-5)
    assert list(w.gains().values()) == told(w)[-1]
    assert len({tuple(row) for row in told(w)}) == (1 if form == "buffer" else 6)  # it did train


@pytest.mark.parametrize("shared", [False, True])
def test_from_an_initialisation_that_tells_nothing(shared: bool) -> None:
    trainer = Trainer(Shown("transposed", at_init=True, shared=shared))
    with mhc_diag.watch(trainer.model) as w:
        for _ in range(5):
            trainer.step()
    assert w.tapped and not w.notes
    np.testing.assert_allclose(told(w), trainer.expected(), rtol=1e-5)
    last = torch.from_numpy(trainer.applied[-1])
    assert (last - last.mT).abs().max() > 1e-3 and (last[0] - last[1]).abs().max() > 1e-3
    assert np.allclose(w.stack().matrices.numpy(), last, atol=1e-6)


@pytest.mark.parametrize("form", ["transposed", "sequence first", "per sample", "parameter"])
def test_a_few_tokens_evenly_spread(form: str) -> None:
    trainer = Trainer(Shown(form))
    with mhc_diag.watch(trainer.model, tokens=4) as w:
        trainer.step()
        trainer.step()
    np.testing.assert_allclose(told(w), trainer.expected(tokens=[0, 1, 3, 4]), rtol=1e-5)


@pytest.mark.parametrize("form", ["tuple", "sequence first", "per sample", "parameter"])
def test_the_input_may_change_its_shape(form: str) -> None:
    trainer = Trainer(Shown(form))
    with mhc_diag.watch(trainer.model) as w:
        for shape in ((2, 3), (5, 7), (1, 4), (4, 4), (3, 2)):
            trainer.step(torch.zeros(shape, dtype=torch.int64))
    assert w.tapped and not w.notes
    np.testing.assert_allclose(told(w), trainer.expected(), rtol=1e-5)


@pytest.mark.parametrize("form", ["transposed", "sequence first", "per sample", "scaled"])
def test_padding_is_left_out(form: str) -> None:
    class Masked(Shown):
        def forward(self, tokens: Tensor, *, attention_mask: Tensor) -> Tensor:
            return super().forward(tokens)

    model = Masked(form).eval()
    for (
        site
    ) in model.sites:  # so that tokens differ, and rows and columns are not normalised as well as can be
        site.maker.weights.weight.data *= 12
    mask = torch.tensor([[1, 1, 0], [0, 0, 1]])
    with mhc_diag.watch(model, evaluation=True, probe_every=1) as w:
        for _ in range(3):
            model.sites[0].maker.weights.bias.data.add_(3 * torch.randn(16))
            model(TOKENS, attention_mask=mask)
    matrices = model.applied.flatten(1, 2).double().numpy()
    expected = by_hand(matrices[:, [0, 1, 5]])
    assert list(w.gains().values()) == pytest.approx([expected[name] for name in GAINS], rel=1e-5)
    whole = by_hand(matrices)
    assert max(abs(whole[f"{d}_mean"] / expected[f"{d}_mean"] - 1) for d in ("forward", "backward")) > 1e-4
    assert w.report().tokens == 3


def test_without_taps_the_model_is_probed_now_and_then() -> None:
    trainer = Trainer(Shown("scaled", gain=1.0))
    trainer.model.eval()  # so that what is probed is what trains: no dropout
    with mhc_diag.watch(trainer.model, probe_every=3, evaluation=True) as w:
        for _ in range(7):
            trainer.step()
    assert not w.tapped and w.taps is not None and len(w.taps.missing) == 3
    assert [row["mhc/forward_pass"] for row in w.history] == [1, 4, 7]
    assert {row["mhc/tapped"] for row in w.history} == {0.0}
    np.testing.assert_allclose(told(w), trainer.expected([0, 3, 6]), rtol=1e-5)


def test_a_parameter_that_equals_the_operator_only_as_yet_is_not_believed() -> None:
    trainer = Trainer(Shown("dynamic"))
    trainer.model.eval()
    with mhc_diag.watch(trainer.model, probe_every=1, evaluation=True) as w:
        for _ in range(4):
            trainer.step()
    np.testing.assert_allclose(told(w), trainer.expected(), rtol=1e-5)
    static = trainer.model.sites[0].mixing.detach()
    assert (torch.from_numpy(trainer.applied[-1][0]).float() - static).abs().max() > 1e-3


def test_a_tap_that_goes_wrong_is_noticed_told_and_replaced() -> None:
    trainer = Trainer(Shown("transposed"))
    with mhc_diag.watch(trainer.model, verify_every=2) as w:
        trainer.step()
        trainer.step()
        for site in trainer.model.sites:
            site.turned = True
        with pytest.warns(RuntimeWarning, match="3 of 3 taps no longer show M"):
            trainer.step()
            trainer.step()
    (note,) = w.notes
    assert note.startswith(
        "forward pass 3 of Shown: 3 of 3 taps no longer show M, first sites.0.maker output 1"
    )
    assert w.tapped
    np.testing.assert_allclose(told(w), trainer.expected(), rtol=1e-5)
    assert note in w.report().provenance.notes


def test_a_forward_pass_that_goes_another_way_is_not_recorded() -> None:
    trainer = Trainer(Shown("transposed"))
    with mhc_diag.watch(trainer.model, probe_every=2) as w:
        for _ in range(3):
            trainer.step()
        trainer.model.sites.append(trainer.model.sites[0])
        with pytest.warns(RuntimeWarning, match="it went another way"):
            trainer.model(TOKENS)
        assert len(w.history) == 3 and not w.tapped
        trainer.model(TOKENS)
    assert w.history[-1]["mhc/tapped"] == 0 and w.stack().matrices.shape[0] == 4


def test_which_forward_passes_are_recorded() -> None:
    trainer = Trainer(Shown("tuple"))
    with mhc_diag.watch(trainer.model, every=3) as w:
        for _ in range(5):
            trainer.step()
            trainer.model.eval()
            trainer.model(TOKENS)
            trainer.model.train()
    assert [row["mhc/forward_pass"] for row in w.history] == [1, 4]
    trainer.step()
    assert w.forwards == 5
    np.testing.assert_allclose(told(w), trainer.expected([0, 3]), rtol=1e-5)


def test_several_forward_passes_in_a_step_are_records_of_their_own() -> None:
    trainer = Trainer(Shown("tuple"))
    with mhc_diag.watch(trainer.model) as w:
        both = [trainer.model(TOKENS), trainer.model(TOKENS.flip(0))]
        sum(out.sum() for out in both).backward()
    assert len(w.history) == 2


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch, of any probe of these
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_runs_forward_again_and_counts_once(reentrant: bool) -> None:
    trainer = Trainer(Shown("transposed", replay=reentrant))
    runs: list[int] = []
    trainer.model.sites[0].maker.register_forward_hook(lambda *_: runs.append(1))
    with mhc_diag.watch(trainer.model) as w:
        for _ in range(3):  # the next one is not compared with a probe
            trainer.step()
        before = len(runs)
        trainer.step()
    assert len(runs) == before + 2  # the second is the recomputation
    assert w.tapped and not w.notes
    np.testing.assert_allclose(told(w), trainer.expected(), rtol=1e-5)


def test_a_report_is_that_of_the_own_matrices() -> None:
    trainer = Trainer(Shown("transposed"))
    with mhc_diag.watch(trainer.model) as w:
        trainer.step()
        trainer.step()
    report = w.report()
    expected = by_hand(trainer.applied[-1])
    for direction in ("forward", "backward"):
        for statistic in ("max", "mean"):
            gain = report.worst(direction, statistic).value
            assert gain == pytest.approx(expected[f"{direction}_{statistic}"], rel=1e-5)
            assert gain == pytest.approx(w.gains()[f"{direction}_{statistic}"], rel=1e-9)
    assert [site.label for site in report.sites] == [f"sites.{i}.branch" for i in range(3)]
    where = report.provenance
    assert where.method == "observed" and where.certificates is None
    assert "the taps were last compared with a probe after 1 of 2 records" in " ".join(where.notes)
    (again,) = from_document(json.loads(json.dumps(to_document([report]), allow_nan=False)), "w.json")
    assert again.provenance.exposed == where.exposed != ()


def test_an_example_is_probed_at_once_and_in_place_of_the_input() -> None:
    trainer = Trainer(Shown("scaled"))
    with mhc_diag.watch(trainer.model, example=TOKENS, probe_every=1) as w:
        assert w.taps is not None and len(w.history) == 1
        trainer.step()
    assert len(w.history) == 2


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(MhcDiagError, match="verify_every is 0"):
        mhc_diag.watch(Shown("tuple"), verify_every=0)
    with mhc_diag.watch(Shown("tuple").eval()) as w:
        w._model(TOKENS)
        with pytest.raises(MhcDiagError, match="no forward pass of Shown was recorded, 0 were seen"):
            w.gains()
    with mhc_diag.watch(nn.Sequential(nn.Linear(4, 4))) as w, pytest.raises(NothingToCheck):
        w._model(torch.ones(2, 4))


def test_the_functions_of_the_package_stay_functions() -> None:
    import mhc_diag.analyse
    import mhc_diag.watch

    assert callable(mhc_diag.analyse) and callable(mhc_diag.analyse) and callable(mhc_diag.watch)
