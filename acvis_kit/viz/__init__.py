"""Visualisation of predictions: overlays, figures, contact sheets, the notebook explorer."""

from acvis_kit.viz.figures import count_figure, sounding_spans, timeline_figure
from acvis_kit.viz.overlay import COUNT_SCALE, Painter, paint, palette, track_colour, track_name, write_overlay

__all__ = [
    "COUNT_SCALE",
    "Painter",
    "count_figure",
    "paint",
    "palette",
    "sounding_spans",
    "timeline_figure",
    "track_colour",
    "track_name",
    "write_overlay",
]
