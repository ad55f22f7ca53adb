"""Names that lead out of the folder, and things that are no files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]
WAYS_OUT = ["../outside.safetensors", "a/../../outside.safetensors", "..\\outside.safetensors", "..", ".", ""]
WAYS_OUT += [
    "C:\\outside.safetensors",
    Path(__file__).as_uri(),
    "https://example.com/x",
    "a\0b",
    "~/x",
    "./a.safetensors",
]


@pytest.mark.parametrize("name", [*WAYS_OUT, "ABSOLUTE"])
@pytest.mark.parametrize("target", [".", "model.safetensors.index.json"])
def test_an_index_that_leads_out(
    scan: Callable[..., Any],
    folder: Path,
    safetensors_file: Write,
    mixing: tuple[Any, bytes],
    name: str,
    target: str,
) -> None:
    outside = folder.parent / "outside.safetensors"
    safetensors_file(*mixing).rename(outside)
    where = dict.fromkeys(mixing[0], str(outside) if name == "ABSOLUTE" else name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert "outside" in scan(target).refused()


@pytest.mark.parametrize("where", [{"x": 3}, {"x": None}, {"x": ["a"]}, ["x"], "x", None, {"x": "y" * 5000}])
def test_an_index_that_maps_to_no_names(scan: Callable[..., Any], folder: Path, where: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert scan(".").refused()


def test_links_are_followed_as_in_the_cache_of_the_hub(
    scan: Callable[..., Any], folder: Path, safetensors_file: Write, mixing: tuple[Any, bytes]
) -> None:
    blobs, snapshot = folder / "blobs", folder / "snapshots"
    blobs.mkdir()
    snapshot.mkdir()
    safetensors_file(*mixing).rename(blobs / "4d7a")
    (snapshot / "model.safetensors").symlink_to(Path("..") / "blobs" / "4d7a")
    assert "blocks" in scan("snapshots").reported()


def test_what_is_no_file(scan: Callable[..., Any], folder: Path) -> None:
    os.mkfifo(folder / "pipe.pt")
    (folder / "dangling.pt").symlink_to("nothing")
    (folder / "loop.pt").symlink_to("loop.pt")
    (folder / "zero.pt").symlink_to("/dev/zero")
    for name in ("pipe.pt", "dangling.pt", "loop.pt"):
        assert name in scan(name).refused()
    for device in ("/dev/null", "/dev/zero", "/dev/stdin"):
        assert device in scan(device).refused()


@pytest.mark.parametrize("inside", ["pipe", "loop", "folder", "device"])
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", ".metadata", "model.safetensors.index.json"]
)
def test_what_is_no_file_in_a_folder(
    scan: Callable[..., Any],
    folder: Path,
    safetensors_file: Write,
    mixing: tuple[Any, bytes],
    inside: str,
    name: str,
) -> None:
    if name == "config.json":
        safetensors_file(*mixing, name="model.safetensors")
    if inside == "pipe":
        os.mkfifo(folder / name)
    elif inside == "loop":
        (folder / name).symlink_to(name)
    elif inside == "device":
        (folder / name).symlink_to("/dev/zero")
    else:
        (folder / name).mkdir()
    assert scan(".").code in ((0, 2) if name == "config.json" else (2,))


def test_a_folder_that_contains_itself(
    scan: Callable[..., Any], folder: Path, safetensors_file: Write, mixing: tuple[Any, bytes]
) -> None:
    safetensors_file(*mixing, name="model.safetensors")
    (folder / "again").symlink_to(".")
    assert "blocks" in scan("again/again/again").reported()
