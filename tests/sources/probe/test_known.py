"""Labels that were met before, and shadows that go when their memory does."""

import weakref

import pytest
import torch

from mhc_diag.sources.probe.known import Known
from mhc_diag.sources.probe.memory import Memory
from mhc_diag.sources.probe.space import Space

T, M, C = 3, 4, 5


@pytest.fixture
def label() -> torch.Tensor:
    return torch.arange(T * C).view(T, 1, C).expand(T, M, C).contiguous()


def test_every_view_of_known_labels_has_its_own_values(label: torch.Tensor) -> None:
    known = Known(Space.of(torch.empty(T, C)))
    flat = known.labels(label).flat.view(T, M, C)
    for _ in range(2):  # worked out, then looked up
        for view in (flat, flat[:, 1], flat[1], flat[2], flat[:, :, 1:], flat[..., :4], flat.mT, flat[:1]):
            assert torch.equal(known.labels(view).flat, view.reshape(-1))
            for axis in range(view.ndim):
                same = bool((view == view.narrow(axis, 0, 1)).all())
                assert known.alike(view, axis) == same


def test_equal_labels_are_one_object(label: torch.Tensor) -> None:
    known = Known(Space.of(torch.empty(T, C)))
    labels = known.labels(label)
    assert known.labels(label.clone()) is labels
    assert known.labels(labels.flat.view(T, M, C)[:, :2]) is known.labels(label[:, 2:])


def test_shadows_and_labels_go_with_the_memory_of_the_streams() -> None:
    memory = Memory()
    one, two = torch.zeros(T, C), torch.zeros(T, C + 1)
    memory.enter(one, "", "input")
    memory.enter(two, "", "input")
    kept, gone = (memory.shadow(tensor) for tensor in (one, two))
    assert kept is not None and gone is not None
    kept_labels, gone_labels = weakref.ref(kept.labels), weakref.ref(gone.labels)
    gone_tangent = weakref.ref(gone.tangent)
    del two, kept, gone
    memory.release()
    assert gone_tangent() is None and gone_labels() is None
    assert kept_labels() is not None
    signal = memory.read(one)
    assert signal is not None and signal.label.flatten().tolist() == list(range(T * C))
