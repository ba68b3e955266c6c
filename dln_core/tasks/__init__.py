"""Tasks: their data, their wording, their splits and how their answers are judged."""

from __future__ import annotations

from dln_core.tasks.registry import load_task, task_names
from dln_core.tasks.task import Task

__all__ = ["Task", "load_task", "task_names"]
