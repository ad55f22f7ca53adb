"""Published formulas written out, one site and one token at a time."""

from typing import Any

import numpy as np


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def normalise(m: Any, axis: int, eps: float, floor: bool) -> Any:
    sums = m.sum(axis=axis, keepdims=True)
    return m / (np.maximum(sums, eps) if floor else sums + eps)


def deepseek(z: Any, iterations: int, eps: float) -> Any:
    """Softmax of rows plus eps, columns, then rows and columns."""
    m = np.stack([np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in z]) + eps
    m = normalise(m, 0, eps, False)
    for _ in range(iterations - 1):
        m = normalise(normalise(m, 1, eps, False), 0, eps, False)
    return m


def megatron(z: Any, iterations: int, eps: float) -> Any:
    """The exponential, then rows and columns, with sums of at least eps."""
    m = np.stack([np.exp(row - row.max()) for row in z])
    for _ in range(iterations):
        m = normalise(normalise(m, 1, eps, True), 0, eps, True)
    return m


def normalised(streams: Any) -> Any:
    """The n streams of one token (n, C), flattened, with a root mean square of 1."""
    flat = np.asarray(streams, np.float64).reshape(-1)
    return flat / np.sqrt((flat**2).mean())


def split(base: Any, scale: Any, fn: Any, streams: Any) -> tuple[Any, Any, Any]:
    """The logits of pre (n), post (n) and the mixing (n, n) of one token, whose streams may be None."""
    base, scale = np.asarray(base, np.float64), np.asarray(scale, np.float64)
    n = round((len(base) + 1) ** 0.5) - 1
    read = 0 * base if streams is None else np.asarray(fn, np.float64) @ normalised(streams)
    z = [base[i] + scale[0 if i < n else 1 if i < 2 * n else 2] * read[i] for i in range(len(base))]
    return np.array(z[:n]), np.array(z[n : 2 * n]), np.array(z[2 * n :]).reshape(n, n)


def agree(made: Any, token: int, expected: dict[str, Any]) -> None:
    """Whether what a layout made for its first site is what was written out."""
    for name, numbers in expected.items():
        np.testing.assert_allclose(getattr(made, name)[0, token], numbers, rtol=0, atol=1e-12, err_msg=name)


def seen(family: Any, site: Any, tensors: Any, streams: Any) -> Any:
    """What a site reads off (T, n, C) streams, as a scan of saved activations would have it: (1, T, 1, R)."""
    weight = family.read(site, tensors).weight.astype(np.float64)
    return np.stack([weight @ normalised(token) for token in streams])[None, :, None]


def hold(family: Any, site: Any, tensors: Any, variant: str, settings: Any, reach: Any, streams: Any) -> None:
    """No matrix of any token has a sum above the layout's bounds."""
    caps = family.caps([site], [tensors], reach[None], variant, settings)
    values = seen(family, site, tensors, streams)
    assert (np.abs(values) <= reach * (1 + 1e-12)).all()
    m = family.build([site], [tensors], values, variant, settings).matrices
    assert m.sum(axis=-1).max() <= caps.rows[0] * (1 + 1e-12)
    assert m.sum(axis=-2).max() <= caps.columns[0] * (1 + 1e-12)
    assert min(caps.rows[0], caps.columns[0]) == 1
