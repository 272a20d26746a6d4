"""acvis_kit: which objects sound, second by second."""
