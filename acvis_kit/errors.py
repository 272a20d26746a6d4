"""Exceptions for mistakes in a user's input.

Every message names the value found, the value allowed, and the remedy. Broken invariants of our own are `assert`s
instead.
"""


class AcvisError(Exception):
    """Base of all errors that a user can cause and correct."""


class MediaError(AcvisError):
    """A file that cannot be read as video or sound, or exceeds a limit. Names the file, the cause and the remedy."""


class WeightsError(AcvisError):
    """Weights that are missing, of the wrong kind, or do not fit the configuration."""


class ConfigError(AcvisError):
    """A configuration whose fields contradict each other or have values outside their range."""


class DataError(AcvisError):
    """A data set or result file that does not follow its format. Names the entry."""
