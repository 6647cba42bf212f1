"""Training within a stated time: stages that each leave a usable run, and the best of them by validation."""

from __future__ import annotations

from labelwise.anytime.ladder import settings_of_plan, train_within
from labelwise.anytime.plan import Plan, Stage, seconds_of

__all__ = ["Plan", "Stage", "seconds_of", "settings_of_plan", "train_within"]
