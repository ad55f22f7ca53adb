"""Hyper-Connections (arXiv 2409.19606): mixing that nothing makes doubly stochastic."""

from __future__ import annotations

from mhc_diag.records import Report

TITLE = "Hyper-Connections, mixing that is not doubly stochastic"
PLACE = 2


def fits(report: Report) -> bool:
    """Whatever no other profile takes."""
    return True
