"""Codes and labels, against plain indexing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mhc_diag.sources.probe.layout import Labels, decode, encode
from mhc_diag.sources.probe.space import Space

T, C, M = 6, 9, 4


def labels_of(order: str) -> Labels:
    """Labels of memory whose axes are token t, channel c, stream m in the order given."""
    space = Space.of(torch.empty(2, 3, C))
    label = (torch.arange(T)[:, None, None] * C + torch.arange(C)[:, None]).expand(T, C, M)
    axes = ["tcm".index(a) for a in order]
    return Labels(label.permute(axes).contiguous().view(-1).int(), space)


@pytest.mark.parametrize("order", ["tmc", "mtc", "tcm", "cmt", "mct"])
def test_memory_in_any_order_gathers_to_tokens_channels_streams(order: str) -> None:
    labels = labels_of(order)
    values = np.arange(T * C * M, dtype=np.float32).reshape(T, C, M)
    memory = torch.from_numpy(values.transpose(["tcm".index(a) for a in order]).copy()).view(-1)
    assert labels.streams == M
    assert np.array_equal(labels.gather(memory).numpy(), values)
    assert torch.equal(labels.scatter(torch.from_numpy(values)), memory)


def test_irregular_memory() -> None:
    labels = labels_of("tmc")
    order = torch.randperm(T, generator=torch.Generator().manual_seed(0))
    moved = Labels(labels.flat.view(T, -1)[order].view(-1), labels.space)
    assert moved.strides is None and moved.streams == M
    memory = torch.arange(T * C * M, dtype=torch.float32)
    assert torch.equal(moved.scatter(moved.gather(memory)), memory)
    values = moved.gather(memory)  # token t now lies where it was moved to, its streams as before
    assert torch.equal(values[order], labels.gather(memory))


@pytest.mark.parametrize("move", [lambda x: x.roll(1, 0), lambda x: x.roll(1, 1), lambda x: x.flip(1)])
def test_a_stream_that_was_moved_alone_is_no_longer_told_apart(move: Callable[[Tensor], Tensor]) -> None:
    label = labels_of("tmc").flat.view(T, M, C).clone()
    label[:, 2] = move(label[:, 2])
    assert Labels(label.view(-1), labels_of("tmc").space).streams == 0


@pytest.mark.parametrize("streams", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("turns", [2, 3, 5])
def test_no_period_of_the_channels_falls_together_with_the_code(streams: int, turns: int) -> None:
    channels = streams * turns + 1
    marks = Space.of(torch.empty(1, channels)).marks(streams)
    assert sorted(marks[: streams * turns].tolist()) == sorted([*range(streams)] * turns)
    channel = torch.arange(channels)
    for period in range(2, streams + 1):
        seen = [len({*(channel[marks == j] % period).tolist()}) for j in range(streams)]
        assert max(seen) > 1  # a factor with this period differs between channels of one stream
    halves = 2 * channel < channels
    assert any(len({*halves[marks == j].tolist()}) == 2 for j in range(streams))


def test_labels_that_are_no_whole_number_of_streams() -> None:
    labels = labels_of("tmc")
    flat = labels.flat.clone()
    flat[0] = 1
    assert Labels(flat, labels.space).streams == 0
    assert Labels(labels.flat[:-C], labels.space).streams == 0
    flat[0] = -1
    assert not Labels(flat, labels.space).complete


def test_a_mixed_code_is_read_exactly() -> None:
    labels = labels_of("tmc")
    matrix = torch.randn(T, M, M, generator=torch.Generator().manual_seed(0))
    mixed = matrix @ encode(labels).view(T, M, C)
    read, spread = decode(mixed.reshape(-1), labels, M)
    assert torch.equal(read, matrix)  # magnitudes are powers of two: not a digit is lost
    assert spread.tolist() == [0.0] * T


def test_the_spread_bounds_what_differs_between_channels() -> None:
    labels = labels_of("tmc")
    mixed = torch.ones(M, M) @ encode(labels).view(T, M, C)
    marks = labels.space.marks(M)
    channel = int((marks == 1).nonzero()[-1])
    mixed[2, 1, channel] *= 1.5  # this channel carries the code of stream 1 + 2, as the token is the third
    read, spread = decode(mixed.reshape(-1), labels, M)
    members = int((marks == 1).sum())
    mean = (members - 1 + 1.5) / members
    assert read[2, 1, (1 + 2) % M] == pytest.approx(mean)
    assert read.sum() == pytest.approx(T * M * M + mean - 1)
    assert spread[2] == pytest.approx(1.5 - mean)
    assert spread[[0, 1, 3, 4, 5]].tolist() == [0.0] * 5


@pytest.mark.parametrize("streams", [1, 2, 3, 4])
def test_every_channel_is_seen(streams: int) -> None:
    space = Space.of(torch.empty(2, 3, 43))
    label = torch.arange(6 * 43).view(6, 1, 43).expand(6, streams, 43)
    labels = Labels(label.reshape(-1).int(), space)
    code = encode(labels)
    for channel in range(43):
        mixed = code.view(6, streams, 43).clone()
        mixed[4, :, channel] *= 1 + 2**-20
        _, spread = decode(mixed.view(-1), labels, streams)
        assert [float(s) > 0 for s in spread] == [False] * 4 + [True, False], channel


def test_memory_with_several_axes_of_tokens_is_regular() -> None:
    space = Space.of(torch.empty(2, 3, C))
    label = torch.arange(T * C).view(2, 1, 3, C).expand(2, M, 3, C)
    labels = Labels(label.reshape(-1).int(), space)
    values = np.arange(T * C * M, dtype=np.float32).reshape(T, C, M)
    memory = torch.from_numpy(values.reshape(2, 3, C, M).transpose(0, 3, 1, 2).copy()).view(-1)
    assert labels.strides == (M * 3 * C, C, 1, 3 * C)
    assert np.array_equal(labels.gather(memory).numpy(), values)
    assert torch.equal(labels.scatter(torch.from_numpy(values)), memory)
