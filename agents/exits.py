"""How the worker ends when it does not end well."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the worker beside 0 (sysexits)."""

    DEFECT = 70
    STUCK = 74
    """The watchdog ended it: it hung."""
    TEMPORARY = 75
    CONFIGURATION = 78
