"""Tiny runs for these tests."""

from tiny_runs import _own_cache, base, run_folder, table

__all__ = ["_own_cache", "base", "run_folder", "table"]
