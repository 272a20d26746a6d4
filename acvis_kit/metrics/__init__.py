"""Scores: of tracks (mAP, HOTA, FSLA), of counts, of how far the sound steers the masks, and of audio-visual
segmentation. A metric takes arrays or run-length codes and returns numbers; only `evaluate` opens files.
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
