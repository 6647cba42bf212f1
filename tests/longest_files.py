"""Files of tests that take longest, and the order in which workers are given files."""

from __future__ import annotations

import pytest

LONGEST = (
    "test_export_methods", "test_ray", "test_precision", "test_collection_page_browser", "test_pages_browser",
    "test_power_cut", "test_methods", "test_processes", "test_sharding", "test_hostile_load", "test_bad_input",
    "test_notebooks", "test_readme", "test_ladder", "test_recipes", "test_fit", "test_cli_program",
    "test_duplicates", "test_kill",
    "test_stopping", "test_loop", "test_server_command", "test_determinism", "test_accumulate", "test_unknown",
    "test_learner", "test_cli_sweep", "test_partial_methods", "test_teaching", "test_tracking", "test_voc",
    "test_schedules", "test_exporting", "test_mistakes", "test_discriminative", "test_pack", "test_classes",
    "test_evidence", "test_rows", "test_written_source", "test_any_table",
)  # fmt: skip
"""Those of more than some twenty seconds, the longest first."""


def longest_first(items: list[pytest.Item]) -> None:
    """Files of few and long tests before the others, or one worker is at them when the rest have ended."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
