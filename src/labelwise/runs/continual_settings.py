"""Settings of continual learning, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Setting = Literal["online", "class-incremental", "domain-incremental"]
StrategyName = Literal["finetune", "joint", "er", "balanced", "prs", "ocdm", "ewc", "lwf", "features"]


class ContinualSettings(BaseModel):
    """The stream and the strategy; used only by `labelwise continual`."""

    model_config = ConfigDict(extra="forbid")

    setting: Setting = Field(
        "online",
        description="online: each image once, annotated with all labels, and the model has all of them from the start; "
        "class-incremental: images are annotated with the task's own labels, and the model grows by them; "
        "domain-incremental: images come folder by folder, annotated with all labels",
    )
    strategy: StrategyName = Field("er", description="see docs/continual.md")
    tasks: list[int] = Field(
        default_factory=list,
        description="labels of each task, in label order; empty for four of equal size; not for domain-incremental",
    )
    memory: int = Field(2000, ge=1, description="images kept for replay")
    power: float = Field(
        0.0,
        description="prs, ocdm: a label's share of the memory grows as its frequency to this power; 0 is equal",
    )
    batch: int = Field(10, ge=1, description="new images per step")
    replay: int = Field(10, ge=0, description="replayed images per step")
    passes: int = Field(1, ge=1, description="passes over each task")
    ewc_weight: float = Field(100.0, ge=0, description="ewc: weight of the penalty")
    fisher_images: int = Field(
        200, ge=1, description="ewc: images of a task for estimating the importance of weights"
    )
    lwf_weight: float = Field(1.0, ge=0, description="lwf: weight of the former model's scores")
    feature_weight: float = Field(
        1.0, ge=0, description="features: weight of the squared distance to the former model's label features"
    )
    temperature: float = Field(1.0, gt=0, description="lwf: temperature of the former model's scores")
