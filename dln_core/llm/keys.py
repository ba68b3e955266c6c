"""Keys of endpoints: read from the environment, and kept out of all that is written."""

from __future__ import annotations

import os

HIDDEN = "***"
# Where no key is needed, words such as "none", "x" or "EMPTY" stand for one; they are no secrets,
# and texts are full of them.
SHORTEST_KEY = 6


def key_of(variable: str) -> str:
    """The key in an environment variable; empty if there is none."""
    # Keys that were read from a file often bring their line end along.
    return os.environ.get(variable, "").strip()


def without_key(text: str, variable: str) -> str:
    """Replace the key in an environment variable where it occurs in a text."""
    key = key_of(variable)
    return text.replace(key, HIDDEN) if len(key) >= SHORTEST_KEY else text
