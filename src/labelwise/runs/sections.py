"""Settings by section: the backbone, the optimiser, the teacher, label vectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labelwise.errors import LabelwiseError, advice
from labelwise.runs.test_time import FLIP


class Section(BaseModel):
    """A section of settings; unknown names are refused."""

    model_config = ConfigDict(extra="forbid")


class TaughtSettings(Section):
    """Labels that `labelwise teach` added; they are the last ones."""

    labels: list[str] = Field(default_factory=list, description="names of the taught labels, in order")
    run: str = Field("", description="SHA-256 of the weights of the run before the first of them")


class BackboneSettings(Section):
    """The network below the head."""

    name: str = Field("tf_efficientnet_lite0", description="timm model name")
    weights: str = Field("hub", description="hub, none, package:NAME or a file")
    freeze: bool = Field(False, description="train only the head, on maps computed once and stored")
    engine: Literal["auto", "eager", "openvino", "openvino-bf16"] = Field(
        "auto",
        description="engine of a backbone that does not learn: eager (PyTorch), openvino, openvino-bf16, or auto: "
        "OpenVINO for many images on a CPU if it agrees and is faster",
    )
    lr_factor: float = Field(0.1, ge=0, description="learning rate of the backbone over the head's")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="rate of each layer over that of the next one; 1 for one rate, .65 to .9 for ViT",
    )
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth rate; 0 keeps the model's own")
    warm_epochs: int = Field(2, ge=0, description="epochs at the start in which only the head learns")
    statistics: Literal["fixed", "batch", "synchronised"] = Field(
        "fixed",
        description="batch norm's statistics in training: fixed, those of the weights; batch, of each batch in each "
        "process; synchronised, of each batch over all processes, on GPUs, in the head too",
    )
    frozen_groups: int = Field(
        3,
        ge=0,
        description="number of frozen groups of layers, counted from the input (stem, then stages or blocks); they "
        "cost no backward pass",
    )
    unfrozen_groups: int = Field(
        0,
        ge=0,
        description="number of groups of layers that learn, counted from the last; 0: decided by frozen_groups",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass; less memory, more time"
    )
    stage: int = Field(-1, ge=-1, description="stage whose map is taken; -1 for the last")

    @model_validator(mode="after")
    def _check_frozen(self) -> BackboneSettings:
        """Refuse settings of a backbone that learns beside `freeze`."""
        needs_learning = {
            "unfrozen_groups": self.unfrozen_groups > 0,
            "layer_decay": self.layer_decay < 1,
            "gradient_checkpointing": self.gradient_checkpointing,
        }
        for name in (name for name, is_set in needs_learning.items() if is_set and self.freeze):
            raise LabelwiseError(
                f"backbone.{name} = {getattr(self, name)} with backbone.freeze",
                "a backbone that learns, in whole or in part",
                "leave one of the two out",
            )
        return self


class TeacherSettings(Section):
    """A teacher run for distillation."""

    run: str = Field("", description="folder of the run to distil; empty for none")
    logits: float = Field(
        1.0, ge=0, description="weight of the loss on its scores, in every cell; see docs/distillation.md"
    )
    features: float = Field(0.0, ge=0, description="weight of the loss on its label features; 0 turns it off")
    temperature: float = Field(1.0, ge=1e-3, description="divisor of the logits before scores are compared")
    digest: str = Field("", description="of its weights and labels; filled in")

    @model_validator(mode="after")
    def _check_run(self) -> TeacherSettings:
        """Refuse settings of a teacher without one, and a teacher without a weight."""
        defaults = {name: field.default for name, field in type(self).model_fields.items() if name != "run"}
        changed = [name for name, value in defaults.items() if getattr(self, name) != value]
        if not self.run and changed:
            raise LabelwiseError(
                f"teacher.{changed[0]} = {getattr(self, changed[0])} without teacher.run",
                "a run to learn from",
                "give --teacher RUN, or leave it out",
            )
        if self.run and not (self.logits or self.features):
            raise LabelwiseError(
                f"--teacher {self.run} with teacher.logits = 0 and teacher.features = 0",
                "a weight over 0 of one of the two",
                "set one, or leave --teacher out",
            )
        return self


class OptimSettings(Section):
    """The optimiser and its schedule."""

    name: Literal["adamw", "adam", "sgd", "exact"] = Field(
        "adamw",
        description="optimiser; exact: a linear probe, for baseline-gap and baseline-gmp on a frozen backbone: "
        "classifiers are solved directly, each label's regularisation chosen by its val log loss",
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate of the head")
    weight_decay: float = Field(
        0.02, ge=0, description="on matrices and kernels; never on biases, norms, queries"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    schedule: Literal["cosine", "one-cycle", "constant", "step", "plateau"] = Field(
        "cosine", description="of the learning rate after the warm-up; see docs/training.md"
    )
    milestones: list[int] = Field(
        default_factory=list, description="step: epochs done at which the rate is multiplied by factor"
    )
    factor: float = Field(0.1, gt=0, lt=1, description="step and plateau: multiplier of the learning rate")
    plateau_patience: int = Field(
        4, ge=0, description="plateau: epochs without a better val mAP before the rate is reduced"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all steps over which the rate rises")
    fused: bool | Literal["auto"] = Field(
        "auto", description="one kernel for many parameters; auto: yes, but not with fp16 or sharded weights"
    )
    clip_norm: float = Field(1.0, ge=0, description="largest gradient norm; 0 for none")
    accumulate: int = Field(
        1,
        ge=1,
        description="batches per step, equivalent to one large batch; the last step of an epoch may be smaller",
    )

    @model_validator(mode="after")
    def _check_milestones(self) -> OptimSettings:
        """Refuse milestones that do not rise, or are set for another schedule than `step`."""
        rising = all(a < b for a, b in zip([0, *self.milestones], self.milestones, strict=False))
        if rising and bool(self.milestones) == (self.schedule == "step"):
            return self
        raise LabelwiseError(
            f"optim.milestones = {self.milestones} with optim.schedule = {self.schedule}",
            "increasing numbers of epochs from 1 on, only with optim.schedule = step",
            "write for example --set optim.schedule=step --set optim.milestones=[10,20]",
        )


class VectorSettings(Section):
    """One vector per label, for methods that start from the label's name."""

    source: str = Field(
        "learned",
        description="learned, package:NAME, a file of word vectors, or the folder of a sentence-transformers model",
    )
    descriptions: str = Field(
        "",
        description="CSV of name and description; a sentence-transformers model encodes descriptions in place of names",
    )
    dim: int = Field(50, ge=1, description="width of the vectors; set by the source unless they are learned")
    missing: list[str] = Field(
        default_factory=list, description="labels missing from the source, with learned vectors; filled in"
    )
    digest: str = Field("", description="of the files of a sentence-transformers model; filled in")
    texts_digest: str = Field("", description="of the file of descriptions; filled in")


class RegionSettings(Section):
    """Where each label may look, for methods whose labels attend to places; see docs/attributes.md."""

    outside: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor of a label's attention to places outside its region; 1 for none",
    )
    labels: dict[str, list[float]] | None = Field(
        None,
        description="top and bottom, or top, bottom, left and right of a label or a group of labels, as shares of the "
        "image's height and width; without them those of the parts of a pedestrian",
    )

    def refuse_mirrors(self, flip: float, test_time: str) -> None:
        """Refuse a region whose mirror image is another one where images are mirrored.

        Args:
            flip: probability of mirroring in training.
            test_time: views of an image.

        Raises:
            LabelwiseError: such a region.
        """
        mirrors = f"augment.flip={flip:g}" if flip else "test_time=flip" if test_time == FLIP else ""
        for name, region in (self.labels or {}).items():
            left, right = region[2:4] if len(region) == 4 else (0.0, 1.0)
            if mirrors and self.outside < 1 and abs(left + right - 1) > 1e-6:
                raise LabelwiseError(
                    f"regions.labels of {name!r} from {left:g} to {right:g} of the width with {mirrors}",
                    "regions that lie alike in a mirrored image",
                    "set augment.flip=0 and another test_time, or widen the region",
                )


def refusal_of(error: ValidationError, settings: type[BaseModel]) -> LabelwiseError:
    """The error for the first of the settings that do not fit, with its dotted name.

    Args:
        error: of their validation.
        settings: all sections.
    """
    first = error.errors()[0]
    refusal = first.get("ctx", {}).get("error")
    if isinstance(refusal, LabelwiseError):
        return refusal
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        model: Any = settings
        for part in first["loc"][:-1]:
            model = model.model_fields[part].annotation
        return unknown_setting(name, model.model_fields)
    if first["type"] == "missing":
        return LabelwiseError(f"no {name}", "a value for it", "give --data SOURCE")
    return LabelwiseError(f"{name} = {first['input']!r}", first["msg"].lower(), "correct the setting")


def unknown_setting(name: str, known: Iterable[str]) -> LabelwiseError:
    """The error for a setting, by its dotted name, that its section does not have.

    Args:
        name: of the setting.
        known: names in its section.
    """
    section, _, last = name.rpartition(".")
    suggestion = advice(last, known, f"{section}." if section else "", "see docs/settings.md")
    return LabelwiseError(f"setting {name!r}", "a known setting", suggestion)
