"""All settings of a run, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from labelwise.data.transforms import TransformConfig, TwoSizes
from labelwise.errors import LabelwiseError
from labelwise.options import Control
from labelwise.registry import TERMS
from labelwise.runs.continual_settings import ContinualSettings
from labelwise.runs.data_settings import DataSettings
from labelwise.runs.earlier import of_this_version
from labelwise.runs.sections import (
    BackboneSettings,
    OptimSettings,
    RegionSettings,
    Section,
    TaughtSettings,
    TeacherSettings,
    VectorSettings,
    refusal_of,
    unknown_setting,
)
from labelwise.runs.test_time import larger_of, resolved

LINEAR_METHODS = ("baseline-gap", "baseline-gmp")


class Config(Section):
    """A run. Written to RUN/config.yaml with every value resolved.

    A further section is that of a term of the loss, by the name under which the term is registered.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]]

    data: DataSettings
    init_from: str = Field(
        "", description="a run to start from: its labels and weights are kept, new labels are added"
    )
    method: str = Field(
        "auto",
        description="id, see `labelwise methods`; auto: dlfl, or baseline-mlp or csra if there is little training data",
    )
    backbone: BackboneSettings = BackboneSettings()
    extractor: dict[str, Any] = Field(default_factory=dict, description="options of the method's extractor")
    relation: dict[str, Any] = Field(default_factory=dict, description="options of the method's relation")
    classifier: dict[str, Any] = Field(default_factory=dict, description="options of the method's classifier")
    vectors: VectorSettings = VectorSettings()
    regions: RegionSettings = RegionSettings()
    controls: list[Control] = Field(
        default_factory=list,
        description="what an experiment takes away: uniform-attention, labels attend to all places alike; no-edges, "
        "graphs of labels have no edges; see docs/experiments.md",
    )
    loss: dict[str, Any] = Field(default_factory=lambda: {"name": "asl"}, description="name and options")
    unknown: dict[str, Any] = Field(
        default_factory=lambda: {"name": "auto"},
        description="how the loss treats unknown cells, name and options; see docs/partial-labels.md",
    )
    teacher: TeacherSettings = TeacherSettings()
    image_size: int = Field(
        224,
        ge=16,
        description="side in pixels, by default one that the backbone accepts; height where image_width is set",
    )
    image_width: int = Field(
        0, ge=0, description="width in pixels of images that are not square; 0 for image_size"
    )
    train_size: int = Field(
        0,
        ge=0,
        description="side in training; 0 for 6/7 of image_size, which makes up for the crops that enlarge objects, or "
        "for all of it if the backbone does not accept less",
    )
    test_time: str = Field(
        "none",
        description="views of an image whose logits are averaged: none, only the image; flip, it and its mirror; "
        "multi-scale or multi-scale=SIDE, it and a larger one; see docs/training.md",
    )
    augment: TransformConfig = Field(TransformConfig(), description="image_size here is set by the one above")
    optim: OptimSettings = OptimSettings()
    epochs: int = Field(12, ge=1, description="passes over the training split")
    batch_size: int = Field(32, ge=1, description="images per batch over all processes")
    sampling: Literal["shuffle", "class-aware"] = Field(
        "shuffle",
        description="images of an epoch: shuffle, each once; class-aware, as many samples of a random label and then "
        "of one of its images",
    )
    mixup: float = Field(
        0.0,
        ge=0,
        description="images of a batch blended in pairs with a weight from Beta(mixup, mixup); 0 is off",
    )
    mixup_per: Literal["batch", "pair"] = Field(
        "batch", description="whether mixup samples one weight per batch or one per pair of images"
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        description="a box of another image pasted into each, its area from Beta(cutmix, cutmix); 0 is off",
    )
    ema: float = Field(0.9998, ge=0, lt=1, description="largest decay of the averaged weights; 0 for none")
    patience: int = Field(0, ge=0, description="epochs without a better val mAP before stopping; 0 for never")
    seed: int = Field(0, ge=0, description="random seed of splits, initial weights, order and augmentation")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of a step; losses stay fp32")
    tf32: bool = Field(
        False,
        description="TF32 for matrix products of the training in fp32, on GPUs that have it; less exact, faster",
    )
    compile: bool = Field(False, description="torch.compile the step")
    sharding: Literal["none", "full"] = Field(
        "none",
        description="full: each of several processes holds a share of weights, gradients, moments and averages (FSDP2)",
    )
    frequency_bounds: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        (20, 100),
        description="smallest and largest number of training images of a label of the medium group in the figures by "
        "frequency: below is the tail group, above the head group",
    )
    workers: int = Field(-1, ge=-1, description="decoding processes; -1 chooses by the number of cores")
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    save_every: int = Field(
        200, ge=1, description="steps between saved states; one is saved after each epoch too"
    )
    tensorboard: bool = Field(False, description="also write RUN/tensorboard")
    mlflow: bool = Field(
        False, description="also write to MLflow: mlflow.db beside RUN, or to MLFLOW_TRACKING_URI"
    )
    wandb: bool = Field(
        False, description="also write RUN/wandb for Weights & Biases; sent if WANDB_MODE=online"
    )
    continual: ContinualSettings = ContinualSettings()
    taught: TaughtSettings = TaughtSettings()

    @model_validator(mode="before")
    @classmethod
    def _sections_of_terms(cls, settings: Any) -> Any:
        """Refuse what is neither a setting nor a term; leave empty sections of terms out."""
        if not isinstance(settings, Mapping):
            return settings
        settings = of_this_version(settings)
        for name in settings.keys() - cls.model_fields.keys():
            if name not in TERMS:
                raise unknown_setting(name, [*Config.model_fields, *TERMS])
        return {k: v for k, v in settings.items() if k in cls.model_fields or v != {}}

    @field_validator("frequency_bounds")
    @classmethod
    def _check_bounds(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        if bounds[0] > bounds[1]:
            raise PydanticCustomError("bounds", "two numbers of images, the first not over the second")
        return bounds

    @field_validator("mixup_per", "cutmix")
    @classmethod
    def _check_mixing(cls, value: Any, info: Any) -> Any:
        mixup = info.data.get("mixup", 0)
        if info.field_name == "cutmix" and value and mixup:
            raise PydanticCustomError("joined", "one way to combine images, so 0 beside mixup")
        if value == "pair" and not mixup:
            raise PydanticCustomError("joined", "batch where mixup is 0")
        return value

    @field_validator("teacher", mode="before")
    @classmethod
    def _run_of_teacher(cls, value: Any) -> Any:
        return {"run": str(value)} if isinstance(value, str | Path) else value

    @field_validator("controls", mode="before")
    @classmethod
    def _list_controls(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("loss")
    @classmethod
    def _name_loss(cls, loss: dict[str, Any]) -> dict[str, Any]:
        return {"name": "asl", **loss}

    @field_validator("unknown")
    @classmethod
    def _name_unknown(cls, unknown: dict[str, Any]) -> dict[str, Any]:
        return {"name": "auto", **unknown}

    @model_validator(mode="after")
    def _unfreeze_random_backbone(self) -> Config:
        """Without pretrained weights nothing is worth freezing: the whole backbone learns from the first step."""
        if self.backbone.weights == "none" and not self.backbone.freeze:
            self.backbone.warm_epochs, self.backbone.frozen_groups = 0, 0
            if self.backbone.statistics == "fixed":
                self.backbone.statistics = "batch"
        return self

    @model_validator(mode="after")
    def _check_exact(self) -> Config:
        """Refuse settings that no linear probe solves, and set those that it implies."""
        if self.optim.name != "exact":
            return self
        conflicts = {
            f"method {self.method}": self.method not in LINEAR_METHODS,
            "a backbone that learns": not self.backbone.freeze,
            f"loss.name={self.loss['name']}": self.loss["name"] not in ("asl", "bce"),
            f"--unknown {self.unknown['name']}": self.unknown["name"] not in ("auto", "ignore"),
            f"a term of the loss ({', '.join(self.terms())})": bool(self.terms()),
            "mixup or cutmix": bool(self.mixup or self.cutmix),
            f"sampling={self.sampling}": self.sampling != "shuffle",
            f"sharding={self.sharding}": self.sharding != "none",
            "--teacher": bool(self.teacher.run),
        }
        for setting in (setting for setting, is_wrong in conflicts.items() if is_wrong):
            raise LabelwiseError(
                f"optim.name=exact with {setting}",
                f"{' or '.join(LINEAR_METHODS)} with --freeze-backbone and plain binary cross entropy",
                "leave one of the two out",
            )
        self.loss, self.epochs, self.ema = {"name": "bce"}, 1, 0.0
        return self

    @model_validator(mode="after")
    def _check_teacher(self) -> Config:
        for mixing in ("mixup", "cutmix"):
            if self.teacher.run and self.teacher.features and getattr(self, mixing):
                raise LabelwiseError(
                    f"teacher.features = {self.teacher.features:g} with {mixing}={getattr(self, mixing):g}",
                    "images that are not combined, since the teacher has no label features of two images combined",
                    f"set teacher.features=0, or {mixing}=0",
                )
        return self

    @model_validator(mode="after")
    def _check_milestones(self) -> Config:
        if self.optim.milestones and self.optim.milestones[0] >= self.epochs:
            raise LabelwiseError(
                f"optim.milestones = {self.optim.milestones} in a run of {self.epochs} epochs",
                f"the first milestone below {self.epochs}",
                "set earlier ones, or optim.schedule=constant",
            )
        return self

    @model_validator(mode="after")
    def _resolve_test_time(self) -> Config:
        self.test_time = resolved(self.test_time, self.image_size)
        self.regions.refuse_mirrors(0.0 if self.backbone.freeze else self.augment.flip, self.test_time)
        return self

    def terms(self) -> dict[str, dict[str, Any]]:
        """Options of the additional terms of the loss, by name, for those that are set."""
        extra = self.__pydantic_extra__
        return {name: extra[name] for name in TERMS if name in extra} if extra else {}

    def transform(self) -> TransformConfig:
        """The image transform of evaluation and prediction; with two sizes if `test_time` is multi-scale."""
        single_view = self.one_view()
        larger = larger_of(self.test_time, single_view.size)
        return single_view if larger is None else TwoSizes(**{**dict(single_view), "larger": larger})

    def one_view(self) -> TransformConfig:
        """The image transform of a single view, used for validation during training and for stored maps."""
        return self._augmented(self.image_size, self.image_width)

    def train_transform(self, stride: int) -> TransformConfig:
        """The image transform of training; its size is a multiple of 32 and of the backbone's stride.

        Crops of 0.75 to 1 of the side enlarge objects. Training at 6/7 of the size restores the scale of evaluation,
        and costs a quarter less.

        Source: the train-test resolution discrepancy of Touvron et al. (2019).
        """
        unit = math.lcm(32, stride)
        size = self.train_size or min(
            self.image_size, max(unit, round(self.image_size * 6 / 7 / unit) * unit)
        )
        width = round(size * self.image_width / self.image_size / unit) * unit
        return self._augmented(size, max(unit, width) if self.image_width else 0)

    def _augmented(self, height: int, width: int) -> TransformConfig:
        """The image transform at a size; a width of 0 means square images."""
        size = (height, width) if width else height
        return self.augment.model_copy(update={"image_size": size})


def make_config(settings: Mapping[str, Any]) -> Config:
    """Validate settings and fill in defaults.

    Raises:
        LabelwiseError: an unknown name or a value out of range, with its dotted name.
    """
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise refusal_of(error, Config) from None
