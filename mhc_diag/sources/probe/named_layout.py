"""The layout of an entry as a user writes it: `b s n c`, `s b (n c)`, `(b n) s c`, `b s c n`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.probe.space import Division

HINT = "one letter an axis: n streams, c channels, others for tokens; merged ones in brackets: b s (n c)"


@dataclass(frozen=True, slots=True)
class NamedLayout:
    """Axes by letter, the slower first where several are merged into one."""

    text: str
    axes: tuple[str, ...]
    streams: int | None = None
    """Number of streams, which a merged axis does not tell."""

    @staticmethod
    def parse(text: str, streams: int | None = None) -> NamedLayout:
        """Read a layout.

        Raises:
            MhcDiagError: no such notation, no channels or no streams in it, or a merged stream axis without
                their number.

        Example:
            >>> NamedLayout.parse("b s (n c)", 4).axes
            ('b', 's', 'nc')
        """
        parts = re.findall(r"\([a-z ]+\)|[a-z]|\S", text)
        axes = tuple(part.strip("()").replace(" ", "") for part in parts)
        letters = "".join(axes)
        if not letters.isalpha() or not letters.islower() or len(set(letters)) != len(letters):
            raise MhcDiagError(f"--layout is {text!r}, which names no axes", hint=HINT)
        for letter, what in (("c", "channels"), ("n", "streams")):
            if letter not in letters:
                raise MhcDiagError(f"--layout is {text!r}, without {what} {letter}", hint=HINT)
        if "n" not in axes and streams is None:
            raise MhcDiagError(
                f"--layout is {text!r}, where a merged axis does not tell the number of streams",
                hint="give it with --streams N",
            )
        return NamedLayout(text, axes, streams)

    def divide(self, shape: Sequence[int]) -> tuple[int, Division] | None:
        """The axis of the channels, and which part of the elements' numbers counts the streams.

        None where a tensor of this shape cannot have this layout.

        Example:
            >>> NamedLayout.parse("b s n c").divide((2, 3, 4, 16))
            (3, Division(step=16, streams=4))
            >>> NamedLayout.parse("b s (n c)", 4).divide((2, 3, 64))
            (2, Division(step=16, streams=4))
        """
        if len(shape) != len(self.axes):
            return None
        channels = next(i for i, axis in enumerate(self.axes) if "c" in axis)
        order = [*(i for i in range(len(shape)) if i != channels), channels]
        place = next(i for i, axis in enumerate(order) if "n" in self.axes[axis])
        merged, size = self.axes[order[place]], shape[order[place]]
        streams = self.streams or size
        if size % streams or (merged == "n" and size != streams) or len(merged) > 2:
            return None
        within = 1 if merged.endswith("n") else size // streams
        return channels, Division(math.prod(shape[i] for i in order[place + 1 :]) * within, streams)
