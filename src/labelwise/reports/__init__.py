"""Self-contained HTML pages: the report of a run, and several runs compared."""

from __future__ import annotations

from labelwise.reports.comparison import write_comparison
from labelwise.reports.finish import finish_report
from labelwise.reports.report import write_report

__all__ = ["finish_report", "write_comparison", "write_report"]
