"""What a failed download leaves, in place of each file that a scan can come across."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
REMAINS = {"empty": b"", "lfs": POINTER, "page": PAGE, "rubbish": bytes(range(256)) * 4}


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.bin", "x.pt2", "model.safetensors.index.json"])
@pytest.mark.parametrize("remains", REMAINS.values(), ids=REMAINS)
def test_instead_of_the_file(scan: Callable[..., Any], folder: Path, name: str, remains: bytes) -> None:
    (folder / name).write_bytes(remains)
    assert name in scan(name).refused()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "b.safetensors"])
@pytest.mark.parametrize("remains", REMAINS.values(), ids=REMAINS)
def test_instead_of_a_file_in_a_folder(
    scan: Callable[..., Any],
    folder: Path,
    safetensors_file: Callable[..., Path],
    mixing: tuple[Any, bytes],
    name: str,
    remains: bytes,
) -> None:
    safetensors_file(*mixing, name="model.safetensors")
    if name == "b.safetensors":  # one of two shards
        (folder / "model.safetensors").rename(folder / "a.safetensors")
        where = dict.fromkeys(mixing[0], "a.safetensors") | {"head": name}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (folder / name).write_bytes(remains)
    assert name in scan(".").refused()


def test_cut_short_anywhere(
    scan: Callable[..., Any],
    folder: Path,
    safetensors_file: Callable[..., Path],
    mixing: tuple[Any, bytes],
) -> None:
    whole = safetensors_file(*mixing).read_bytes()
    for length in (1, 7, 8, 9, 40, len(whole) - 193, len(whole) - 192, len(whole) - 100, len(whole) - 1):
        (folder / "cut.safetensors").write_bytes(whole[:length])
        assert "cut.safetensors" in scan("cut.safetensors").refused()


def test_a_tensor_named_twice(scan: Callable[..., Any], safetensors_file: Callable[..., Path]) -> None:
    entry = b'"blocks.0.mixing":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
    safetensors_file(b"{" + entry + b"," + entry + b"}", bytes(16))
    assert "twice" in scan("x.safetensors").refused()
