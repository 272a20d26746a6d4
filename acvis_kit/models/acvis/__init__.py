"""ACVIS; AVISM and VITA are configurations of the same class."""
