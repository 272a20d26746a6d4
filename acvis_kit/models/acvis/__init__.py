"""ACVIS, and its relatives AVISM and VITA as fields of its configuration."""
