"""What a model shows against what it applies."""

import pytest
import torch
from shown_models import TOKENS, TOLD, Shown
from torch import nn

from mhc_diag.records import MixingStack
from mhc_diag.sources.exposed.capture import capture
from mhc_diag.sources.exposed.findings import told
from mhc_diag.sources.probe import probe


def scanned(model: nn.Module, tokens: torch.Tensor = TOKENS) -> MixingStack:
    with capture(model) as seen:
        stack = probe(model, tokens)
    return told(stack, seen)


@pytest.mark.parametrize("form", TOLD)
def test_where_the_matrix_stands_and_how_it_compares(form: str) -> None:
    position, relation = TOLD[form]
    stack = scanned(Shown(form).eval())
    found = [e for e in stack.provenance.exposed if e.position == position]
    assert [(e.site, e.relation) for e in found] == [(i, relation) for i in range(3)]
    assert max(e.deviation for e in found) < 1e-6
    expected = {"equal", "transposed"} if form == "argument" else {relation}  # where the maker shows it too
    assert {e.relation for e in stack.provenance.exposed} <= expected


def test_one_sentence_for_all_layers() -> None:
    notes = scanned(Shown("transposed").eval()).provenance.notes
    assert notes == ("sites.*.maker output 1 is the transpose of what is applied (3 sites)",)


def test_a_module_that_runs_for_every_site_is_told_by_its_turn() -> None:
    stack = scanned(Shown("transposed", shared=True).eval())
    told_of = [(e.site, e.path, e.occurrence, e.relation) for e in stack.provenance.exposed]
    assert told_of == [(i, "sites.0.maker", i, "transposed") for i in range(3)]


def test_of_several_forward_passes_of_a_probe_one_counts() -> None:
    class Given(Shown):
        """Is given its streams, which a probe finds out by running it again."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            runs.append(1)
            streams = x.unflatten(2, (4, 16))
            for site in self.sites:
                streams = site(streams)
            return streams.sum(2)

    runs: list[int] = []
    stack = scanned(Given("transposed").eval(), torch.randn(2, 3, 64))
    assert len(runs) > 1 and stack.streams == 4
    told_of = [(e.site, e.path, e.occurrence, e.relation) for e in stack.provenance.exposed]
    assert told_of == [(i, f"sites.{i}.maker", 0, "transposed") for i in range(3)]


def test_a_symmetric_matrix_is_either() -> None:
    stack = scanned(Shown("transposed", at_init=True).eval())
    assert {e.relation for e in stack.provenance.exposed} == {"either"}
    assert "symmetric here (3 sites)" in stack.provenance.notes[0]


def test_a_mixing_that_is_computed_and_not_applied() -> None:
    stack = scanned(Shown("unapplied").eval())
    assert bool((stack.matrices == torch.eye(4)).all())
    assert [(e.site, e.path, e.relation) for e in stack.provenance.exposed] == [
        (i, f"sites.{i}.maker", "neither") for i in range(3)
    ]
    (note,) = stack.provenance.notes
    assert note == (
        "sites.*.maker output 1 computes a mixing that the model does not apply: M is the identity (3 sites)"
    )


def test_a_mixing_that_is_applied_with_a_factor() -> None:
    (note,) = scanned(Shown("scaled").eval()).provenance.notes
    assert note.startswith("sites.*.maker output 1 is a mixing matrix, and neither it nor its transpose is")


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_attention_over_as_many_positions_as_streams_is_no_mixing(kind: torch.dtype) -> None:
    class Attends(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ x.mT).softmax(-1)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attends, self.value = Attends(), nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = self.attends(x.unflatten(-1, (4, 4)).transpose(1, 2))
            streams = x[:, :, None].expand(-1, -1, 4, -1)
            return streams + self.value((heads @ x[:, None]).mean(1))[:, :, None]

    stack = scanned(Plain().to(kind).eval(), torch.randn(4, 4, 16, dtype=kind))
    assert stack.streams == 4 and bool((stack.matrices == torch.eye(4)).all())
    assert stack.provenance.exposed == ()


def test_nothing_is_left_at_the_model() -> None:
    model = Shown("result").eval()
    functions = [site.maker.constrain for site in model.sites]
    model.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), capture(model):
        probe(model, TOKENS)
    assert [site.maker.constrain for site in model.sites] == functions
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
