"""A model with its loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from labelwise.backbones import TimmBackbone
from labelwise.classifiers import PerLabelClassifier
from labelwise.errors import LabelwiseError, first_line
from labelwise.losses import build_loss
from labelwise.model import LabelModel
from labelwise.registry import method as find_method
from labelwise.types import Batch, LabelSet, Output


class Method(nn.Module):
    """What is trained: a model, and the loss of a batch as named terms.

    Args:
        model: the composition.
        criterion: `(logits, targets) -> scalar`.
        earlier_weight: weight of the same loss on each earlier cascade step, where the extractor gives them.
    """

    def __init__(self, model: LabelModel, criterion: nn.Module, earlier_weight: float = 0.5) -> None:
        super().__init__()
        self.model, self.criterion, self.earlier_weight = model, criterion, earlier_weight

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`{"loss": total, "<term>": ...}` of a batch; called through a distributed wrapper as well."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named terms of the loss, in fp32; `loss` is what is minimised."""
        output: Output = self.model(batch.images, is_map=batch.is_map)
        terms = {"classification": self.criterion(output.logits, batch.targets)}
        total = terms["classification"]
        for s, logits in enumerate(output.earlier_logits, 1):
            terms[f"step_{s}"] = self.criterion(logits, batch.targets)
            total = total + self.earlier_weight * terms[f"step_{s}"]
        return {"loss": total, **terms}


def compose(
    labels: LabelSet,
    backbone: nn.Module,
    extractor: type[nn.Module],
    defaults: Mapping[str, Any],
    overrides: Mapping[str, Any] | None,
    loss: Mapping[str, Any] | None,
    positive_rate: Tensor | None,
) -> Method:
    """Backbone, one extractor and per-label classifiers, the composition that most methods share."""
    options = {**defaults, **(overrides or {})}
    check_options(extractor, options)
    try:
        head = extractor(backbone.out_channels, len(labels), **options)
    except LabelwiseError:
        raise
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        reason = first_line(error)
        raise LabelwiseError(
            f"extractor options {options} ({reason})", "values that fit", "correct them"
        ) from None
    model = LabelModel(backbone, head, PerLabelClassifier(len(labels), int(head.dim)))  # type: ignore[arg-type]
    return Method(model, build_loss(positive_rate=positive_rate, **(loss or {"name": "asl"})))


def check_options(part: type[nn.Module], options: Mapping[str, Any]) -> None:
    """Refuse options that a part does not take, naming those that it does.

    Raises:
        LabelwiseError: an unknown option, or a value outside the literals that it allows.
    """
    taken = {
        k: p for k, p in inspect.signature(part).parameters.items() if k not in ("channels", "num_labels")
    }
    hints = get_type_hints(part.__init__)
    for name, value in options.items():
        if name not in taken:
            raise LabelwiseError(f"extractor.{name}", f"one of {', '.join(taken)}", "correct the option")
        if get_origin(hints[name]) is Literal and value not in get_args(hints[name]):
            allowed = ", ".join(map(str, get_args(hints[name])))
            raise LabelwiseError(f"extractor.{name}={value!r}", f"one of {allowed}", "correct the option")
        default = taken[name].default
        if isinstance(default, bool) is not isinstance(value, bool) or (
            isinstance(default, str) is not isinstance(value, str)
        ):
            raise LabelwiseError(
                f"extractor.{name}={value!r}", f"a value like {default!r}", "correct the option"
            )


def create_method(
    name: str,
    labels: LabelSet | Sequence[str],
    backbone: str | nn.Module = "tf_efficientnet_lite0",
    *,
    weights: str = "hub",
    image_size: int = 224,
    freeze: bool = False,
    drop_path: float = 0.0,
    stage: int = -1,
    fixed_statistics: bool = False,
    **options: Any,
) -> Method:
    """Build a registered method.

    Args:
        name: method id, see `list_methods`.
        labels: label set, or names in order.
        backbone: timm model name, or a module with `out_channels`.
        weights: `hub`, `none`, `package:NAME` or a file.
        image_size: side in pixels that the backbone is made for.
        freeze: keep the backbone as it is.
        drop_path: stochastic depth rate of the backbone.
        stage: stage of the backbone whose map is taken; -1 for the last.
        fixed_statistics: batch norm keeps its running statistics in training.
        options: `extractor={...}`, `loss={...}` and what the method takes besides.

    Raises:
        LabelwiseError: unknown method, backbone, weights or option.
    """
    _, build = find_method(name)
    label_set = labels if isinstance(labels, LabelSet) else LabelSet(tuple(labels))
    if isinstance(backbone, str):
        backbone = TimmBackbone(backbone, weights, image_size, freeze, drop_path, stage, fixed_statistics)
    return build(label_set, backbone, **options)


def create_model(
    name: str,
    backbone: str | nn.Module = "tf_efficientnet_lite0",
    labels: LabelSet | Sequence[str] = (),
    *,
    pretrained: bool = False,
    **options: Any,
) -> LabelModel:
    """Build a registered method's model, without its loss.

    Args:
        pretrained: take the backbone's weights from the hub; `weights=` names another place.

    >>> import torch
    >>> model = create_model("dlfl", "resnet10t", ["dog", "person"])
    >>> model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).logits.shape
    torch.Size([1, 2])
    """
    options.setdefault("weights", "hub" if pretrained else "none")
    return create_method(name, labels, backbone, **options).model
