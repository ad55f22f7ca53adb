"""Growth that is not large yet."""

import numpy as np
from sample_stacks import DEPTH, FREE, scaled, shift, stack


def growing(factor, streams=4, **other):
    """Healthy in the first half of the depth, and from there on times a factor."""
    late = np.where(np.arange(DEPTH) >= DEPTH // 2, factor, 1.0)[:, None, None]
    return stack(late * shift(0.03, streams), **other)


SAMPLES = {
    "mHC, 1.035 at every site": lambda: scaled(1.035),
    "HC, in the second half": lambda: growing(1.24, promise=FREE),
    "one stream, in the second half": lambda: growing(1.12, streams=1, promise=FREE),
}
NEAR_MISSES = {
    "mHC, 1.025 at every site": lambda: scaled(1.025),
    "HC, in the second half": lambda: growing(1.19, promise=FREE),
    "one stream, in the second half": lambda: growing(1.08, streams=1, promise=FREE),
}
