"""Faults that a server in a test serves before its good answers."""

from __future__ import annotations

import json

from dln_core.llm.simulated.faults import (
    HALF_JSON,
    HANG,
    NO_CHOICES,
    RESET,
    Fault,
    failed,
)

__all__ = ["CUT_BODY", "HALF_JSON", "HANG", "NO_CHOICES", "RESET", "TOO_LONG", "Fault", "failed"]

CUT_BODY = Fault(body='{"choices": [{"mess', cut=True)
TOO_LONG = Fault(
    status=400,
    body=json.dumps(
        {
            "error": {
                "message": "This model's maximum context length is 8 tokens.",
                "code": "context_length_exceeded",
            }
        }
    ),
)
