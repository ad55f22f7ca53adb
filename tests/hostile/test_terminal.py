"""Text from a file never reaches the terminal as more than text."""

from __future__ import annotations

import io
import json
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

Write = Callable[..., Path]
TEXTS = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "clear": "\x1b[2J\x1b[H",
    "c1": "\x9b31m",
    "overprint": "safe\r\x08\x08evil",
    "newlines": "x\nerror: all is well\nhint: relax",
    "right to left": "\u202etxt.exe\u2066",
    "separators": "a\u2028b\u2029c\x85d",
    "surrogate": "\ud800",
    "link": "\x1b]8;;https://example.com\x1b\\click\x1b]8;;\x1b\\",
}


@pytest.mark.parametrize("format", ["table", "json", "csv"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_names_of_sites(
    scan: Callable[..., Any], safetensors_file: Write, mixing: tuple[Any, bytes], text: str, format: str
) -> None:
    entries, data = mixing
    safetensors_file({text + name: entry for name, entry in entries.items()}, data)
    assert scan("x.safetensors", "--format", format).code in (0, 2, 3)  # lone surrogates are refused


def test_markup_is_shown_as_it_is(
    scan: Callable[..., Any], safetensors_file: Write, mixing: tuple[Any, bytes]
) -> None:
    entries, data = mixing
    safetensors_file({"[red]x[/red]." + name: entry for name, entry in entries.items()}, data)
    assert "[red]x[/red].blocks.0" in scan("x.safetensors", "--all-sites").reported()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_names_of_what_is_left_out(
    scan: Callable[..., Any],
    inspect: Callable[..., Any],
    safetensors_file: Write,
    mixing: tuple[Any, bytes],
    text: str,
) -> None:
    entries, data = mixing
    odd = {"dtype": "F32", "shape": [4, 4], "data_offsets": [192, 256]}
    safetensors_file({**entries, text + ".7.hc_attn_base": odd}, data + bytes(64))
    assert scan("x.safetensors").code in (0, 2)
    safetensors_file({text: odd | {"data_offsets": [0, 64]}}, bytes(64))
    assert scan("x.safetensors").code in (2, 3)
    for format in ("table", "json"):
        assert inspect("x.safetensors", "--format", format).code in (0, 2)


@pytest.mark.parametrize("format", ["zip", "legacy", "distributed", "program"])
def test_names_in_every_format(
    scan: Callable[..., Any], inspect: Callable[..., Any], folder: Path, format: str
) -> None:
    for text in TEXTS.values():
        name = text.replace("\ud800", "").replace(".", "_")
        table: dict[str, Any] = {f"{name}blocks.{i}.mixing": torch.eye(4) for i in range(3)}
        table |= {f"{name}.7.hc_attn_base": torch.ones(2, 2)}
        state = {"model": table, name or "x": "text", "config": {name: name, "hc_sinkhorn_iters": name}}
        shutil.rmtree(folder / "x", ignore_errors=True)
        (folder / "x").mkdir()
        if format == "distributed":
            with warnings.catch_warnings(action="ignore"):
                dcp.save(state, checkpoint_id=folder / "x", no_dist=True)
        elif format == "program":
            stream = io.BytesIO()
            torch.save(table, stream)
            with zipfile.ZipFile(folder / "x" / "y", "w") as archive:
                archive.writestr("x/archive_format", b"pt2")
                archive.writestr("x/data/weights/model.pt", stream.getvalue())
        else:
            torch.save(state, folder / "x" / "y", _use_new_zipfile_serialization=format == "zip")
        target = "x" if format == "distributed" else "x/y"
        assert scan(target).code in (0, 2, 3)
        assert inspect(target).code in (0, 2)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_words_of_the_header(
    scan: Callable[..., Any], inspect: Callable[..., Any], safetensors_file: Write, text: str
) -> None:
    safetensors_file({"x": {"dtype": text, "shape": [1], "data_offsets": [0, 4]}}, bytes(4))
    assert scan("x.safetensors").refused()
    safetensors_file(
        {"__metadata__": {text: text}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
    )
    assert scan("x.safetensors").code in (2, 3)
    assert inspect("x.safetensors").code in (0, 2)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_words_of_a_configuration_and_an_index(
    scan: Callable[..., Any], inspect: Callable[..., Any], folder: Path, safetensors_file: Write, text: str
) -> None:
    header = {
        f"layers.{i}.hc_attn_{part}": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        for i in range(2)
        for part, shape in (("fn", [8, 4]), ("base", [8]), ("scale", [3]))
    }
    at = 0
    for entry in header.values():
        size = 4
        for length in entry["shape"]:
            size *= length
        entry["data_offsets"] = [at, at := at + size]
    safetensors_file(header, bytes(at), name="model.safetensors")
    config = {text: text, "model_type": text, "hc_sinkhorn_iters": text, "quantization_config": text}
    (folder / "config.json").write_text(json.dumps(config))
    assert scan(".").refused()
    assert inspect(".").code in (0, 2)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "a")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {text: text}, "metadata": text})
    )
    assert scan(".").refused()


@pytest.mark.parametrize(
    "text", [t for t in TEXTS.values() if t.isascii()], ids=[k for k, t in TEXTS.items() if t.isascii()]
)
def test_names_of_files(
    scan: Callable[..., Any],
    inspect: Callable[..., Any],
    folder: Path,
    safetensors_file: Write,
    mixing: tuple[Any, bytes],
    text: str,
) -> None:
    name = text.replace("/", "_") + ".safetensors"
    safetensors_file(*mixing).rename(folder / name)
    assert scan(name).reported()
    assert inspect(name).reported()
    (folder / name).write_bytes(b"")
    assert scan(name).refused()
    assert scan(name + "x").refused()
