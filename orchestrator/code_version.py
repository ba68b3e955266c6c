"""Which version of the working folder a sweep was started in."""

from __future__ import annotations

import subprocess

TIMEOUT_S = 5.0


def git_commit() -> str | None:
    """Return the commit of the working folder, with ``-dirty`` behind it if files differ from it.

    None where the folder belongs to no repository, or there is no git.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
