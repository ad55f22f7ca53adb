"""A target that cannot be read: exit 2, one error and one hint, and nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

SAMPLES = Path(__file__).parents[2] / "sample_models"
HC = "sample_models.architectures:hc"
OUTPUTS = ("--report", "json=out.json", "--plot", "out.png")
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
TORCH = (SAMPLES / "hc.pt").read_bytes()
SAFE = (SAMPLES / "mhc.safetensors").read_bytes()


@pytest.mark.parametrize("live", [(), ("--model", HC)])
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.pt", None, "does not exist"),
        ("empty.pt", b"", "is empty"),
        ("empty.safetensors", b"", "is empty"),
        ("cut.pt", TORCH[: len(TORCH) // 2], "truncated"),
        ("cut.safetensors", SAFE[: len(SAFE) // 2], "truncated"),
        ("pointer.pt", LFS, "git-lfs pointer"),
        ("pointer.safetensors", LFS, "git-lfs pointer"),
        ("page.pt", HTML, "web page"),
        ("notes.txt", b"layers.0.mixing = 1 0 0 1", "neither a torch checkpoint nor safetensors"),
    ],
)
def test_a_file_that_is_no_checkpoint(
    run: Callable[..., object],
    folder: Path,
    name: str,
    content: bytes | None,
    told: str,
    live: tuple[str, ...],
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    error = run("scan", name, *live, *OUTPUTS).refused()
    assert name in error and told in error


def test_a_name_that_no_file_can_have(run: Callable[..., object]) -> None:
    assert "File name too long" in run("scan", "a" * 5000, *OUTPUTS).refused()


def test_numbers_of_a_file_that_are_damaged_inside(run: Callable[..., object], folder: Path) -> None:
    start = TORCH.index(b"data.pkl") + 60
    (folder / "scrambled.pt").write_bytes(TORCH[:start] + b"\xff" * 40 + TORCH[start + 40 :])
    assert "scrambled.pt" in run("scan", "scrambled.pt", *OUTPUTS).refused()


def test_tensors_of_another_model(run: Callable[..., object]) -> None:
    error = run("scan", SAMPLES / "mhc.pt", "--model", HC, *OUTPUTS).refused()
    assert f"does not fit {HC}" in error
    assert "360 tensors missing, first layers.0.attn" in error and "363 unknown to the model" in error


def test_a_tensor_of_another_shape_is_named_with_both_shapes(
    run: Callable[..., object], folder: Path
) -> None:
    tensors = torch.load(SAMPLES / "hc.pt")
    tensors["layers.3.mlp.mixing"] = torch.eye(5)
    torch.save(tensors, folder / "wide.pt")
    error = run("scan", "wide.pt", "--model", HC, *OUTPUTS).refused()
    assert "layers.3.mlp.mixing is (5, 5), the model's (4, 4)" in error


def test_an_input_for_a_file_that_is_not_run(run: Callable[..., object], folder: Path) -> None:
    np.save(folder / "ids.npy", np.zeros((1, 3), dtype=np.int64))
    done = run("scan", SAMPLES / "hc.pt", "--input", "ids.npy", *OUTPUTS)
    assert "without running a model" in done.refused()
    assert "--model" in done.err


@pytest.fixture
def pickled(folder: Path) -> Path:
    from sample_models.architectures import hc

    model = hc()
    model.load_state_dict(torch.load(SAMPLES / "hc.pt"))
    torch.save(model, folder / "module.pt")
    return folder / "module.pt"


def test_a_pickled_module_is_read_without_running_it(run: Callable[..., object], pickled: Path) -> None:
    done = run("scan", pickled)
    assert done.code == 0 and "static: " in done.out
    assert "without running its code" in " ".join(done.out.split())
    live = run("scan", pickled, "--model", HC)
    assert live.code == 0 and "forward 4076" in live.out


def test_a_file_that_names_what_would_run_is_refused(run: Callable[..., object], folder: Path) -> None:
    torch.save({"mixing": torch.eye(4), "hook": os.system}, folder / "trap.pt")
    for live in ((), ("--model", HC)):
        done = run("scan", "trap.pt", *live, *OUTPUTS)
        assert "names posix.system, which no checkpoint needs" in done.refused()
        assert "--unsafe-pickle" in done.err


def test_a_pickled_module_is_run_when_the_user_says_so(run: Callable[..., object], pickled: Path) -> None:
    done = run("scan", pickled, "--unsafe-pickle")
    assert done.code == 0 and done.err == ""
    assert "measured on the model's own forward pass" in done.out.replace("\n             ", " ")
    assert "forward 4076" in done.out and "backward 5825" in done.out


def test_a_file_of_tensors_is_still_read_statically_when_pickles_are_allowed(
    run: Callable[..., object],
) -> None:
    for name in ("hc.pt", "mhc.safetensors"):
        done = run("scan", SAMPLES / name, "--unsafe-pickle")
        assert done.code == 0 and "static: " in done.out
