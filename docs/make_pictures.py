"""Draws the pictures of the README and of these pages into docs/pictures, for light and for dark pages.

`make pictures` runs it. The same version of matplotlib draws the same files.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

from mhc_diag import figures
from mhc_diag.analyse import analyse
from mhc_diag.figures import Theme
from mhc_diag.records import Report
from mhc_diag.sources.simulate import Simulation, cases
from mhc_diag.sources.target import Request, scan

FOLDER = Path(__file__).with_name("pictures")
SAMPLES = Path(__file__).parents[1] / "sample_models"
THEMES: tuple[Theme, ...] = ("light", "dark")
COLORS = 128
"""Of a file: as many as its lines, bands and letters need, at a third of the size."""


def paper() -> list[Report]:
    """The paper's HC at its depth, unconstrained and projected."""
    simulated = cases(Simulation(depth=60, seeds=256, ensemble="paper", manifolds=("none", "sinkhorn")))
    return [analyse(case.parts(), triangle=True) for case in simulated]


def grown() -> list[Report]:
    """Random mixing near the identity, whose rate of growth theory knows."""
    simulated = cases(Simulation(depth=64, seeds=256, manifolds=("none", "sinkhorn")))
    return [analyse(case.parts()) for case in simulated]


def sample() -> list[Report]:
    """The unstable sample model, as it is stored."""
    return [analyse(stack, triangle=True) for stack in scan(Request(str(SAMPLES / "hc.pt")))]


def main() -> None:
    """Draw every picture in every theme."""
    simulated, growing, stored = paper(), grown(), sample()
    FOLDER.mkdir(exist_ok=True)
    for name, picture, reports in (
        ("gain-curves", "curves", simulated),
        ("all-composites", "triangle", simulated[:1]),
        ("site-matrices", "matrices", stored),
        ("growth", "growth", growing),
    ):
        for theme in THEMES:
            made = BytesIO()
            drawn = Image.open(BytesIO(figures.picture(reports, "png", picture, theme=theme)))
            drawn.convert("RGB").quantize(COLORS).save(made, "png", optimize=True)
            path = FOLDER / f"{name}-{theme}.png"
            path.write_bytes(made.getvalue())
            sys.stdout.write(f"{path.relative_to(FOLDER.parents[1])} {len(made.getvalue()) // 1024} kB\n")


if __name__ == "__main__":
    main()
