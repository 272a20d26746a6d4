"""RAVS: audio-guided grouping of visual tokens, alignment and uncertainty (CVPR 2025, arXiv 2503.12847)."""
