"""Stacks that are all right, and what makes others of them, for the samples of the findings."""

from dataclasses import replace

import numpy as np

from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import MixingStack, Promise, Provenance, Site

STREAMS, DEPTH = 4, 24
CONSTRAINED = Promise("doubly stochastic", "rows", 20, 0.0, "a test")
FREE = Promise("", origin="a test")


def stack(matrices, logits=None, promise=CONSTRAINED, **provenance):
    """A stack of (L, n, n) or (L, T, n, n)."""
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.ndim == 3:
        matrices = matrices[:, None]
        logits = None if logits is None else logits[:, None]
    axis = "none" if matrices.shape[1] == 1 else "token"
    tokens = () if axis == "none" else matrices.shape[1:2]
    where = Provenance("a test", "observed", "made by hand", "observed", axis, tokens, promise=promise)
    sites = tuple(Site(f"layers.{k // 2}", ("attn", "mlp")[k % 2], k) for k in range(len(matrices)))
    return MixingStack("sample", matrices, sites, replace(where, **provenance), logits=logits)


def repeated(matrix, depth=DEPTH, **other):
    """The same matrix at every site."""
    return stack(np.broadcast_to(matrix, (depth, *np.shape(matrix))), **other)


def noise(*shape, seed=0):
    """Independent N(0, 1) numbers."""
    return np.random.default_rng(seed).standard_normal(shape)


def projected(logits, iterations=20, **other):
    """Logits and what Sinkhorn makes of them, columns first and rows last."""
    return stack(sinkhorn.project(logits, iterations=iterations), logits, **other)


def shift(weight, streams=STREAMS):
    """Doubly stochastic: each stream passes so much of itself on to the next one."""
    eye = np.eye(streams)
    return (1 - weight) * eye + weight * np.roll(eye, 1, axis=0)


def healthy(depth=DEPTH, **other):
    """Doubly stochastic, with a half-life of about twenty sites."""
    return repeated(shift(0.03), depth, **other)


def scaled(factor, depth=DEPTH, streams=STREAMS, **other):
    """Healthy but for a factor at every site."""
    return repeated(factor * shift(0.03, streams), depth, **other)
