"""mhc-diag inspect: it reads what can be read, refuses the rest, and says what can be typed next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

SAMPLES = Path(__file__).parents[2] / "sample_models"
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"


@pytest.mark.parametrize("name", ["hc.pt", "mhc.pt", "mhc.safetensors"])
def test_what_it_says_to_type_works(run: Callable[..., object], name: str) -> None:
    done = run("inspect", SAMPLES / name)
    assert (done.code, done.err) == (0, "")
    *_, command = done.out.splitlines()
    program, *arguments = shlex.split(command)
    assert program == "mhc-diag" and run(*arguments, "--metrics", "paper").code == 0


def test_square_parameters_can_be_selected(run: Callable[..., object], folder: Path) -> None:
    tensors = {f"top.{i}.part.{j}.mix": torch.eye(4) for i in range(2) for j in range(2)}
    torch.save(tensors, folder / "unknown.pt")
    done = run("inspect", "unknown.pt")
    assert (done.code, done.err) == (0, "")
    assert r"  mhc-diag scan unknown.pt --select '^top\.\d+\.part\.\d+\.mix$'" in done.out.splitlines()


def test_a_file_without_mixing_is_read_all_the_same(run: Callable[..., object], folder: Path) -> None:
    torch.save({"wte": torch.zeros(3, 5)}, folder / "gpt.pt")
    done = run("inspect", "gpt.pt")
    assert (done.code, done.err) == (0, "")
    assert "none is recognised" in done.out and "--model package.module:factory" in done.out


def test_json_is_one_strict_document(run: Callable[..., object], mixing: Callable[..., Path]) -> None:
    path = mixing("x.safetensors", np.stack([np.eye(3)] * 5))
    done = run("inspect", path, "--format", "json")
    document = json.loads(done.out, parse_constant=pytest.fail)
    assert (document["schema"], document["version"]) == ("mhc-diag/inventory", 1)
    assert document["tensors"] == 5 and document["parameters"] == 45
    assert [site["label"] for site in document["sites"]] == [f"layers.{i}.mixing" for i in range(5)]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.pt", None, "does not exist"),
        ("empty.pt", b"", "is empty"),
        ("page.safetensors", HTML, "web page"),
        ("notes.txt", b"layers.0.mixing = 1 0 0 1", "neither a torch checkpoint nor safetensors"),
    ],
)
@pytest.mark.parametrize("format", ["table", "json"])
def test_what_cannot_be_read(
    run: Callable[..., object], folder: Path, name: str, content: bytes | None, told: str, format: str
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    error = run("inspect", name, "--format", format).refused()
    assert name in error and told in error


def test_a_live_model_is_for_scan(run: Callable[..., object]) -> None:
    done = run("inspect", "sample_models.architectures:hc")
    assert "inspect looks into files" in done.refused()
    assert "mhc-diag scan sample_models.architectures:hc" in done.err


def test_the_folder_stays_as_it_is(run: Callable[..., object]) -> None:
    assert not run("inspect", SAMPLES / "mhc.safetensors").changed
