"""mHC-lite's code and its descendants, written out slowly: how a site turns streams into its matrix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from mhc_diag.records import MixingStack
from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.checkpoint.options import Options

Floats = np.ndarray[Any, Any]
WIDTH = 6
LAYERS = (2, 10, 0, 11, 1)


def site(rng: np.random.Generator, n: int, static: tuple[int, ...]) -> dict[str, Any]:
    """Tensors of one site as the code names them."""
    numbers = int(np.prod(static))
    return {
        "static_alpha": rng.standard_normal(static),
        "dynamic_alpha_fn": rng.standard_normal((n * WIDTH, numbers)),
        "pre_branch_scale": rng.standard_normal(1),
        "residual_scale": 0.1 * rng.standard_normal(1),
        "static_beta": rng.standard_normal(n),
        "dynamic_beta_fn": rng.standard_normal((n * WIDTH, n)),
        "h_post_scale": rng.standard_normal(()),
        "norm.gamma": rng.standard_normal(n * WIDTH),
    }


def checkpoint(n: int, static: tuple[int, ...]) -> dict[str, Any]:
    """Names as those of nanoGPT, the layers shuffled and the FFN first."""
    rng = np.random.default_rng(8)
    return {
        f"transformer.h.{layer}.hc_{kind}.{name}": np.asarray(array, np.float32)
        for layer in LAYERS
        for kind in ("mlp", "attn")
        for name, array in site(rng, n, static).items()
    }


def shapes(tensors: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in tensors.items()}


def labels() -> list[str]:
    return [f"transformer.h.{layer}.hc_{kind}" for layer in sorted(LAYERS) for kind in ("attn", "mlp")]


def softmax(x: Floats) -> Floats:
    return np.exp(x) / np.exp(x).sum()


def check(
    n: int, static: tuple[int, ...], folder: Path, matrix: Callable[[Floats, Floats, float], Floats]
) -> MixingStack:
    """Without streams and at given ones, a file reads as `matrix(static, dynamic, residual_scale)` says.

    Args:
        n: streams.
        static: shape of `static_alpha`.
        folder: for files.
        matrix: from static numbers, those read off a token, and the scale, to H.
    """
    tensors = checkpoint(n, static)
    safetensors.numpy.save_file(tensors, folder / "x.safetensors")
    streams = np.random.default_rng(9).standard_normal((5, n, WIDTH))
    np.save(folder / "streams.npy", streams)
    still = scan_checkpoint(folder / "x.safetensors")
    moved = scan_checkpoint(folder / "x.safetensors", Options(activations=folder / "streams.npy"))
    assert [s.label for s in still.sites] == labels()
    for k, label in enumerate(labels()):
        t = {
            name: tensors[f"{label}.{name}"].astype(np.float64)
            for name in site(np.random.default_rng(), n, static)
        }
        nothing = np.zeros(t["static_alpha"].size)
        np.testing.assert_allclose(
            still.matrices[k, 0], matrix(t["static_alpha"], nothing, 1.0).T, rtol=0, atol=1e-12
        )
        for token, x in enumerate(streams):
            flat = x.reshape(-1)
            normed = flat / np.sqrt((flat * flat).sum()) * np.sqrt(n * WIDTH) * (t["norm.gamma"] + 1)
            read = normed @ t["dynamic_alpha_fn"]
            h = matrix(t["static_alpha"], read, float(t["residual_scale"][0]))
            np.testing.assert_allclose(moved.matrices[k, token], h.T, rtol=0, atol=1e-9)
            beta = t["static_beta"] + float(t["h_post_scale"]) * (normed @ t["dynamic_beta_fn"])
            np.testing.assert_allclose(moved.post[k, token], 2 / (1 + np.exp(-beta)), atol=1e-9)
            pre = _pre(t, read, n)
            np.testing.assert_allclose(moved.pre[k, token], 1 / (1 + np.exp(-pre)), atol=1e-9)
    assert moved.matrices.std(axis=1).max() > 1e-3
    assert moved.caps is not None
    assert (moved.matrices.sum(axis=-1).max(axis=(1, 2)) <= moved.caps.rows * (1 + 1e-12)).all()
    assert (moved.matrices.sum(axis=-2).max(axis=(1, 2)) <= moved.caps.columns * (1 + 1e-12)).all()
    return moved


def _pre(t: dict[str, Floats], read: Floats, n: int) -> Floats:
    numbers = t["static_alpha"].reshape(-1) + float(t["pre_branch_scale"][0]) * read
    return numbers[:n] if t["static_alpha"].ndim == 1 else numbers.reshape(n, -1)[:, 0]
