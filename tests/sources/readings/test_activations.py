"""Saved streams: what a site reads off them, written out by hand, and files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.readings import Read
from mhc_diag.sources.readings.activations import load

N, C = 4, 8
RNG = np.random.default_rng(11)
STREAMS = RNG.standard_normal((2, 3, N, C))
WEIGHT = RNG.standard_normal((5, N * C))


def by_hand(streams: np.ndarray) -> np.ndarray:
    rows = []
    for token in streams.reshape(-1, N * C):
        rms = (sum(x * x for x in token) / len(token)) ** 0.5
        rows.append([sum(w * x for w, x in zip(row, token, strict=True)) / rms for row in WEIGHT])
    return np.array(rows)[:, None]


@pytest.mark.parametrize("merged", [False, True])
def test_an_array_for_all_sites(merged: bool, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", STREAMS.reshape(2, 3, -1) if merged else STREAMS)
    reading = load(tmp_path / "x.npy")
    for site in range(2):
        values = reading.values(Read(WEIGHT, N, 1), site, f"layers.{site}.attn")
        np.testing.assert_allclose(values, by_hand(STREAMS), rtol=1e-12)


def test_each_stream_by_itself(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", STREAMS)
    values = load(tmp_path / "x.npy").values(Read(WEIGHT[:, :C], N, N), 0, "layers.0.attn")
    stream = STREAMS.reshape(-1, N, C)[4, 2]
    np.testing.assert_allclose(values[4, 2], WEIGHT[:, :C] @ stream / np.sqrt((stream**2).mean()), rtol=1e-12)


def test_streams_by_site_and_by_layer(tmp_path: Path) -> None:
    arrays = {"layers.0.attn": STREAMS, "layers.0": 3 + STREAMS, "layers.1": STREAMS[::-1].copy()}
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    reading = load(tmp_path / "x.safetensors")
    for label, streams in (
        ("layers.0.attn", STREAMS),
        ("layers.0.ffn", 3 + STREAMS),
        ("layers.1.ffn", STREAMS[::-1]),
    ):
        np.testing.assert_allclose(reading.values(Read(WEIGHT, N, 1), 0, label), by_hand(streams), rtol=1e-12)
    with pytest.raises(MhcDiagError, match="holds no streams for site layers.2.attn, only for"):
        reading.values(Read(WEIGHT, N, 1), 0, "layers.2.attn")


def test_another_number_of_tokens_at_another_site(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": STREAMS, "b": STREAMS[:1].copy()}, tmp_path / "x.safetensors")
    reading = load(tmp_path / "x.safetensors")
    reading.values(Read(WEIGHT, N, 1), 0, "a")
    with pytest.raises(MhcDiagError, match="3 tokens for site b, 6 for others"):
        reading.values(Read(WEIGHT, N, 1), 1, "b")


def test_another_width(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", STREAMS[..., :5])
    with pytest.raises(
        MhcDiagError, match=r"\(2, 3, 4, 5\) for site a, expected \(..., 4, 8\) or \(..., 32\)"
    ):
        load(tmp_path / "x.npy").values(Read(WEIGHT, N, 1), 0, "a")


def test_a_token_of_zeros_is_not_a_number(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.stack([np.zeros((N, C)), np.ones((N, C))]))
    values = load(tmp_path / "x.npy").values(Read(WEIGHT, N, 1), 0, "a")
    assert np.isnan(values[0]).all() and np.isfinite(values[1]).all()


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "cannot be read"), (b"no array", "cannot be read"), (None, "cannot be read")],
)
def test_files_that_are_no_arrays(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MhcDiagError, match=told):
        load(path)


def test_objects_and_whole_numbers_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(MhcDiagError, match="cannot be read"):
        load(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.arange(32).reshape(1, 4, 8))
    with pytest.raises(MhcDiagError, match="32 numbers of int64"):
        load(tmp_path / "y.npy")
