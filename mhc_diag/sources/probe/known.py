"""Labels that were met before: memory holds them once, and what follows from them is worked out once."""

from __future__ import annotations

import weakref
from typing import TypeAlias

import torch
from torch import Tensor

from mhc_diag.sources.probe.layout import Labels, alike, flattened
from mhc_diag.sources.probe.space import Space

Place: TypeAlias = tuple[Labels, tuple[int, ...], tuple[int, ...], int]
"""Known labels, and the shape, strides and offset of a view of their memory: what decides its values."""


class Known:
    """The labels of one space.

    Those that are complete live as long as this object, and nothing writes into labels: a view of them has
    the values that the same view had before. The others live as long as some shadow has them.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._sizes: dict[tuple[int, torch.device], list[weakref.ref[Labels]]] = {}
        self._owners: dict[int, Labels] = {}
        self._views: dict[Place, Labels] = {}
        self._alike: dict[tuple[Place, int], bool] = {}

    def labels(self, label: Tensor) -> Labels:
        """The labels of memory that holds these in the order of their axes: one object for equal ones."""
        place = self._place(label)
        if place is not None and place in self._views:
            return self._views[place]
        labels = self._equal(flattened(label))
        if place is not None and labels.complete:
            self._views[place] = labels
        return labels

    def alike(self, label: Tensor, axis: int) -> bool:
        """Whether labels do not change along an axis: then a sum along it runs over streams alone."""
        place = self._place(label)
        if place is None:
            return alike(label, axis)
        if (place, axis) not in self._alike:
            self._alike[place, axis] = alike(label, axis)
        return self._alike[place, axis]

    def _place(self, label: Tensor) -> Place | None:
        owner = self._owners.get(label.untyped_storage()._cdata)
        where = (tuple(label.shape), label.stride(), int(label.storage_offset()))
        return None if owner is None else (owner, *where)

    def _equal(self, flat: Tensor) -> Labels:
        size = (flat.numel(), flat.device)
        known = [labels for r in self._sizes.get(size, []) if (labels := r()) is not None]
        for labels in known:
            if torch.equal(labels.flat, flat):
                return labels
        made = Labels(flat, self._space)
        self._sizes[size] = [weakref.ref(labels) for labels in (*known, made)]
        if made.complete:
            self._owners[flat.untyped_storage()._cdata] = made
        return made
