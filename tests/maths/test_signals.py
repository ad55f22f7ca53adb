"""Random signals against autograd, against explicit branches in law, and against closed forms."""

import math

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.maths import signals
from mhc_diag.maths.signals import draw, propagate


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def plain(pair):
    value, exponent = pair
    assert (exponent == np.round(exponent)).all()
    return value * np.exp2(exponent)


def log10(pair):
    return np.log10(pair[0]) + pair[1] * math.log10(2)


def same(a, b, where=np.s_[:]):
    for found, expected in zip((*a.activation, *a.gradient), (*b.activation, *b.gradient), strict=True):
        np.testing.assert_array_equal(found[where], expected[where])


def stack(depth, stacks, n, seed=0):
    """Matrices, pre and post that treat no stream, site or direction like another."""
    return (
        np.eye(n) + 0.5 * normal(depth, stacks, n, n, seed=seed),
        normal(depth, stacks, n, seed=seed + 1),
        normal(depth, stacks, n, seed=seed + 2),
    )


# --- against other implementations ---


def branch(x, weight, pre, gain):
    u = pre @ x
    return gain * weight @ torch.nn.functional.rms_norm(u, u.shape, eps=0.0)


def tail(x, sites, gain):
    """Output of the last sites of one stack, and the input of each of them."""
    inputs = []
    for matrix, pre, post, weight in sites:
        inputs.append(x)
        x = matrix @ x + torch.outer(post, branch(x, weight, pre, gain))
    return x, inputs


def with_weights(matrices, pre, post, gain, start, end, forward, backward):
    """The sites of one stack, with an explicit W that does what the noise (f, z) says.

    W = f v^T / C + y (P z)^T / (|y| sqrt(C)): W v = f and P W^T y = P z |y| / sqrt(C). Made from the last
    on, as y = p^T delta depends on the later W.
    """
    x, channels = start, start.shape[-1]
    xs = [x]
    for matrix, p, f in zip(matrices, post, forward, strict=True):
        x = matrix @ x + gain * torch.outer(p, f)
        xs.append(x)
    sites = []
    for site in reversed(range(len(matrices))):
        leaf = xs[site + 1].clone().requires_grad_()
        output, _ = tail(leaf, sites, gain)
        (delta,) = torch.autograd.grad((end * output).sum(), leaf)
        y = post[site] @ delta
        u = pre[site] @ xs[site]
        v = u / u.square().mean().sqrt()
        across = backward[site] - v * (v @ backward[site]) / channels
        weight = torch.outer(forward[site], v) / channels
        weight = weight + torch.outer(y, across) / (y.norm() * math.sqrt(channels))
        sites.insert(0, (matrices[site], pre[site], post[site], weight))
    return sites


@pytest.mark.parametrize(("n", "channels", "gain"), [(3, 5, 1.7), (4, 16, 1.0), (2, 2, 30.0)])
def test_the_gradient_is_that_of_autograd(n, channels, gain):
    depth, stacks = 7, 3
    matrices, pre, post = stack(depth, stacks, n)
    found = propagate(matrices, pre=pre, post=post, gain=gain, channels=channels, seed=5, first=2)
    noise = draw(5, range(2, 2 + stacks), depth, n, channels)
    for k in range(stacks):
        given = (
            matrices[:, k],
            pre[:, k],
            post[:, k],
            noise.start[k],
            noise.end[k],
            *noise.branches[:, :, k],
        )
        m, h, p, start, end, forward, backward = (torch.from_numpy(a.copy()) for a in given)
        sites = with_weights(m, h, p, gain, start, end, forward, backward)
        output, inputs = tail(start.requires_grad_(), sites, gain)
        gradients = torch.autograd.grad((end * output).sum(), inputs)
        after = [x.detach().square().mean().sqrt().item() for x in [*inputs[1:], output]]
        before = [d.square().mean().sqrt().item() for d in gradients]
        np.testing.assert_allclose(plain(found.activation)[:, k], after, rtol=1e-10)
        np.testing.assert_allclose(plain(found.gradient)[:, k], before, rtol=1e-10)


def explicit(matrices, pre, post, gain, channels, seed):
    """RMS forward and backward with every W drawn whole, in plain numpy: (2, L, T)."""
    random = np.random.default_rng(seed)
    depth, stacks, n = matrices.shape[:3]
    x, delta = random.standard_normal((2, stacks, n, channels))
    x /= np.sqrt(np.mean(x**2, axis=(1, 2), keepdims=True))
    delta /= np.sqrt(np.mean(delta**2, axis=(1, 2), keepdims=True))
    weights = random.standard_normal((depth, stacks, channels, channels)) / math.sqrt(channels)
    found, us = np.empty((2, depth, stacks)), []
    for site in range(depth):
        u = np.einsum("ti,tic->tc", pre[site], x)
        us.append(u)
        f = gain * np.einsum("tab,tb->ta", weights[site], u / np.sqrt(np.mean(u**2, axis=1, keepdims=True)))
        x = np.einsum("tij,tjc->tic", matrices[site], x) + post[site][:, :, None] * f[:, None]
        found[0, site] = np.sqrt(np.mean(x**2, axis=(1, 2)))
    for site in reversed(range(depth)):
        u = us[site]
        rms = np.sqrt(np.mean(u**2, axis=1))[:, None, None]
        norm = (np.eye(channels) - u[:, :, None] * u[:, None] / (channels * rms**2)) / rms
        jacobian = gain * weights[site] @ norm
        back = np.einsum("tab,ta->tb", jacobian, np.einsum("ti,tic->tc", post[site], delta))
        delta = np.einsum("tij,tic->tjc", matrices[site], delta) + pre[site][:, :, None] * back[:, None]
        found[1, site] = np.sqrt(np.mean(delta**2, axis=(1, 2)))
    return found


def test_the_law_is_that_of_explicit_branches():
    depth, stacks, n, channels, gain = 5, 6000, 3, 4, 1.5
    matrices, pre, post = (np.broadcast_to(a, (depth, stacks, *a.shape[2:])) for a in stack(depth, 1, n))
    made = propagate(matrices, pre=pre, post=post, gain=gain, channels=channels)
    found = np.log([plain(made.activation), plain(made.gradient)])
    expected = np.log(explicit(matrices, pre, post, gain, channels, seed=1))
    for power in (1, 2, 3):
        a, b = found**power, expected**power
        error = np.sqrt((a.var(axis=-1) + b.var(axis=-1)) / stacks)
        assert (abs(a.mean(axis=-1) - b.mean(axis=-1)) < 4 * error).all()


# --- closed forms ---


def test_identity_mixing_without_branches_changes_nothing():
    found = propagate(np.broadcast_to(np.eye(4), (50, 3, 4, 4)), gain=0)
    np.testing.assert_allclose(plain(found.activation), 1, rtol=1e-14)
    np.testing.assert_allclose(plain(found.gradient), 1, rtol=1e-14)


@pytest.mark.parametrize("each", [3.0, 0.1, 1e300, 1e-300])
def test_powers_of_a_scale_without_branches(each):
    depth = 1200
    found = propagate(np.broadcast_to(each * np.eye(2), (depth, 2, 2, 2)), gain=0, channels=3)
    powers = np.arange(1, depth + 1)[:, None] * math.log10(each) * np.ones(2)
    np.testing.assert_allclose(log10(found.activation), powers, rtol=1e-11)
    np.testing.assert_allclose(log10(found.gradient), powers[::-1], rtol=1e-11)


def test_without_branches_the_mean_square_is_the_frobenius_norm_of_the_composite():
    depth, stacks, n = 6, 4000, 3
    matrices = normal(depth, n, n)
    made = propagate(np.broadcast_to(matrices[:, None], (depth, stacks, n, n)), gain=0, channels=4)
    prefix, suffix = np.eye(n), np.eye(n)
    prefixes = [(prefix := m @ prefix) for m in matrices]
    suffixes = [(suffix := suffix @ m) for m in matrices[::-1]][::-1]
    for pair, composites in ((made.activation, prefixes), (made.gradient, suffixes)):
        squares = plain(pair) ** 2
        error = squares.std(axis=-1) / math.sqrt(stacks)
        expected = [np.sum(phi**2) / n for phi in composites]
        assert (abs(squares.mean(axis=-1) - expected) < 4 * error).all()


def test_doubly_stochastic_mixing_without_branches_never_grows():
    random = np.random.default_rng(0)
    permutations = np.eye(4)[random.permuted(np.tile(np.arange(4), (40, 6, 5, 1)), axis=-1)]
    matrices = np.einsum("ltk,ltkij->ltij", random.dirichlet(np.full(5, 0.1), (40, 6)), permutations)
    found = propagate(matrices, gain=0)
    assert (np.diff(plain(found.activation), axis=0) <= 1e-15).all()
    assert (np.diff(plain(found.gradient), axis=0) >= -1e-15).all()
    assert (plain(found.activation)[-1] < 0.9).all() and (plain(found.gradient)[0] < 0.9).all()


def test_branches_add_their_variance_at_every_site():
    """Orthogonal M keep |x|, and f has mean 0 given x and E |f|^2 = g^2 C: E ms_l = 1 + l g^2 |p|^2 / n."""
    depth, stacks, n, gain = 20, 3000, 3, 0.7
    orthogonal = np.linalg.qr(normal(depth, stacks, n, n))[0]
    post = np.array([1.0, -2.0, 0.5])
    squares = plain(propagate(orthogonal, post=post, gain=gain, channels=4).activation) ** 2
    expected = 1 + gain**2 * (post @ post) / n * np.arange(1, depth + 1)
    error = squares.std(axis=-1) / math.sqrt(stacks)
    assert (abs(squares.mean(axis=-1) - expected) < 4 * error).all()


def test_decay_and_branches_balance_long_after_the_input_has_underflowed():
    """M = I/2: E ms = g^2 |p|^2 / n / (1 - 1/4) in the end; 2**-1100 of the input does not fit a float64."""
    depth, stacks = 1100, 100
    squares = plain(propagate(np.broadcast_to(np.eye(2) / 2, (depth, stacks, 2, 2)), gain=3).activation) ** 2
    late = squares[-60::20]  # 2**-20 of one another
    assert abs(late.mean() - 12) < 4 * late.std() / math.sqrt(late.size)


def test_one_channel_lets_no_gradient_through_a_norm():
    """u / rms(u) is a sign with one channel: branches move the activations, and no gradient goes through."""
    matrices, pre, post = stack(12, 3, 4)
    found = propagate(matrices, pre=pre, post=post, gain=9, channels=1)
    without = propagate(matrices, pre=pre, post=post, gain=0, channels=1)
    np.testing.assert_allclose(plain(found.gradient), plain(without.gradient), rtol=1e-9)
    assert (plain(found.activation) > plain(without.activation) * 1.01).any(axis=0).all()


# --- the ends of float64 ---


def test_ten_thousand_gaussian_sites():
    depth, n, channels = 10_000, 4, 3
    matrices = normal(depth, 1, n, n)
    found, noise = propagate(matrices, gain=0, channels=channels), draw(0, range(1), depth, n, channels)
    for pair, x, order in (
        (found.activation, noise.start[0], matrices[:, 0]),
        (found.gradient, noise.end[0], matrices[::-1, 0].mT),
    ):
        expected = []
        logarithm = 0.0
        for m in order:
            x = m @ x
            size = math.sqrt(np.mean(x**2))
            x, logarithm = x / size, logarithm + math.log10(size)
            expected.append(logarithm)
        along = log10(pair)[:, 0]
        np.testing.assert_allclose(along if pair is found.activation else along[::-1], expected, atol=1e-8)
    assert expected[-1] > 2000


def test_beside_a_huge_signal_a_branch_adds_nothing_and_a_tiny_signal_adds_nothing_to_a_branch():
    huge = propagate(np.broadcast_to(1e300 * np.eye(4), (1500, 2, 4, 4)))
    powers = 300.0 * np.arange(1, 1501)[:, None] * np.ones(2)
    np.testing.assert_allclose(log10(huge.activation), powers, rtol=1e-11)
    np.testing.assert_allclose(log10(huge.gradient)[1:], powers[::-1][1:], rtol=1e-11)
    tiny, none = (
        propagate(np.broadcast_to(each * np.eye(4), (30, 2, 4, 4)), gain=2, seed=1) for each in (1e-300, 0)
    )
    same(tiny, none)
    kicks = draw(1, range(2), 30, 4, 16).branches[0]
    np.testing.assert_allclose(plain(none.activation), 2 * np.sqrt(np.mean(kicks**2, axis=-1)), rtol=1e-14)


def test_a_branch_that_reads_a_vanishing_signal_has_a_huge_gradient():
    """The norm undoes a decay to 1e-1000: the branch reads the same, its gradient is 1e1000 times larger."""
    depth, n = 101, 3
    matrices = np.array(np.broadcast_to(np.eye(n), (depth, 2, n, n)))
    matrices[-1] = 0
    post = np.zeros((depth, 2, n))
    post[-1] = 1
    kept = propagate(matrices, post=post)
    decayed = propagate(np.where(matrices == 1, 1e-10, 0.0), post=post)
    sites = np.arange(depth)[:, None]
    np.testing.assert_allclose(log10(decayed.gradient), log10(kept.gradient) + 10 * sites, atol=1e-9)
    np.testing.assert_allclose(
        log10(decayed.activation)[:-1], -10.0 * np.ones((100, 2)) * (sites[1:]), rtol=1e-9
    )
    np.testing.assert_allclose(log10(decayed.activation)[-1], log10(kept.activation)[-1], rtol=1e-12)


def test_the_unit_of_a_stream_does_not_matter():
    """Site 0 takes stream 1 to units of 1e300; branches that read it and write to it in them do the same."""
    shape, branches = (4, 2, 2, 2), np.array([0.0, 1.0, 1.0, 1.0])[:, None, None]
    matrices = np.array(np.broadcast_to(np.eye(2), shape))
    pre = np.array([0.0, 1.0]) * branches * np.ones(shape[:3])
    even = propagate(matrices, pre=pre, post=pre)
    matrices[0, :, 1, 1] = 1e-300
    found, noise = propagate(matrices, pre=pre, post=1e-300 * pre), draw(0, range(2), 4, 2, 16)
    of_stream_0 = [np.sqrt(np.mean(half[:, 0] ** 2, axis=-1) / 2) for half in (noise.start, noise.end)]
    np.testing.assert_allclose(plain(found.activation), of_stream_0[0] * np.ones((4, 2)), rtol=1e-12)
    np.testing.assert_allclose(plain(found.gradient)[1:], plain(even.gradient)[1:], rtol=1e-12)
    np.testing.assert_allclose(plain(found.gradient)[0], of_stream_0[1], rtol=1e-12)


def test_a_huge_jacobian_meets_a_tiny_gradient():
    """1e300 of the norm of a vanishing signal, times 1e-300 that is left of a gradient, is 1."""
    matrices = np.array(np.broadcast_to(np.eye(2), (3, 2, 2, 2)))
    matrices[1, :, 1, 1] = 0  # so that the branch of site 1 is all that stream 1 gets its gradient from
    branches = np.array([0.0, 1.0, 0.0])[:, None, None] * np.array([0.0, 1.0]) * np.ones((3, 2, 2))
    even = propagate(matrices, pre=branches, post=branches)
    matrices[0] *= 1e-300
    matrices[2, :, 1, 1] = 1e-300
    found = propagate(matrices, pre=branches, post=branches)
    np.testing.assert_allclose(plain(found.gradient)[1], plain(even.gradient)[1], rtol=1e-12)


def test_what_only_the_smallest_numbers_let_through_does_not_vanish():
    matrices = np.array([np.diag([0.0, 1.0])] + [np.diag([1.0, 2.0**-1040])] * 40)[
        :, None
    ]  # 34 bits are left
    found = propagate(matrices, gain=0)
    expected = -1040.0 * np.arange(41) * math.log10(2)
    np.testing.assert_allclose(log10(found.activation)[1:, 0], expected[1:], rtol=1e-3)
    mirrored = log10(propagate(matrices[::-1], gain=0).gradient)[::-1, 0]
    np.testing.assert_allclose(mirrored[1:], expected[1:], rtol=1e-3)


def test_a_branch_of_nothing_is_nothing():
    matrices = stack(6, 2, 3)[0]
    silent = propagate(matrices, gain=0)
    same(propagate(matrices, pre=np.zeros(3), gain=2), silent)  # f(0) = 0, where a norm without eps has 0/0
    same(propagate(matrices, post=np.zeros(3), gain=2), silent)
    dead = propagate(np.zeros((3, 2, 4, 4)), post=np.zeros(4))
    assert (dead.activation[0] == 0).all() and (dead.gradient[0] == 0).all()


def test_the_scale_of_reading_does_not_matter():
    matrices, pre, post = stack(9, 2, 4)
    same(
        propagate(matrices, pre=pre, post=post),
        propagate(matrices, pre=np.ldexp(pre, -900), post=post),
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_touches_no_other_stack(bad):
    matrices = stack(20, 3, 4)[0]
    clean = propagate(matrices)
    matrices[11, 1, 2, 3] = bad
    found = propagate(matrices)
    same(found, clean, np.s_[:, [0, 2]])
    np.testing.assert_array_equal(found.activation[0][:11], clean.activation[0][:11])
    assert not np.isfinite(found.activation[0][11:, 1]).any()
    assert not np.isfinite(found.gradient[0][:12, 1]).any()


# --- what is drawn ---


@pytest.mark.parametrize(("n", "channels"), [(4, 16), (3, 5), (2, 1)])
def test_groups_and_blocks_change_no_bit(monkeypatch, n, channels):
    depth, stacks = 9, 11
    matrices, pre, post = stack(depth, stacks, n)
    whole = propagate(matrices, pre=pre, post=post, channels=channels, seed=3)
    for low, high in ((0, 1), (1, 8), (8, 11)):
        part = np.s_[:, low:high]
        made = propagate(matrices[part], pre=pre[part], post=post[part], channels=channels, seed=3, first=low)
        np.testing.assert_array_equal(made.activation, np.array(whole.activation)[:, :, low:high])
        np.testing.assert_array_equal(made.gradient, np.array(whole.gradient)[:, :, low:high])
    for stacks_at_once in (1, 4):
        monkeypatch.setattr(signals, "BLOCK", stacks_at_once * 2 * depth * channels)
        same(propagate(matrices, pre=pre, post=post, channels=channels, seed=3), whole)


def test_layout_changes_no_bit_and_single_precision_is_taken_as_it_is():
    matrices = stack(9, 5, 4)[0].astype(np.float32)
    expected = propagate(matrices.astype(np.float64))
    same(propagate(matrices), expected)
    same(propagate(np.asfortranarray(matrices)), expected)
    same(propagate(np.ascontiguousarray(matrices.mT).mT), expected)


def test_a_deeper_stack_starts_as_a_shallower_one():
    matrices = stack(9, 2, 4)[0]
    deep, shallow = propagate(matrices).activation, propagate(matrices[:5]).activation
    np.testing.assert_array_equal(np.array(deep)[:, :5], shallow)


def test_stacks_seeds_and_matrices_share_no_number():
    drawn = [draw(seed, range(2), 8, 4, 16) for seed in (0, 1)]
    keys = [np.array([0, stack], dtype=np.uint64) for stack in range(2)]
    matrices = [np.random.Philox(key=key, counter=stretch << 192) for key in keys for stretch in range(3)]
    numbers = [np.random.Generator(philox).standard_normal(10_000) for philox in matrices]
    for noise in drawn:
        numbers += [noise.branches, noise.start, noise.end]
        for half in (noise.start, noise.end):
            np.testing.assert_allclose(np.mean(half**2, axis=(1, 2)), 1, rtol=1e-14)
    flat = np.concatenate([a.ravel() for a in numbers])
    assert len(np.unique(flat)) == len(flat)


@pytest.mark.parametrize("wrong", [{"gain": -1.0}, {"gain": math.nan}, {"gain": math.inf}, {"channels": 0}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(MhcDiagError):
        propagate(np.ones((1, 1, 2, 2)), **wrong)
