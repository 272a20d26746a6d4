"""AVSC: proposals of potential sounding objects, then audio-visual semantic correlation (MM 2023, arXiv 2307.16620)."""
