"""Metrics of tracks (mAP, HOTA, FSLA), counts, audio control and audio-visual segmentation.

Metrics take arrays or run-length codes and return numbers; only `evaluate` opens files.
"""

from acvis_kit.metrics import audio_control, avs, avs_semantic, counting
from acvis_kit.metrics.evaluate import Report, evaluate, evaluate_in_full, evaluate_sequences
from acvis_kit.metrics.sequence import Sequence

__all__ = [
    "Report",
    "Sequence",
    "audio_control",
    "avs",
    "avs_semantic",
    "counting",
    "evaluate",
    "evaluate_in_full",
    "evaluate_sequences",
]
