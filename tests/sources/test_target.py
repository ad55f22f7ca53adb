"""Which way a target is taken, and what the report says about its input."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.target import Request, scan

OWN = """
import torch
class Net(torch.nn.Module):
    def __init__(self, gain=2.0):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.embed, self.branch = torch.nn.Embedding(5, 8), torch.nn.Linear(8, 8)
    def forward(self, ids):
        x = self.embed(ids)
        return self.gain * x + self.branch(x)
def example(): return Net(), torch.zeros(1, 4, dtype=torch.int64)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the user's module `own_target`."""
    (tmp_path / "own_target.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("own_target", None)


def saved(gain: float, wrapper: str = "") -> None:
    tensors = {"gain": torch.tensor(gain), "embed.weight": torch.ones(5, 8)}
    tensors |= {"branch.weight": torch.ones(8, 8), "branch.bias": torch.ones(8)}
    torch.save({wrapper + name: tensor for name, tensor in tensors.items()}, "net.pt")


def test_a_factory_is_measured_on_random_tokens(folder: Path) -> None:
    (stack,) = scan(Request("own_target:Net", tokens=3, batch=2, seed=5))
    assert (stack.name, stack.provenance.target) == ("own_target:Net", "own_target:Net")
    assert stack.matrices.flatten().tolist() == [2.0] * 6
    assert stack.provenance.token_shape == (2, 3)
    settings = {"input": "random tokens", "seed": 5, "vocabulary": 5}
    assert settings.items() <= dict(stack.provenance.settings).items()


def test_an_example_is_preferred_to_random_tokens_and_a_file_to_both(folder: Path) -> None:
    (stack,) = scan(Request("own_target:example"))
    assert stack.provenance.token_shape == (1, 4)
    assert stack.provenance.settings["input"] == "the factory's example"
    assert "seed" not in stack.provenance.settings
    np.save(folder / "ids.npy", np.zeros((3, 2), dtype=np.int64))
    (stack,) = scan(Request("own_target:example", input=Path("ids.npy")))
    assert stack.provenance.token_shape == (3, 2)
    assert stack.provenance.settings["input"] == "ids.npy"


def test_a_name_of_an_input_is_safe_to_print(folder: Path) -> None:
    name = "a\x1b[31m\udcff.npy"
    np.save(folder / name, np.zeros((1, 2), dtype=np.int64))
    (stack,) = scan(Request("own_target:Net", input=Path(name)))
    assert str(stack.provenance.settings["input"]).isprintable()


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
def test_a_file_with_its_code_is_measured_live(folder: Path, wrapper: str) -> None:
    saved(0.25, wrapper)
    (stack,) = scan(Request("net.pt", model="own_target:Net", tokens=2, batch=1))
    assert (stack.name, stack.provenance.method) == ("net.pt", "observed")
    assert stack.matrices.flatten().tolist() == [0.25, 0.25]


def test_a_file_wins_over_a_factory_of_the_same_name(folder: Path) -> None:
    mixing = {f"layers.{i}.mixing": torch.full((3, 3), float(i)) for i in range(2)}
    torch.save(mixing, folder / "own_target:Net")
    (stack,) = scan(Request("own_target:Net"))
    assert stack.provenance.method == "static"
    assert stack.matrices[1, 0].tolist() == [[1.0] * 3] * 3


def test_classes_of_a_pickled_module_are_found_in_the_working_directory(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    torch.save(importlib.import_module("own_target").Net(3.0), "net.pt")
    sys.path.remove(str(folder))
    del sys.modules["own_target"]
    with pytest.raises(NothingToCheck):  # its tensors are read, and none of them is a mixing
        scan(Request("net.pt"))
    (stack,) = scan(Request("net.pt", tokens=1, batch=1, checkpoint=Options(unsafe_pickle=True)))
    assert stack.provenance.method == "observed" and stack.matrices.flatten().tolist() == [3.0]


def test_what_does_not_fit_is_told_the_same_way_every_time(folder: Path) -> None:
    tensors = {"gain": torch.ones(2), "embed.weight": torch.ones(4, 8), "branch.bias": torch.ones(1)}
    torch.save(tensors, "net.pt")
    with pytest.raises(MhcDiagError) as error:
        scan(Request("net.pt", model="own_target:Net"))
    assert error.value.message == (
        "net.pt does not fit own_target:Net: 1 tensors missing, first branch.weight; "
        "gain is (2,), the model's ()"
    )


@pytest.mark.parametrize(
    "wrong", [{"tokens": 0}, {"batch": 0}, {"seed": -1}, {"seed": 2**63}, {"tokens": -3}]
)
def test_numbers_are_checked_at_the_door(wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(MhcDiagError, match=f"--{name} is {value}"):
        Request("own_target:Net", **wrong)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"static": True, "model": "own_target:Net"}, "--model is given, but --static says"),
        ({"static": True, "allow_code": True}, "--allow-code is given, but --static says"),
        ({"model": "own_target:Net", "checkpoint": Options(samples=3)}, "--samples says how to read"),
        ({"input": Path("ids.npy"), "checkpoint": Options(variant="dev")}, "--input asks for a live model"),
    ],
)
def test_reading_and_running_are_not_asked_for_together(given: dict[str, Any], told: str) -> None:
    with pytest.raises(MhcDiagError, match=told):
        Request("net.pt", **given)


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"static": True}, "--static"),
        ({"checkpoint": Options(key="ema")}, "--key"),
        ({"checkpoint": Options(samples=5)}, "--samples"),
    ],
)
def test_a_factory_is_not_read(folder: Path, given: dict[str, Any], flag: str) -> None:
    with pytest.raises(MhcDiagError, match=f"{flag} says how to read parameters, but own_target:Net is a"):
        scan(Request("own_target:Net", **given))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"samples": -1}, "--samples is -1"),
        ({"samples": 3, "correlation": 1.5}, "--stream-correlation is 1.5"),
        ({"samples": 3, "correlation": float("nan")}, "--stream-correlation is nan"),
        ({"correlation": 0.5}, "--stream-correlation is given without --samples"),
        ({"samples": 3, "activations": Path("x.npy")}, "--samples and --activations are both given"),
        ({"logits": "sinkhorn:20"}, "--logits says how to read selected parameters, but none"),
        ({"select": "(("}, r"--select '\(\(' is no regular expression"),
    ],
)
def test_options_are_checked_at_the_door(given: dict[str, Any], told: str) -> None:
    with pytest.raises(MhcDiagError, match=told):
        Options(**given)
