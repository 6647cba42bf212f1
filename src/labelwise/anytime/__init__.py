"""Training within a stated time: stages that each leave a usable run, and the best of them by validation."""

from __future__ import annotations

from labelwise.anytime.within import PRESETS, conflict_of, seconds_of, settings_of_plan, train_within

__all__ = ["PRESETS", "conflict_of", "seconds_of", "settings_of_plan", "train_within"]
