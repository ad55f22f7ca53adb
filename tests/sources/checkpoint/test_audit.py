"""What is said of stored parameters: each check has a checkpoint that shows it, and one that nearly does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from mhc_diag.records import Observation
from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.checkpoint.audit import ORDER, audit
from mhc_diag.sources.checkpoint.audit.seen import Seen, fingerprint
from mhc_diag.sources.checkpoint.gathered import gather
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.checkpoint.recognised import recognise
from mhc_diag.sources.files.tensors import open_tensors
from mhc_diag.sources.readings.zero import Zero

HEALTHY = {"moved", "dtypes"}
KINDS = ("attn", "ffn")
CHANNELS = 8
Tensors = dict[str, torch.Tensor]


def name(site: int, part: str) -> str:
    return f"layers.{site // 2}.hc_{KINDS[site % 2]}_{part}"


def label(site: int) -> str:
    return f"layers.{site // 2}.{KINDS[site % 2]}"


def healthy(sites: int = 6, n: int = 4) -> Tensors:
    """A trained model of DeepSeek's naming."""
    draw = torch.Generator().manual_seed(0)
    rows = n * n + 2 * n
    return {
        name(site, part): numbers
        for site in range(sites)
        for part, numbers in {
            "base": torch.randn(rows, generator=draw),
            "scale": 1 + 0.1 * torch.randn(3, generator=draw),
            "fn": 0.02 * torch.randn(rows, n * CHANNELS, generator=draw),
        }.items()
    }


def started(sites: int = 6, n: int = 4) -> Tensors:
    """The same before the first step, as transformers initialises it."""
    tensors = healthy(sites, n)
    for site in range(sites):
        tensors[name(site, "base")].zero_()
        tensors[name(site, "scale")].fill_(1)
    return tensors


def squares(matrices: Any) -> Tensors:
    return {f"layers.{i}.mix": torch.as_tensor(m, dtype=torch.float32) for i, m in enumerate(matrices)}


def mixed(count: int, n: int = 4) -> list[Any]:
    """Doubly stochastic, all different."""
    shift = np.roll(np.eye(n), 1, axis=0)
    return [(0.9 - 0.01 * i) * np.eye(n) + (0.1 + 0.01 * i) * shift for i in range(count)]


def observed(tensors: Tensors, folder: Path) -> dict[str, list[Observation]]:
    """By check, in the order in which they are said."""
    path = folder / "x.safetensors"
    safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    found: dict[str, list[Observation]] = {}
    for item in scan_checkpoint(path).provenance.audit:
        found.setdefault(item.check, []).append(item)
    assert [*found] == sorted(found, key=ORDER.index)
    return found


def only(tensors: Tensors, check: str, folder: Path, beside: set[str] = HEALTHY) -> Observation:
    """The one observation that a healthy checkpoint does not give."""
    found = observed(tensors, folder)
    assert set(found) == {check} | beside
    (item,) = found[check]
    return item


def test_of_a_healthy_checkpoint_two_lines_are_left(tmp_path: Path) -> None:
    found = observed(healthy(), tmp_path)
    assert set(found) == HEALTHY
    assert found["dtypes"][0].text == "all mixing parameters are float32"


def test_the_distance_moved_is_that_of_plain_matrices(tmp_path: Path) -> None:
    (item,) = observed(tensors := healthy(), tmp_path)["moved"]
    stack = scan_checkpoint(tmp_path / "x.safetensors")
    start = np.full((4, 4), 0.25)  # Sinkhorn of equal logits
    distances = [float(np.sqrt(((m - start) ** 2).sum())) for m in stack.matrices[:, 0]]
    low, middle, high = min(distances), float(np.median(distances)), max(distances)
    assert len(tensors) == 18 and item.where == "all 6 sites"
    assert item.text.startswith(f"M is {low:.3f} to {high:.3f}, median {middle:.3f}, ")
    assert item.text.endswith(f"furthest {label(int(np.argmax(distances)))}")


# numbers that no training writes


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.nan, "1 NaN number"), (np.inf, "1 infinite number"), (-np.inf, "1 infinite number")],
)
@pytest.mark.parametrize("part", ["base", "fn"])
def test_a_number_that_is_not_finite(part: str, value: float, told: str, tmp_path: Path) -> None:
    tensors = healthy()
    tensors[name(3, part)].view(-1)[5] = value
    item = only(tensors, "not-finite", tmp_path)
    assert (item.where, item.text) == (name(3, part), told)


def test_numbers_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    tensors = healthy()
    tensors[name(3, "base")][:3] = torch.tensor([np.nan, np.inf, np.nan])
    tensors[name(4, "fn")][0, :2] = -np.inf
    item = only(tensors, "not-finite", tmp_path)
    assert item.where == f"2 tensors, first {name(3, 'base')}"
    assert item.text == "2 NaN and 3 infinite numbers"


@pytest.mark.parametrize("value", [1.1e4, -3e38])
def test_a_huge_number(value: float, tmp_path: Path) -> None:
    tensors = healthy()
    tensors[name(1, "base")][0] = value  # of `pre`: M is as before
    assert only(tensors, "uninitialised", tmp_path).where == name(1, "base")
    tensors[name(1, "base")][0] = 9e3
    assert set(observed(tensors, tmp_path)) == HEALTHY


def test_memory_that_holds_integers(tmp_path: Path) -> None:
    tensors = healthy()
    tensors[name(2, "base")][:4] = torch.tensor([1, 2, 0, 7], dtype=torch.int32).view(torch.float32)
    item = only(tensors, "uninitialised", tmp_path)
    assert item.where == name(2, "base") and item.text.startswith(
        "3 numbers that are not 0 and below 1.2e-38"
    )
    tensors[name(2, "base")][:4] = torch.tensor([1e-30, -1e-37, 0, 1e-8])
    assert set(observed(tensors, tmp_path)) == HEALTHY


def test_float16_has_small_numbers_of_its_own(tmp_path: Path) -> None:
    tensors = {key: numbers.half() for key, numbers in healthy().items()}
    tensors[name(2, "base")][0] = 6e-8
    assert "uninitialised" not in observed(tensors, tmp_path)


def test_a_scale_of_zero(tmp_path: Path) -> None:
    tensors = healthy()
    tensors[name(5, "scale")].zero_()
    item = only(tensors, "all-zero", tmp_path)
    assert item.where == label(5) and item.text.startswith(
        "scale is all zero, and the code starts from other"
    )
    tensors[name(5, "scale")][2] = 1e-3
    assert set(observed(tensors, tmp_path)) == HEALTHY


def test_directions_of_zero(tmp_path: Path) -> None:
    tensors = healthy()
    tensors[name(0, "fn")].zero_()
    tensors[name(4, "fn")].zero_()
    item = only(tensors, "reads-nothing", tmp_path)
    assert item.where == f"2 of 6 sites, first {label(0)}"
    assert item.text == "fn is all zero: the mixing does not depend on the streams"
    tensors[name(0, "fn")][0, 0] = tensors[name(4, "fn")][0, 0] = 1e-6
    assert set(observed(tensors, tmp_path)) == HEALTHY


def test_a_base_of_zeros_is_an_ordinary_start(tmp_path: Path) -> None:
    assert "all-zero" not in observed(started(), tmp_path)


def test_a_matrix_of_zeros(tmp_path: Path) -> None:
    matrices = mixed(4)
    matrices[2] = np.zeros((4, 4))
    item = only(squares(matrices), "all-zero", tmp_path, beside={"dtypes"})
    assert item.where == "layers.2.mix" and item.text.startswith("M is 0")
    matrices[2][0, 0] = 1e-3
    assert set(observed(squares(matrices), tmp_path)) == {"dtypes"}


# mixing that has stopped


def with_logits(tensors: Tensors, site: int, logits: Any) -> Tensors:
    tensors[name(site, "base")][8:] = torch.as_tensor(logits, dtype=torch.float32).reshape(-1)
    return tensors


def test_dead_mixing(tmp_path: Path) -> None:
    hard = np.zeros((4, 4))
    hard[0, 1] = -31.0  # far from a permutation: one entry alone has died
    item = only(with_logits(healthy(), 3, hard), "dead-mixing", tmp_path)
    assert item.where == label(3) and "logits lie up to 31.0 apart" in item.text
    hard[0, 1] = -29.0
    assert set(observed(with_logits(healthy(), 3, hard), tmp_path)) == HEALTHY


def test_the_widest_of_several_is_named(tmp_path: Path) -> None:
    hard = np.zeros((4, 4))
    hard[0, 1] = -40.0
    tensors = with_logits(with_logits(healthy(), 1, hard), 4, 1.5 * hard)
    item = only(tensors, "dead-mixing", tmp_path)
    assert item.where == f"2 of 6 sites, first {label(1)}"
    assert f"60.0 apart at {label(4)}" in item.text


def test_a_range_that_the_projection_takes_out_is_not_dead(tmp_path: Path) -> None:
    rows, columns = 15 * np.arange(4.0), 7 * np.arange(4.0)
    tensors = with_logits(healthy(), 3, columns[None] - rows[:, None] + np.eye(4))
    assert set(observed(tensors, tmp_path)) == HEALTHY


@pytest.mark.parametrize(
    ("order", "told"), [([0, 1, 2, 3], "M is the identity"), ([1, 0, 3, 2], "M is a permutation")]
)
def test_a_permutation(order: list[int], told: str, tmp_path: Path) -> None:
    matrices = mixed(4)
    matrices[1] = np.eye(4)[order] * (1 - 5e-7)
    item = only(squares(matrices), "permutation", tmp_path, beside={"dtypes"})
    assert item.where == "layers.1.mix" and item.text.startswith(told)
    matrices[1] = np.eye(4)[order] * (1 - 3e-6)
    assert set(observed(squares(matrices), tmp_path)) == {"dtypes"}


def test_permutations_of_a_model_are_one_line_for_each_kind(tmp_path: Path) -> None:
    matrices = [*mixed(2), *(np.eye(4) * (1 + 1e-7 * i) for i in range(3)), np.eye(4)[[1, 2, 3, 0]]]
    found = observed(squares(matrices), tmp_path)["permutation"]
    assert [item.where for item in found] == ["layers.5.mix", "3 of 6 sites, first layers.2.mix"]


def test_rows_that_take_the_same_stream(tmp_path: Path) -> None:
    matrices = mixed(4)
    matrices[0] = np.eye(4)[[0, 0, 2, 3]]
    item = only(squares(matrices), "one-hot-rows", tmp_path, beside={"dtypes"})
    assert item.where == "layers.0.mix"
    matrices[0] = np.eye(4)[[0, 0, 2, 3]] - 1e-3
    assert set(observed(squares(matrices), tmp_path)) == {"dtypes"}


class Unmixed:
    """A layout whose code passes the streams on: M = I whatever it stores."""

    TITLE, GENERIC = "unmixed", False

    def __init__(self) -> None:
        from mhc_diag.sources.families import square

        self.VARIANTS, self.settings = square.VARIANTS, square.settings

    def build(self, sites: Any, tensors: Any, values: Any, variant: str, settings: Any) -> Any:
        from mhc_diag.sources.families import Mixing

        return Mixing(np.broadcast_to(np.eye(4), (len(sites), 1, 4, 4)).copy())


def directly(tensors: Tensors, folder: Path, **changes: Any) -> dict[str, Observation]:
    """The audit of a file whose recognised layout is changed."""
    path = folder / "x.safetensors"
    safetensors.torch.save_file(tensors, path)
    file, seen = open_tensors(path), Seen()
    found = replace(recognise(file, Options()), **changes)
    gathered = gather(file, found.sites, found.family, Zero(), seen.look)
    (variant,) = found.variants
    settings = found.family.settings(None, variant)
    return {item.check: item for item in audit(file, found, variant, settings, gathered.tensors, seen)}


def test_a_layout_that_never_mixes_is_no_finding(tmp_path: Path) -> None:
    tensors = squares(mixed(4))
    assert set(directly(tensors, tmp_path, family=Unmixed())) == {"dtypes"}


# how far it has moved


def test_sites_that_have_not_moved(tmp_path: Path) -> None:
    tensors, fresh = healthy(), started()
    for site in (1, 4):
        tensors |= {name(site, part): fresh[name(site, part)] for part in ("base", "scale")}
    item = only(tensors, "unmoved", tmp_path)
    assert item.where == f"2 of 6 sites, first {label(1)}"
    for site in (1, 4):
        tensors[name(site, "base")][-1] = 1e-6
    assert set(observed(tensors, tmp_path)) == HEALTHY


def test_a_model_that_was_never_trained(tmp_path: Path) -> None:
    found = observed(started(), tmp_path)
    assert set(found) == {"unmoved", "dtypes"}
    assert found["unmoved"][0].where == "all 6 sites"


def test_mixing_that_stays_while_gates_move(tmp_path: Path) -> None:
    tensors = healthy()
    for site in range(6):
        tensors[name(site, "base")][8:] = 0
    item = only(tensors, "mixing-unmoved", tmp_path, beside={"dtypes"})
    assert item.where == "all 6 sites" and item.text.startswith("the static part of M is as the code init")


def test_an_initialisation_in_bfloat16_has_not_moved() -> None:
    from mhc_diag.sources.checkpoint.audit.moved import _equal

    start = np.array([0.01, 1.0, -8.0])
    stored = torch.tensor(start).bfloat16()
    assert _equal(stored.float().numpy(), start, "bfloat16")
    assert not _equal(stored.float().numpy(), start, "float32")
    moved = torch.nextafter(stored, torch.tensor(1.0, dtype=torch.bfloat16))
    assert not _equal(moved.float().numpy(), start, "bfloat16")


# equal sites


def tied(tensors: Tensors, one: int, other: int) -> Tensors:
    return tensors | {name(other, part): tensors[name(one, part)].clone() for part in ("base", "scale", "fn")}


def test_tied_sites(tmp_path: Path) -> None:
    tensors = tied(healthy(), 0, 3)
    assert only(tensors, "identical", tmp_path).where == f"{label(0)} and {label(3)}"
    tensors[name(3, "fn")][5, 7] += 1e-6  # in what is large
    assert set(observed(tensors, tmp_path)) == HEALTHY


def test_what_has_not_moved_is_equal_for_that_reason(tmp_path: Path) -> None:
    tensors = started()
    for site in range(6):
        tensors[name(site, "fn")].zero_()
    assert set(observed(tensors, tmp_path)) == {"unmoved", "reads-nothing", "dtypes"}
    for site in range(6):
        tensors[name(site, "fn")].fill_(0.02)  # drawn once and copied
    assert set(observed(tensors, tmp_path)) == {"unmoved", "identical", "dtypes"}


def test_several_pairs_are_one_line(tmp_path: Path) -> None:
    tensors = tied(tied(healthy(8), 0, 3), 4, 5)
    item = only(tensors, "identical", tmp_path)
    assert item.where == f"4 sites in 2 groups, such as {label(0)} and {label(3)}"


def test_all_sites_alike_are_one_line(tmp_path: Path) -> None:
    item = only(squares([mixed(1)[0]] * 6), "identical", tmp_path, beside={"dtypes"})
    assert item.where == "all 6 sites"


def test_alike_matrices_of_one_stack(tmp_path: Path) -> None:
    a, b, c, d = (torch.as_tensor(m, dtype=torch.float32) for m in mixed(4))
    item = only({"mix": torch.stack([a, b, c, b, d])}, "identical", tmp_path, beside={"dtypes"})
    assert item.where == "mix[1] and mix[3]"
    assert set(observed({"mix": torch.stack([a, b, c, d])}, tmp_path)) == {"dtypes"}


@pytest.mark.parametrize("place", [0, 50_000, 99_999])
def test_the_fingerprint_of_a_large_array_sees_one_bit(place: int) -> None:
    numbers = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    other = numbers.copy()
    other.view(np.uint32)[place] ^= 1
    assert fingerprint(numbers) == fingerprint(numbers.copy()) != fingerprint(other)
    assert fingerprint(numbers) != fingerprint(numbers.reshape(100, 1000))


# dtypes


@pytest.mark.parametrize(
    ("dtype", "told"),
    [
        (torch.bfloat16, "bfloat16: numbers up to 8 are off by up to 0.031"),
        (torch.float16, "float16: numbers up to 8 are off by up to 0.0039"),
    ],
)
def test_small_parameters_in_low_precision(dtype: torch.dtype, told: str, tmp_path: Path) -> None:
    tensors = healthy()
    for site in range(6):
        tensors[name(site, "base")][0] = 8
        tensors[name(site, "base")] = tensors[name(site, "base")].to(dtype)
    found = observed(tensors, tmp_path)
    assert set(found) == {"low-precision", *HEALTHY}
    (item,) = found["low-precision"]
    assert item.where == "base" and item.text.startswith(told)
    short = str(dtype).removeprefix("torch.")
    assert found["dtypes"][0].text == f"mixing parameters: base {short}, scale and fn float32"


def test_directions_in_low_precision_have_another_effect(tmp_path: Path) -> None:
    tensors = {k: v.bfloat16() if k.endswith("fn") else v for k, v in healthy().items()}
    item = only(tensors, "low-precision-reads", tmp_path)
    assert item.where == "fn"
    assert item.text == "bfloat16: what it reads off the streams is rounded by up to 0.4%"


def test_one_role_in_two_dtypes(tmp_path: Path) -> None:
    tensors = healthy()
    tensors[name(2, "scale")] = tensors[name(2, "scale")].double()
    item = only(tensors, "mixed-dtypes", tmp_path)
    assert item.text == "scale is float32 at 5 and float64 at 1 sites"


def test_the_effect_on_sums_is_what_bfloat16_does() -> None:
    """Half the largest relative rounding, as the text says, is what four entries that sum to 1 show."""
    from mhc_diag.sources.checkpoint.audit.precision import rounding

    draw = torch.Generator().manual_seed(1)
    rows = torch.softmax(torch.randn(4000, 4, generator=draw, dtype=torch.float64), -1)
    for dtype, word in ((torch.bfloat16, "bfloat16"), (torch.float16, "float16")):
        off = (rows.to(dtype).double().sum(-1) - 1).abs().reshape(-1, 8).max(-1)[0].median()
        assert 0.5 < float(off) / (rounding(word) / 2) < 2


# what is stored and not used


def test_unused_parameters(tmp_path: Path) -> None:
    found = directly(squares(mixed(4)), tmp_path, unused=("a.static_alpha", "b.\x1b[31m"))
    assert found["unused"].where == "2 tensors, first a.static_alpha"
    assert set(directly(squares(mixed(4)), tmp_path)) == {"dtypes"}


def test_names_are_safe_to_print(tmp_path: Path) -> None:
    matrices = [torch.full((4, 4), np.nan), torch.eye(4)]
    found = observed({f"\x1b[2J.{i}.mix": m for i, m in enumerate(matrices)}, tmp_path)
    assert found["not-finite"][0].where == r"\x1b[2J.0.mix"


def test_the_page_describes_every_check() -> None:
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == list(ORDER)
