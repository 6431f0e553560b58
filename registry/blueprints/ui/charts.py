"""Line charts as SVG, drawn by the server, as pages run no scripts of others and need none of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240, 48
MARGIN = 2  # so that the line is not cut off at the edges


@dataclass(frozen=True)
class LineChart:
    """A line through values at equal distances, from the bottom of the picture (0) to its top (the greatest value)."""

    values: Sequence[int]
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def points(self) -> str:
        """The value of the ``points`` attribute of an SVG ``polyline``."""
        step = (self.width - 2 * MARGIN) / max(1, len(self.values) - 1)
        scale = (self.height - 2 * MARGIN) / max(1, *self.values, 1)
        return " ".join(
            f"{MARGIN + number * step:.1f},{self.height - MARGIN - value * scale:.1f}"
            for number, value in enumerate(self.values)
        )
