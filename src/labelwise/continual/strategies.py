"""Strategies by name, with their replay memory and regulariser."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Strategy:
    """A strategy of continual learning.

    Args:
        summary: one line.
        memory: rule of the replay memory, or `None`.
        regulariser: `ewc`, `lwf`, or `None`.
        joint: all tasks at once, the upper bound.
    """

    summary: str
    memory: str | None = None
    regulariser: str | None = None
    joint: bool = False


STRATEGIES = {
    "finetune": Strategy("new images alone; the lower bound"),
    "joint": Strategy("all tasks mixed, with as many images a step and as many steps as replay", joint=True),
    "er": Strategy("replay from a reservoir", memory="reservoir"),
    "balanced": Strategy("replay from a class-balanced memory", memory="balanced"),
    "prs": Strategy("replay from a partitioning reservoir", memory="prs"),
    "ocdm": Strategy("replay from a memory of matched label distribution", memory="ocdm"),
    "ewc": Strategy("weights that mattered to former tasks are held", regulariser="ewc"),
    "lwf": Strategy("the former model's answers are held", regulariser="lwf"),
}
