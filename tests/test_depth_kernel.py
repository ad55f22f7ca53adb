"""The depth kernel in a report."""

import math

import numpy as np
import pytest
import torch

from mhc_diag import schema
from mhc_diag.analyse import analyse
from mhc_diag.maths.kernel import depth_kernel
from mhc_diag.records import MixingStack, Provenance, Report, Site, Triangle
from mhc_diag.render.table import render

DEPTH, TOKENS, N = 5, 7, 3


def _stack(scale: float = 1.0) -> MixingStack:
    rng = np.random.default_rng(0)
    return MixingStack(
        name="drawn",
        matrices=scale * rng.normal(size=(DEPTH, TOKENS, N, N)),
        sites=tuple(Site(f"layers.{i}", "mlp", i) for i in range(DEPTH)),
        provenance=Provenance("a test", "observed", "drawn", "direct", "token", (TOKENS,)),
        pre=rng.normal(size=(DEPTH, TOKENS, N)),
        post=rng.normal(size=(DEPTH, TOKENS, N)),
    )


def _triangle(report: Report, statistic: str) -> Triangle:
    (found,) = (t for t in report.triangles if (t.metric, t.statistic) == ("depth_kernel", statistic))
    return found


def test_statistics_over_tokens_and_the_largest_entry() -> None:
    stack = _stack()
    report = analyse(stack)
    sizes = np.abs(depth_kernel(stack.matrices, stack.pre, stack.post))
    above = np.triu_indices(DEPTH, 1)
    for statistic, expected in (("max", sizes.max(axis=0).T), ("mean", sizes.mean(axis=0).T)):
        log10 = _triangle(report, statistic).log10
        assert np.allclose(10 ** log10[above], expected[above])
        assert np.isnan(log10[np.tril_indices(DEPTH)]).all()
    scalar = report.scalar("depth_kernel_max")
    assert scalar is not None
    _, k, j = np.unravel_index(sizes.argmax(), sizes.shape)
    assert scalar.value == pytest.approx(sizes.max())
    assert scalar.title == f"largest |K|, from the branch of layers.{j}.mlp to that of layers.{k}.mlp"
    text = render([report], width=200)
    assert scalar.title in text
    assert "= |K_kj|" in text


def test_what_is_not_known_is_left_out() -> None:
    stack = _stack()
    whole = np.abs(depth_kernel(stack.matrices, stack.pre, stack.post))
    assert stack.pre is not None
    assert stack.post is not None
    stack.pre[3] = np.nan
    stack.post[1, 2:] = np.nan
    log10 = _triangle(analyse(stack), "max").log10
    assert np.isnan(log10[:, 3]).all()
    assert 10 ** log10[1, 2] == pytest.approx(whole[:2, 2, 1].max())
    assert 10 ** log10[0, 4] == pytest.approx(whole[:, 4, 0].max())


def test_a_matrix_that_is_no_number_is_not_averaged_away() -> None:
    stack = _stack()
    stack.matrices[2, 0] = np.nan
    report = analyse(stack)
    scalar = report.scalar("depth_kernel_max")
    assert scalar is not None
    assert math.isnan(scalar.value)
    log10 = _triangle(report, "max").log10
    assert np.isnan(log10[1, 3])
    assert np.isfinite(log10[0, 1])


def test_gains_beyond_float64() -> None:
    plain, large = (_triangle(analyse(_stack(scale)), "mean").log10 for scale in (1.0, 1e200))
    above = np.triu_indices(DEPTH, 1)
    between = np.subtract(*above[::-1]) - 1  # so many matrices lie between branch j and branch k
    assert np.allclose(large[above], plain[above] + 200 * between)


def test_not_known_at_all_or_not_asked_for() -> None:
    stack = _stack()
    assert not analyse(stack, metrics=("paper",)).triangles
    unknown = MixingStack("drawn", stack.matrices, stack.sites, stack.provenance, pre=stack.pre)
    assert not analyse(unknown).triangles
    assert analyse(unknown).scalar("depth_kernel_max") is None


def test_survives_a_file_and_comes_from_tensors_too() -> None:
    stack = _stack()
    report = analyse(stack)
    (again,) = schema.from_document(schema.to_document([report]), "a file")
    assert np.array_equal(_triangle(again, "max").log10, _triangle(report, "max").log10, equal_nan=True)
    tensors = MixingStack(
        stack.name,
        *(torch.from_numpy(stack.matrices), stack.sites, stack.provenance),
        *(torch.from_numpy(x) for x in (stack.pre, stack.post)),
    )
    assert np.allclose(
        _triangle(analyse(tensors), "max").log10, _triangle(report, "max").log10, equal_nan=True
    )
