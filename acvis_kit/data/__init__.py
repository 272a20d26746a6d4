"""Data sets: AVISeg's layout on disk."""
