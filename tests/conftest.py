"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets; tests that need it are skipped where it is not named."""
    folder = os.environ.get("DLN_DATA_DIR")
    if not folder:
        pytest.skip("DLN_DATA_DIR is not set")
    return Path(folder)


# Shared machines stall now and then; a slow example is no wrong one.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
