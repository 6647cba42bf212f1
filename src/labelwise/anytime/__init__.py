"""Training within a stated time: stages that each leave a usable run, and the best of them by validation."""

from __future__ import annotations

from labelwise.anytime.ladder import conflict_of, settings_of_plan, train_within
from labelwise.anytime.plan import PRESETS, Plan, Stage, seconds_of

__all__ = ["PRESETS", "Plan", "Stage", "conflict_of", "seconds_of", "settings_of_plan", "train_within"]
