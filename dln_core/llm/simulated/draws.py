"""Draws that depend on nothing but what they are drawn for."""

from __future__ import annotations

import hashlib


def digest(*parts: object) -> int:
    """Return a number below 2**64 that looks random and is always the same for the parts."""
    joined = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(joined.encode()).digest()[:8], "big")


def fraction(*parts: object) -> float:
    """Return a number below 1 that looks random and is always the same for the parts."""
    return (digest(*parts) >> 11) / 2**53
