"""The report of a sweep: one self-contained page, its figures, and its table for papers."""

from orchestrator.report.page import write_report
from orchestrator.report.rendering import baseline_columns, render_page

__all__ = ["baseline_columns", "render_page", "write_report"]
