"""Work cut into blocks: all of it once, on several threads, and nothing lost of what goes wrong there."""

import os
import threading

import numpy as np
import pytest
import torch

from mhc_diag.maths import blocks
from mhc_diag.maths.blocks import blocks_of, cores, each, lines, slices, total


def on_cores(monkeypatch, count):
    monkeypatch.setattr(blocks, "cores", lambda: count)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100, 101])
@pytest.mark.parametrize("most", [1, 2, 10, 1000])
def test_slices_cover_everything_once_and_evenly(count, most):
    made = slices(count, most)
    assert [i for piece in made for i in range(count)[piece]] == list(range(count))
    sizes = [piece.stop - piece.start for piece in made]
    assert all(0 < size <= most for size in sizes)
    assert len(sizes) == -(-count // most) or max(sizes, default=0) == sizes[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 4, 16])
@pytest.mark.parametrize("count", [1, 3, 8, 64])
def test_blocks_fit_the_cache_and_occupy_every_core(monkeypatch, n, dtype, count):
    on_cores(monkeypatch, count)
    one = n * n * np.dtype(dtype).itemsize
    for megabytes in (0.1, 1, 2, 3, 4, 5, 9, 33):
        matrices = np.broadcast_to(np.zeros((), dtype), (int(megabytes * 2**20) // one, n, n))
        sizes = [(b.stop - b.start) * one for b in blocks_of(matrices)]
        assert max(sizes) <= 4 * 2**20
        assert len(sizes) == 1 or max(sizes) >= 2**20 - one, "blocks are not smaller than they need be"
        assert len(sizes) >= min(count, int(megabytes)), "no core stands still"
        assert len(sizes) <= count or len(sizes) % count == 0, "nor does any wait for the last block"


def test_an_accelerator_takes_everything_at_once():
    assert blocks_of(torch.zeros(10**6, 4, 4, device="meta")) == [slice(0, 10**6)]


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_a_total_is_summed_from_first_to_last(n):
    planes = np.random.default_rng(0).standard_normal((n, n, 50)) * 10.0 ** np.arange(50)
    for axis in (0, 1):
        expected = np.zeros((n, 50))
        for k in range(n):
            expected = expected + planes.take(k, axis)
        for given in (planes, torch.from_numpy(planes)):
            np.testing.assert_array_equal(np.asarray(total(lines(given, axis))), expected)


def test_a_total_of_one_line_is_not_the_line():
    planes = np.ones((1, 1, 3))
    total(lines(planes, 0))[...] = 7
    assert (planes == 1).all()


def test_several_threads_work_at_the_same_time(monkeypatch):
    """Each waits for the other: one thread alone would wait for ever."""
    on_cores(monkeypatch, 2)
    meeting = threading.Barrier(2, timeout=30)
    each(lambda _: meeting.wait(), range(6))


@pytest.mark.parametrize(("count", "items", "threads"), [(1, 5, True), (4, 1, True), (4, 5, False)])
def test_no_thread_is_started_for_nothing(monkeypatch, count, items, threads):
    on_cores(monkeypatch, count)
    seen = []
    each(lambda _: seen.append(threading.current_thread()), range(items), threads=threads)
    assert seen == [threading.current_thread()] * items


def test_a_thread_starts_no_further_ones(monkeypatch):
    on_cores(monkeypatch, 2)
    outer, inner = [], []

    def work(_):
        outer.append(threading.current_thread())
        each(lambda _: inner.append(threading.current_thread()), range(5))

    each(work, range(2))
    assert set(inner) <= set(outer) and threading.current_thread() not in outer
    each(lambda _: inner.append(threading.current_thread()), range(2))
    assert not set(inner[-2:]) & {threading.current_thread()}, "the mark stays in its thread"


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_thread_raises_arrives(monkeypatch, count):
    on_cores(monkeypatch, count)
    done = []

    def work(item):
        if item == 0:
            raise KeyError("the message")
        done.append(item)

    with pytest.raises(KeyError, match="the message"):
        each(work, range(1000))
    assert len(done) < 999, "what had not begun is not begun"


def test_error_states_hold_in_threads(monkeypatch):
    on_cores(monkeypatch, 2)
    with np.errstate(divide="ignore"):
        each(lambda _: np.ones(3) / np.zeros(3), range(2))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        each(lambda _: np.ones(3) / np.zeros(3), range(2))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinities on this system")
def test_cores_are_those_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)
