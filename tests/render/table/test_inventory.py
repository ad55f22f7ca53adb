"""An inventory in the terminal: as recorded, at every width, with commands that can be copied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mhc_diag.records import Skipped
from mhc_diag.render.table.inventory import inventory
from mhc_diag.sources.inventory import take
from mhc_diag.sources.inventory.records import Inventory

ROOT = Path(__file__).parents[3]
FILES = {
    "hc": "sample_models/hc.pt",
    "mhc": "sample_models/mhc.safetensors",
    "deepseek": "sample_models/deepseek-v4-tiny/model.safetensors",
}


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def unknown(tmp_path: Path) -> Inventory:
    """A mixture of experts without mixing that anybody knows."""
    tensors = {f"blocks.{i}.experts.{j}.route": torch.eye(4) for i in range(30) for j in range(2)}
    tensors |= {
        f"blocks.{i}.{kind}.weight": torch.zeros(6, 8 + k) for i in range(30) for k, kind in enumerate("qkvo")
    }
    tensors |= {f"extra_{chr(97 + i)}": torch.zeros(9, 9 + i, dtype=torch.float16) for i in range(20)}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = take(tmp_path / "x.safetensors")
    commands = [command.replace(str(tmp_path), "models") for command in found.commands]
    return replace(found, target="models/x.safetensors", commands=tuple(commands))


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", FILES)
def test_files_are_shown_as_recorded(name, width, golden):
    golden(f"inspect-{name}-{width}.txt", inventory(take(Path(FILES[name])), width=width))


@pytest.fixture
def sharded(tmp_path: Path) -> Inventory:
    """Two files, wrapped, with a block that predicts ahead."""
    shapes = {"base": (24,), "scale": (3,), "fn": (24, 32)}
    for i, layers in enumerate([("layers.0", "layers.1"), ("layers.2", "mtp.0")]):
        tensors = {
            f"module.{layer}.hc_{kind}_{part}": torch.zeros(shape)
            for layer in layers
            for kind in ("attn", "ffn")
            for part, shape in shapes.items()
        }
        safetensors.torch.save_file(tensors, tmp_path / f"model-0000{i + 1}-of-00002.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "deepseek_v4", "hc_mult": 4}')
    found = take(tmp_path)
    commands = [command.replace(str(tmp_path), "models/deep") for command in found.commands]
    return replace(found, target="models/deep", commands=tuple(commands))


@pytest.mark.parametrize("width", [80, 200])
def test_shards_are_shown_as_recorded(sharded, width, golden):
    golden(f"inspect-sharded-{width}.txt", inventory(sharded, width=width))


def test_tables_are_listed(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "ema": {"a": torch.zeros(1)}}, tmp_path / "x.pt")
    text = inventory(take(tmp_path / "x.pt"), width=80)
    rows = [line.split() for line in text.splitlines()]
    assert ["model", "1", "0"] in rows and ["ema", "1", "0"] in rows


@pytest.mark.parametrize("width", [80, 200])
def test_an_unknown_file_is_shown_as_recorded(unknown, width, golden):
    golden(f"inspect-unknown-{width}.txt", inventory(unknown, width=width))


@pytest.mark.parametrize("width", [72, 80, 120, 200])
@pytest.mark.parametrize("name", FILES)
def test_no_line_is_wider_than_the_terminal_but_a_command(name, width):
    found = take(Path(FILES[name]))
    table, _, commands = inventory(found, width=width).partition("Next, type")
    assert max(map(len, table.splitlines())) <= width
    assert [line.strip() for line in commands.split("\n") if line] == list(found.commands)


def test_a_long_command_is_on_one_line(unknown):
    text = inventory(unknown, width=72)
    assert (
        r"  mhc-diag scan models/x.safetensors --select '^blocks\.\d+\.experts\.\d+\.route$'"
        in text.splitlines()
    )


def test_all_sites_are_counted(unknown):
    text = inventory(take(Path(FILES["hc"])), width=80)
    assert "60 sites in the order of execution" in text and "4-57   … 54 sites" in text


@pytest.mark.parametrize("unicode", [True, False])
def test_nothing_moves_the_cursor_and_ascii_stays_ascii(unknown, unicode):
    odd = replace(
        unknown,
        target="a\x1b[2Jb",
        metadata={"\x1b": "ü" if unicode else "u"},
        skipped=(Skipped("x\r", "[red]y\x07"),) * 20,
        notes=("\x1b]0;title\x07",),
        commands=("mhc-diag scan \x1b[2J\u00fc",),
    )
    text = inventory(odd, width=80, unicode=unicode)
    assert not set(text) & {"\x1b", "\r", "\x07"} and "[red]y" in text and "and 12 more" in text
    assert unicode or text.isascii()


def test_unused_parameters_are_folded(unknown):
    names = [f"blocks.{i}.{part}" for i in range(9) for part in ("alpha", "beta")]
    text = inventory(replace(unknown, unused=(*names, "top")), width=80)
    assert "unused    blocks.#.alpha, 9 of them\n          blocks.#.beta, 9 of them\n          top\n" in text


def test_colour_when_asked_for(unknown):
    assert "\x1b[" in inventory(unknown, color=True) and "\x1b[" not in inventory(unknown)


def test_several_ways_to_read_are_told_apart():
    found = take(Path(FILES["mhc"]))
    (layout,) = found.layouts
    (only,) = layout.variants
    ways = (replace(only, name="main", how="as it is"), replace(only, name="dev", how="as its transpose"))
    text = " ".join(inventory(replace(found, layouts=(replace(layout, variants=ways),)), width=80).split())
    assert (
        "nothing in the file decides between 2 ways to read it: main: as it is dev: as its transpose" in text
    )
