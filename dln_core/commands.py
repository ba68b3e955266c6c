"""What the package's command lines have in common: errors as one sentence, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable

from dln_core.errors import DLNError

INTERRUPTED = 130


def exit_code(command: Callable[[], object]) -> int:
    """Carry out a command and return the exit code of its process.

    Args:
        command: What is to be done.

    Returns:
        0 once it is done, 130 if it was interrupted, else what its error stands for, whose sentence
        is written to standard error.
    """
    try:
        command()
    except DLNError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
