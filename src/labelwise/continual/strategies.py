"""Strategies by name, with their replay memory and regulariser."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ContinualStrategy:
    """A strategy of continual learning.

    Args:
        summary: one line.
        memory: rule of the replay memory, or `None`.
        regulariser: `ewc`, `lwf`, `features`, or `None`.
        joint: all tasks at once, the upper bound.
    """

    summary: str
    memory: str | None = None
    regulariser: str | None = None
    joint: bool = False


STRATEGIES = {
    "finetune": ContinualStrategy("only new images; the lower bound"),
    "joint": ContinualStrategy(
        "all tasks mixed, with the images per step and the steps of replay", joint=True
    ),
    "er": ContinualStrategy("replay from a reservoir", memory="reservoir"),
    "balanced": ContinualStrategy("replay from a class-balanced memory", memory="balanced"),
    "prs": ContinualStrategy("replay from a partitioning reservoir", memory="prs"),
    "ocdm": ContinualStrategy("replay from a memory of matched label distribution", memory="ocdm"),
    "ewc": ContinualStrategy(
        "penalty on changes of weights that are important for former tasks", regulariser="ewc"
    ),
    "lwf": ContinualStrategy("distillation of the former model's scores", regulariser="lwf"),
    "features": ContinualStrategy(
        "replay from a reservoir; old labels keep their queries and classifiers, and their features are distilled",
        memory="reservoir",
        regulariser="features",
    ),
}
