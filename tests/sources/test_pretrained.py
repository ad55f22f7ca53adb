"""A folder in the Hugging Face layout: what loads, what is said about it, and what is left as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import pretrained
from mhc_diag.sources.pretrained import load
from mhc_diag.sources.target import Request, scan

SAMPLE = Path(__file__).parents[2] / "sample_models/deepseek-v4-tiny"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLE, tmp_path / "llm")
    return tmp_path / "llm"


def rewrite(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors = {k: v for k, v in {**tensors, **change}.items() if v is not None}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_the_model_has_the_tensors_of_the_file() -> None:
    model, notes, skipped = load(SAMPLE)
    assert type(model).__name__ == "DeepseekV4ForCausalLM" and notes == () and skipped == ()
    stored = load_file(SAMPLE / "model.safetensors")
    weight = model.get_input_embeddings().weight
    (name,) = (n for n, t in stored.items() if "embed" in n)
    assert torch.equal(weight, stored[name])


def test_missing_and_foreign_tensors_are_noted(copy: Path) -> None:
    missing = "model.layers.1.hc_attn_base"  # transformers calls it attn_hc.base
    assert missing in load_file(copy / "model.safetensors")
    rewrite(copy, {missing: None, "model.extra.weight": torch.ones(2)})
    _, notes, skipped = load(copy)
    assert notes == ("1 tensors of the files are not in the model, first model.extra.weight",)
    assert [s.what for s in skipped] == ["1 tensors of the model, first model.layers.1.attn_hc.base"]
    assert "random values" in skipped[0].reason


@pytest.mark.parametrize("damage", ["shape", "cut", "gone"])
def test_weights_that_do_not_load(copy: Path, damage: str) -> None:
    weights = copy / "model.safetensors"
    if damage == "shape":
        rewrite(copy, {"model.embed_tokens.weight": torch.ones(3, 3)})
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        weights.unlink()
    with pytest.raises(MhcDiagError, match=r"transformers cannot load .*llm: ") as error:
        load(copy)
    assert "\n" not in error.value.message


def test_pickled_weights_are_not_touched(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(MhcDiagError, match="transformers cannot load"):
        load(copy)


def test_the_log_of_transformers_is_as_it_was(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_info()
    try:
        rewrite(copy, {"model.extra.weight": torch.ones(2)})
        load(copy)
        assert logging.get_verbosity() == logging.INFO
        (copy / "model.safetensors").unlink()
        with pytest.raises(MhcDiagError):
            load(copy)
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")


def test_a_model_larger_than_memory_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretrained.unbuildable(SAMPLE) == ""
    monkeypatch.setattr(pretrained, "_free_memory", lambda: 1000.0)
    (stack,) = scan(Request(str(SAMPLE)))
    assert stack.provenance.method == "static"
    (note, *_) = stack.provenance.notes
    assert note.endswith("was run: its weights take 0.0 GiB, and 0.0 GiB of memory are free")


def test_a_model_that_transformers_does_not_know_is_read(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"architectures": ["NoSuchModel"]}))
    (stack,) = scan(Request(str(copy)))
    assert "does not know a NoSuchModel" in stack.provenance.notes[0]
    (asked,) = scan(Request(str(SAMPLE), static=True))
    np.testing.assert_array_equal(stack.matrices, asked.matrices)
    assert asked.provenance.notes == stack.provenance.notes[1:]
