"""The gate of dynamic Hyper-Connections."""

import math

import numpy as np
import pytest
import torch

from mhc_diag.maths.projections import none


def test_a_gate_adds_bounded_entries_to_the_identity():
    logits = np.array([[[0.0, 1.0], [-2.0, 1e4]]])
    expected = [[[1.0, 0.3 * math.tanh(1.0)], [-0.3 * math.tanh(2.0), 1.3]]]
    np.testing.assert_allclose(none.project(logits, gate=0.3), expected, rtol=1e-15)
    torched = none.project(torch.from_numpy(logits), gate=0.3)
    np.testing.assert_allclose(torched.numpy(), expected, rtol=1e-15)


def test_a_closed_gate_is_the_identity_and_none_is_no_gate():
    logits = np.random.default_rng(0).standard_normal((5, 3, 3))
    np.testing.assert_array_equal(none.project(logits, gate=0.0), np.broadcast_to(np.eye(3), (5, 3, 3)))
    assert none.project(logits) is logits


def test_it_is_what_hyper_connections_computes_for_a_token():
    """The package's own module (HC), weights set by hand; it applies the transpose."""
    hyper = pytest.importorskip("hyper_connections.hyper_connections")
    module = hyper.HyperConnections(3, dim=6, layer_index=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        module.dynamic_alpha_fn.copy_(torch.randn(6, 4, generator=generator))
        module.dynamic_alpha_scale.fill_(0.2)
    streams = torch.randn(3, 1, 6, generator=generator)
    normed = module.norm(streams)
    logits = (normed @ module.dynamic_alpha_fn)[:, 0, 1:]
    mixing = none.project(logits.detach(), gate=0.2).T
    _, mixed, _ = module.width_connection(streams)
    np.testing.assert_allclose(mixed[:, 0].detach(), mixing @ streams[:, 0], atol=1e-6)
