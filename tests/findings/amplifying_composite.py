"""Composites that amplify."""

from sample_stacks import FREE, scaled

SAMPLES = {
    "mHC, beyond n": lambda: scaled(1.07),
    "HC, beyond 100": lambda: scaled(1.25, promise=FREE),
    "one stream, beyond 10": lambda: scaled(1.11, streams=1, promise=FREE),
}
NEAR_MISSES = {
    "mHC, 1.61": lambda: scaled(1.02),
    "HC, 88": lambda: scaled(1.205, promise=FREE),
    "one stream, 9": lambda: scaled(1.095, streams=1, promise=FREE),
}
