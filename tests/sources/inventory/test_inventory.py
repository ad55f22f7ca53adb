"""What a file is said to hold, against what was put into it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.families import Variant, deepseek
from mhc_diag.sources.files.safetensors_file import SafetensorsFile
from mhc_diag.sources.files.tensors import TensorFile
from mhc_diag.sources.inventory import _size, take
from mhc_diag.sources.inventory.records import Dtype, Inventory

Tensors = dict[str, torch.Tensor]


def model(prefix: str = "", layers: int = 3) -> Tensors:
    """DeepSeek's naming; the FFN of a layer stands before its attention, and layer 2 before layer 1."""
    shapes = {"base": (24,), "scale": (3,), "fn": (24, 32)}
    return {
        f"{prefix}layers.{i}.hc_{kind}_{part}": torch.zeros(shape)
        for i in reversed(range(layers))
        for kind in ("ffn", "attn")
        for part, shape in shapes.items()
    }


def saved(tensors: Tensors, path: Path, metadata: dict[str, str] | None = None) -> Path:
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    return path


def taken(tensors: Tensors, folder: Path) -> Inventory:
    return take(saved(tensors, folder / "x.safetensors"))


def test_counts_are_torchs_own(tmp_path: Path) -> None:
    tensors = {
        "a": torch.zeros(3, 5),
        "b": torch.zeros(7, dtype=torch.bfloat16),
        "c": torch.zeros(2, dtype=torch.int64),
        "d": torch.zeros(2, 3),
        "e": torch.zeros(4, dtype=torch.bool),
        "f": torch.zeros(()),
    }
    found = taken(tensors, tmp_path)
    assert found.tensors == len(tensors)
    assert found.parameters == sum(t.numel() for t in tensors.values())
    assert found.size == sum(t.numel() * t.element_size() for t in tensors.values())
    assert {(d.name, d.tensors, d.parameters) for d in found.dtypes} == {
        ("float32", 3, 22),
        ("bfloat16", 1, 7),
        ("int64", 1, 2),
        ("bool", 1, 4),
    }
    assert [d.parameters for d in found.dtypes] == [22, 7, 4, 2]


def test_the_size_is_left_out_where_a_dtype_is_not_known() -> None:
    assert _size((Dtype("float32", 1, 3), Dtype("float4_e2m1fn_x2", 1, 4))) == 12 + 2
    assert _size((Dtype("float32", 1, 3), Dtype("quint", 1, 4))) is None


def test_sites_are_those_of_a_scan_in_its_order(tmp_path: Path) -> None:
    from mhc_diag.sources.checkpoint import scan_checkpoint

    path = saved(model(layers=12), tmp_path / "x.safetensors")
    found, stack = take(path), scan_checkpoint(path)
    assert [place.label for place in found.sites] == [site.label for site in stack.sites]
    assert found.sites[1].tensors["base"] == "layers.0.hc_ffn_base"
    assert found.sites[1].shapes == {"base": (24,), "scale": (3,), "fn": (24, 32)}
    (layout,) = found.layouts
    assert (layout.name, layout.sites, layout.streams, layout.scanned) == ("deepseek", 24, (4,), True)


def test_what_is_skipped_is_told_with_its_reason(tmp_path: Path) -> None:
    found = taken(model() | model("draft.", layers=2) | {"mtp.1.hc_attn_base": torch.zeros(24)}, tmp_path)
    skipped = {s.what: s.reason for s in found.skipped}
    assert "multi-token-prediction" in skipped["mtp.1"]
    assert "4 sites of 4 streams under draft.layers." in skipped
    assert len(found.sites) == 6 and found.layouts[0].sites == 10


def test_the_less_specific_layout_is_told_and_not_scanned(tmp_path: Path) -> None:
    found = taken(model() | {f"layers.{i}.mix": torch.eye(4) for i in range(5)}, tmp_path)
    assert [(x.name, x.sites, x.scanned) for x in found.layouts] == [
        ("deepseek", 6, True),
        ("square", 5, False),
    ]


def test_wrappers_are_named(tmp_path: Path) -> None:
    found = taken(model("module._orig_mod."), tmp_path)
    assert found.prefixes == ("module.", "_orig_mod.")
    assert found.sites[0].label == "layers.0.attn"
    assert taken(model(), tmp_path).prefixes == ()


def test_settings_and_metadata(tmp_path: Path) -> None:
    config = {
        "vocab_size": 7,
        "hc_mult": 4,
        "model_type": "deepseek_v4",
        "text_config": {"hc_eps": 1e-6, "rope_theta": 2, "num_hidden_layers": 3},
        "mhc_num_residual_streams": 4,
        "watchcount": 3,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = take(saved(model(), tmp_path / "x.safetensors", {"format": "pt"}))
    assert found.metadata == {"format": "pt"}
    assert found.config == {
        "model_type": "deepseek_v4",
        "text_config.num_hidden_layers": "3",
        "hc_mult": "4",
        "text_config.hc_eps": "1e-06",
        "mhc_num_residual_streams": "4",
    }


def test_candidates_and_the_line_that_selects_them(tmp_path: Path) -> None:
    tensors = {f"blocks.{i}.experts.{j}.h-res": torch.eye(4) for i in range(3) for j in range(2)}
    tensors |= {"top.mix": torch.eye(8), "wide": torch.zeros(65, 65), "one": torch.eye(1)}
    tensors |= {"gate.weight": torch.eye(4), "gate.bias": torch.zeros(4), "tall": torch.zeros(4, 3)}
    tensors |= {"mask": torch.eye(4, dtype=torch.int64)}
    found = taken(tensors, tmp_path)
    assert not found.sites and not found.layouts
    assert [(c.name, c.shape, c.count) for c in found.candidates] == [
        ("blocks.#.experts.#.h-res", (4, 4), 6),
        ("top.mix", (8, 8), 1),
    ]
    expression = re.compile(found.candidates[0].select)
    assert {name for name in tensors if expression.search(name)} == {t for t in tensors if "experts" in t}
    assert all(expression.fullmatch(name) for name in tensors if "experts" in name)
    assert f"--select '{expression.pattern}'" in found.commands[0]
    assert found.commands[-1].endswith("--model package.module:factory")
    reasons = {s.what: s.reason for s in found.skipped}
    assert reasons["blocks.#.experts.#.h-res"].startswith("several numbers in its name")


def test_patterns_are_the_smallest_first(tmp_path: Path) -> None:
    tensors = {f"h.{i}.w": torch.zeros(6, 18) for i in range(12)} | {"wte": torch.zeros(50, 6)}
    found = taken(tensors | {"h.3.odd": torch.zeros(2, 2)}, tmp_path)
    assert [(p.name, p.shape, p.count) for p in found.patterns] == [
        ("h.#.odd", (2, 2), 1),
        ("h.#.w", (6, 18), 12),
        ("wte", (50, 6), 1),
    ]


def test_an_ambiguous_layout_offers_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"main": Variant("as it stands", "direct"), "dev": Variant("as its transpose", "transposed")}
    monkeypatch.setattr(deepseek, "VARIANTS", ways)
    monkeypatch.setattr(deepseek, "variants", lambda shapes, config: ("main", "dev"))
    found = taken(model(), tmp_path)
    assert [(v.name, v.orientation) for v in found.layouts[0].variants] == [
        ("main", "direct"),
        ("dev", "transposed"),
    ]
    path = tmp_path / "x.safetensors"
    assert found.commands == tuple(
        f"mhc-diag scan {path}{more}" for more in ("", " --variant main", " --variant dev")
    )


def test_no_numbers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("numbers were read")

    monkeypatch.setattr(SafetensorsFile, "arrays", refuse)
    assert len(taken(model(), tmp_path).sites) == 6


def strings(value: Any) -> Iterator[str]:
    """Every text in a document, names of entries included."""
    if isinstance(value, str):
        yield value
    for inner in (
        [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from strings(inner)


def test_everything_from_the_file_is_printable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {f"\x1b[2J.{i}.{j}.mi\nx": torch.eye(4) for i in range(2) for j in range(2)}
    tensors |= {f"\x1b[31m.{i}.hc_attn_{part}": torch.zeros(3) for i in range(2) for part in ("base", "fn")}
    (tmp_path / "config.json").write_text(json.dumps({"hc_\x1b[0m": "\x07", "model_type": ["\x1b"]}))
    path = saved(tensors, tmp_path / "x.safetensors", {"a\x1b": "b\x1b\r"})
    monkeypatch.setattr(TensorFile, "notes", ("an object\x07 was not loaded",))
    texts = list(strings(take(path).document()))
    assert all(text.isprintable() for text in texts) and any(r"\x1b[2J" in text for text in texts)
    assert not take(path).candidates, "a name that cannot be typed is no command"


def test_an_empty_file(tmp_path: Path) -> None:
    found = taken({}, tmp_path)
    assert (found.tensors, found.parameters, found.size, found.dtypes) == (0, 0, 0, ())


def test_the_document_says_what_it_is(tmp_path: Path) -> None:
    document = taken(model(), tmp_path).document()
    assert (document["schema"], document["version"]) == ("mhc-diag/inventory", 1)
    assert document["sites"][0]["shapes"]["fn"] == [24, 32]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_a_path_with_a_space_can_be_typed(tmp_path: Path) -> None:
    path = saved(model(), tmp_path / "my model.safetensors")
    assert take(path).commands == (f"mhc-diag scan '{path}'",)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(MhcDiagError, match="truncated"):
        take(tmp_path / "x.pt")


def test_a_training_checkpoint(tmp_path: Path) -> None:
    rest = {"step": 12, "config": {"hc_mult": 4, "lr": 1e-3}}
    torch.save({"model": model("module."), **rest}, tmp_path / "x.pt")
    found = take(tmp_path / "x.pt")
    assert len(found.sites) == 6 and found.prefixes == ("module.",)
    assert found.metadata["step"] == "12" and found.config == {"hc_mult": "4"}
    np.testing.assert_equal(found.parameters, 6 * (24 + 3 + 24 * 32))


def test_a_checkpoint_of_several_tables_lists_them(tmp_path: Path) -> None:
    few = {"step_size": torch.zeros(3), "other": torch.zeros(2)}
    torch.save({"ema": few, "model": model(), "step": 3}, tmp_path / "x.pt")
    found = take(tmp_path / "x.pt")
    assert [(t.key, t.tensors, t.layout, t.sites) for t in found.tables] == [
        ("ema", 2, "", 0),
        ("model", 18, "deepseek", 6),
    ]
    assert (found.tensors, found.parameters, found.sites) == (20, None, ())
    path = tmp_path / "x.pt"
    assert found.commands == (f"mhc-diag scan {path} --key model", f"mhc-diag inspect {path} --key ema")
    chosen = take(path, key="model")
    assert (chosen.tables, len(chosen.sites)) == ((), 6)
    assert chosen.commands == (f"mhc-diag scan {path} --key model",)


def test_shards_are_one_model(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    for target in (folder, folder / "model.safetensors.index.json", str(folder)):
        found = take(target)
        assert found.files == ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
        assert (found.tensors, len(found.sites), found.target) == (18, 6, str(target))


def test_a_missing_shard_is_told_with_what_a_scan_says_to_it(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / "model-00002-of-00002.safetensors").unlink()
    found = take(folder)
    assert found.tensors == 9 and not found.sites and not found.candidates
    refusal = next(note for note in found.notes if note.startswith("a scan refuses it: "))
    assert "9 mixing parameters are not there" in refusal
    assert "fetch model-00002-of-00002.safetensors" in refusal
    assert [(x.name, x.scanned) for x in found.layouts] == [("deepseek", False)]


def sharded(folder: Path) -> Path:
    tensors = model()
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    half = len(tensors) // 2
    weight_map = {name: files[place >= half] for place, name in enumerate(tensors)}
    for file in files:
        saved({k: v for k, v in tensors.items() if weight_map[k] == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
