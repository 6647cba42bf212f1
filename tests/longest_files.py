"""Files of tests that take longest, and the order in which workers are given files."""

from __future__ import annotations

import pytest

LONGEST = (
    "test_export_methods", "test_ray", "test_methods", "test_precision", "test_processes", "test_power_cut",
    "test_loop", "test_hostile_load", "test_sharding", "test_bad_input", "test_pages_browser", "test_readme",
    "test_fit", "test_duplicates", "test_accumulate", "test_recipes", "test_kill", "test_stopping", "test_learner",
    "test_server_command", "test_schedules", "test_unknown", "test_determinism", "test_teaching", "test_cli_sweep",
    "test_voc", "test_partial_methods", "test_exporting", "test_mistakes", "test_discriminative", "test_pack",
    "test_tracking", "test_classes", "test_evidence", "test_rows", "test_any_table", "test_projection",
)  # fmt: skip
"""Those of more than some twenty seconds, the longest first."""


def longest_first(items: list[pytest.Item]) -> None:
    """Files of few and long tests before the others, or one worker is at them when the rest have ended."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
