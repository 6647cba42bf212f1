"""Test-time augmentation as a model that averages the outputs of several views of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from labelwise.data.sheet import Size, parts, sheet_size
from labelwise.errors import LabelwiseError, first_line
from labelwise.model import LabelModel
from labelwise.runs.test_time import FLIP, NONE
from labelwise.types import Output, Targets


class Views(LabelModel):
    """Averages the logits of several views of an image; it shares the parts of the model that it wraps.

    `flip`: the image and its mirror, `z = (z(x) + z(mirror(x))) / 2`, maps `(A(x) + mirror(A(mirror(x)))) / 2`.
    Several sizes: `z = mean_s z(x_s)`, maps of the first. Features and branches are those of the first view.

    Args:
        model: the model of one view.
        flip: the mirrored image is the second view.
        sizes: height and width of each view on a sheet, see `labelwise.data.sheet`; with one size there is no sheet.
    """

    def __init__(self, model: LabelModel, flip: bool, sizes: Sequence[Size]) -> None:
        shares = model.own_share, model.takes_states
        super().__init__(model.backbone, model.extractor, model.classifier, model.relation, *shares)
        self.added = model.added
        self.flip, self.sizes = flip, tuple(sizes)

    def forward(
        self, images: Tensor, want_maps: bool = False, is_map: bool = False, states: Targets | None = None
    ) -> Output:
        """See `LabelModel`; `images` are `[B, 3, H, W]`, or sheets of several sizes.

        Raises:
            LabelwiseError: `images` are stored maps, which have one view.
        """
        if is_map:
            raise LabelwiseError(
                "stored maps for a run with several views in test_time", "images", "pass the images"
            )
        if self.flip:
            return self._average_with_mirror(images, want_maps, states)
        outputs = [
            super(Views, self).forward(part, want_maps and not index, states=states)
            for index, part in enumerate(parts(images, self.sizes))
        ]
        first = outputs[0]
        logits = torch.stack([output.logits for output in outputs]).mean(0)
        return Output(
            logits, first.features, first.maps, first.decoupled, first.branches, first.mass, first.shared
        )

    def _average_with_mirror(self, images: Tensor, want_maps: bool, states: Targets | None) -> Output:
        """The output of images and their mirrors, which are one batch of twice the size."""
        if states is not None:
            states = Targets(states.values.repeat(2, 1), states.known.repeat(2, 1))
        both = super().forward(torch.cat([images, images.flip(-1)]), want_maps, states=states)
        maps = None
        if both.maps is not None:
            image_maps, mirror_maps = _halves(both.maps)
            maps = (image_maps + mirror_maps.flip(-1)) / 2
        return Output(
            _halves(both.logits).mean(0),
            _halves(both.features)[0],
            maps,
            _halves(both.decoupled)[0],
            {name: _halves(logits)[0] for name, logits in both.branches.items()},
            None if both.mass is None else _halves(both.mass)[0],
            both.shared,
        )


def _halves(both: Tensor) -> Tensor:
    """`[2, B, ...]`: rows of the images and those of their mirrors."""
    return both.unflatten(0, (2, -1))


def with_views(model: LabelModel, test_time: str, sizes: Sequence[Size]) -> LabelModel:
    """The model with the views of a resolved setting; for `none` the model itself.

    Args:
        model: the model of one view.
        test_time: see `labelwise.runs.test_time.resolved`.
        sizes: height and width of each view.

    Raises:
        LabelwiseError: the model does not accept one of the sizes.
    """
    if test_time == NONE:
        return model
    views = Views(model, test_time == FLIP, sizes)
    views.training = model.training
    if len(sizes) > 1:
        _refuse_one_size(views, test_time)
    return views


@torch.no_grad()
def _refuse_one_size(model: Views, test_time: str) -> None:
    """Refuse a network that accepts only one size of images; tested on a black sheet."""
    backbone: Any = model.backbone
    was_training, parameter = model.training, next(model.parameters())
    model.eval()
    try:
        model(torch.zeros(1, 3, *sheet_size(model.sizes), dtype=torch.uint8, device=parameter.device))
    except Exception as error:  # networks raise nearly anything at a size that they do not accept
        setting = f"test_time = {test_time} with {getattr(backbone, 'name', 'this backbone')}"
        raise LabelwiseError(
            f"{setting} ({first_line(error)})",
            "a network that takes images of both sizes",
            "set test_time=flip or none, or a second side that suits its stride: multi-scale=SIDE",
        ) from None
    finally:
        model.train(was_training)
