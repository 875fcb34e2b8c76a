"""Words for people."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(name: str, known: Iterable[str]) -> str:
    """The question "Did you mean …?" (after a blank) for what is nearly one of the known names; else nothing."""
    nearest = get_close_matches(name[:64], list(known), n=1)
    return f" Did you mean `{nearest[0]}`?" if nearest else ""
