"""Cheap places at which a running model shows the operators that it applies."""

from mhc_diag.sources.taps.discover import discover

__all__ = ["discover"]
