"""MLflow as a projection of the journals: runs, datasets, models, prompts and traces."""

from __future__ import annotations

from orchestrator.tracking.feed import TrackingFeed
from orchestrator.tracking.sync import say_where, sync
from orchestrator.tracking.tracker import Tracker

__all__ = ["Tracker", "TrackingFeed", "say_where", "sync"]
