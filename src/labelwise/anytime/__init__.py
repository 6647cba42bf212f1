"""Training within a time limit: each stage leaves a usable run; validation selects the best one."""

from __future__ import annotations

from labelwise.anytime.within import PRESETS, conflict_of, seconds_of, settings_of_plan, train_within

__all__ = ["PRESETS", "conflict_of", "seconds_of", "settings_of_plan", "train_within"]
