"""One self-contained HTML report of a run."""

from __future__ import annotations

from labelwise.reports.finish import finish_report
from labelwise.reports.report import write_report

__all__ = ["finish_report", "write_report"]
