"""`--device` and `--dtype`: the model is measured there and in those numbers, or it is said why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import pretrained
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.placed import place
from mhc_diag.sources.target import Request, scan
from sample_models import architectures

SAMPLES = Path(__file__).parents[2] / "sample_models"
HC = {"target": str(SAMPLES / "hc.pt"), "model": "sample_models.architectures:hc", "tokens": 6, "batch": 1}
FOLDER = str(SAMPLES / "deepseek-v4-tiny")
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def measured(**how: object) -> np.ndarray:
    (stack,) = scan(Request(**how))  # type: ignore[arg-type]
    return np.asarray(stack.matrices.cpu(), dtype=np.float64)


@pytest.mark.parametrize(("dtype", "unit"), [("bf16", 2**-8), ("fp16", 2**-11), ("fp64", 0.0)])
def test_parameters_are_rounded_as_the_dtype_rounds_them(dtype: str, unit: float) -> None:
    stored = torch.load(SAMPLES / "hc.pt")
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}[dtype]
    exact = torch.stack([m for name, m in stored.items() if name.endswith("mixing")]).double()
    found = measured(**HC, dtype=dtype)[:, 0]
    assert np.array_equal(found, exact.to(kind).double().numpy())
    assert np.allclose(found, exact, atol=unit * float(exact.abs().max()), rtol=0)
    assert (unit > 0) != np.array_equal(found, exact)


def test_computed_matrices_in_bfloat16_are_those_of_the_plain_model_to_its_rounding() -> None:
    how = {**HC, "target": str(SAMPLES / "mhc.safetensors"), "model": "sample_models.architectures:mhc"}
    apart = np.abs(measured(**how, dtype="bf16") - measured(**how)).max(axis=(1, 2, 3))
    assert 0 < apart[0] < 2**-7  # later sites see streams that were rounded at each site before
    assert np.all(apart < 2e-2)


def test_a_folder_is_loaded_in_the_dtype(tmp_path: Path) -> None:
    how = {"target": FOLDER, "tokens": 6, "batch": 1}
    (stack,) = scan(Request(**how, dtype="bf16"))
    assert stack.provenance.settings["dtype"] == "bf16" and "device" not in stack.provenance.settings
    assert 0 < np.abs(stack.matrices.numpy() - measured(**how)).max() < 0.05


def test_floating_point_inputs_follow_the_model() -> None:
    ids, features = torch.ones(1, 2, dtype=torch.long), torch.ones(1, 2)
    module, (args, _) = place(torch.nn.Linear(2, 2), ((ids, {"x": features}), {}), "cpu", "fp16")
    assert args[0].dtype == torch.long and args[1]["x"].dtype == torch.float16
    assert module.weight.dtype == torch.float16


@pytest.mark.parametrize("free", [1e12, 4e4])
def test_auto_spreads_a_folder_and_leaves_on_disk_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, free: float
) -> None:
    pytest.importorskip("accelerate", reason="spreading is the work of accelerate")
    how = {"target": FOLDER, "tokens": 6, "batch": 1}
    plain = measured(**how)
    loaded, load = [], pretrained.load
    monkeypatch.setattr(pretrained, "_free_memory", lambda: free)
    monkeypatch.setattr(pretrained, "load", lambda *a, **k: loaded.append(load(*a, **k)) or loaded[-1])
    assert np.array_equal(measured(**how, device="auto"), plain)
    assert any(p.is_meta for p in loaded[0][0].parameters()) == (free < 1e6)


def test_auto_does_not_build_what_a_configuration_makes_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = json.loads((Path(FOLDER) / "config.json").read_text()) | {"vocab_size": 90_000_000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(Path(FOLDER) / "model.safetensors")
    monkeypatch.setattr(pretrained, "_free_memory", lambda: 1e6)
    with pytest.raises(MhcDiagError, match="config.json"):
        scan(Request(str(tmp_path), device="auto"))


REFUSED = {
    "--device is foo, which torch does not know": {"device": "foo"},
    "--device is meta, which cannot be used here": {"device": "meta"},
    "--dtype is bf17": {"dtype": "bf17"},
    "--dtype is given, but --static says": {"dtype": "bf16", "static": True, "model": None},
    "--samples says how to read parameters, but --dtype asks": {
        "dtype": "bf16",
        "model": None,
        "checkpoint": Options(samples=3),
    },
    "--device is given, but .*hc.pt alone is read without running": {"device": "cpu", "model": None},
    "--dtype is given, but .*hc.pt alone is read without running": {"dtype": "bf16", "model": None},
    "--device is auto, but HyperConnected comes from no": {"device": "auto"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused(message: str) -> None:
    with pytest.raises(MhcDiagError, match=message):
        scan(Request(**(HC | REFUSED[message])))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none() -> None:
    with pytest.raises(MhcDiagError, match=r"--device is cuda:1, but torch .* (built without|sees no) CUDA"):
        Request("x", device="cuda:1")


def test_what_accelerate_placed_is_not_moved() -> None:
    accelerate = pytest.importorskip("accelerate", reason="offloading is the work of accelerate")
    model = accelerate.cpu_offload(architectures.hc(), execution_device="cpu")
    ids = ((torch.zeros(1, 3, dtype=torch.long),), {})
    with pytest.raises(MhcDiagError, match="--device is cpu, but HyperConnected is already placed"):
        place(model, ids, "cpu", None)
    with pytest.raises(
        MhcDiagError, match="--dtype is bf16, but the weights of HyperConnected are offloaded"
    ):
        place(model, ids, None, "bf16")
    assert place(model, ids, None, None) == (model, ids)


@NEEDS_CUDA
def test_on_cuda_the_numbers_are_those_of_the_cpu() -> None:
    (stack,) = scan(Request(**HC, device="cuda"))
    assert stack.matrices.device.type == "cuda"
    assert np.array_equal(stack.matrices.cpu().numpy(), measured(**HC))
