"""Measure in a few seconds how fast this machine decodes, computes maps and trains heads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch

from labelwise.backbones import TimmBackbone
from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage
from labelwise.data.transforms import build_transform
from labelwise.engines.frozen_engine import use_engine
from labelwise.errors import LabelwiseError
from labelwise.methods import create_method
from labelwise.runs.config import Config
from labelwise.runs.packed_rows import packed_share
from labelwise.runs.sections import BackboneSettings
from labelwise.training.first_step import settle_format

SAMPLE = 12
"""Number of decoded images."""
_TIMED_SIDE = 224
"""Side at which the backbone is timed; its time grows with the area."""
_STEP_FACTOR = 1.3
"""Ratio of a training step to the head's forward and backward pass."""
_STEP_OVERHEAD = 0.02
"""Seconds of a step outside both passes (reading maps, updating and averaging weights), on two cores."""
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Names of the number types in torch."""
_LARGEST_SCALE = 1.8
"""Largest enlargement of an image: finer maps still gain, see results/voc-methods-448.csv."""


@dataclass
class Speed:
    """Measured times of the parts of a plan, in seconds.

    Args:
        decoding: per image, decoded and resized by all processes together.
        forward: per image of 224 by 224 pixels through the backbone.
        largest: largest useful side in pixels, from the size of the originals.
        channels, stride: of the backbone's map.
        opening: building the engine of the backbone for one image size, 0 for PyTorch.
        solving: fitting the linear probe.
        labels: names of the labels.
        device: device of the computation.
        stepping: per image of 224 by 224 pixels, forward and backward pass of fine-tuning by PyTorch; 0 if not
            measured.
        evaluating: per image of 224 by 224 pixels through the backbone by PyTorch; 0 if not measured.
        precision: the faster one for fine-tuning.
        sides: in pixels, those that a plan chooses from; empty for all of `labelwise.anytime.plan.SIZES`.
        packed: share of a map's size that it takes on the disk.
    """

    decoding: float
    forward: float
    largest: int
    channels: int
    stride: int
    opening: float
    solving: float
    labels: tuple[str, ...]
    device: torch.device
    stepping: float = 0.0
    evaluating: float = 0.0
    precision: str = "fp32"
    sides: tuple[int, ...] = ()
    packed: float = 1.0
    _steps: dict[tuple[str, int, int], float] = field(default_factory=dict)

    @classmethod
    def measured(
        cls,
        config: Config,
        dataset: Dataset,
        device: torch.device,
        workers: int,
        say: Callable[[str], None] = lambda line: None,
        sides: tuple[int, ...] = (),
        tuning: Sequence[str] = (),
    ) -> Speed:
        """Time a few training images, and the backbone on two batches with the engine that will be used.

        Args:
            config: settings of the run.
            dataset: data with a `train` split.
            device: device of the computation.
            workers: decoding processes.
            say: prints a line to the user.
            sides: in pixels, those that a plan chooses from; the backbone is timed at the nearest to 224.
            tuning: also time training steps of the whole backbone in these precisions.

        Raises:
            LabelwiseError: no image of the sample can be read.
        """
        rows = dataset.split("train")
        side = min(sides or (_TIMED_SIDE,), key=lambda side: abs(side - _TIMED_SIDE))
        base = config.model_copy(update={"image_size": side, "image_width": 0})
        transform = build_transform(base.one_view(), train=False)
        shorter_sides, decoding, images = [], [], []
        for i in range(0, len(rows), max(1, len(rows) // SAMPLE)):
            start = time.perf_counter()
            try:
                image = rows[i].image
                images.append(transform(image))
            except (UnreadableImage, LabelwiseError):
                continue
            decoding.append(time.perf_counter() - start)
            shorter_sides.append(min(image.shape[-2:]))
        if not images:
            raise LabelwiseError(
                "a sample without a readable image", "readable images", "run: labelwise data check"
            )
        backbone = _backbone(config.backbone, side).to(device)
        start = time.perf_counter()
        use_engine(backbone, base, len(dataset), device, say)
        opening = time.perf_counter() - start
        batch = torch.stack(images[:8]).to(device)
        with torch.inference_mode():
            feature_map = backbone(batch)
            forward = _timed(lambda: backbone(batch), device) / len(batch) * (_TIMED_SIDE / side) ** 2
        learning = (0.0, 0.0, "fp32")
        if tuning:
            learning = _time_learning(base, batch, tuning, say)
        stepping, evaluating, precision = learning
        area = (_TIMED_SIDE / side) ** 2
        return cls(
            median(decoding) / max(1, workers),
            forward,
            max(_TIMED_SIDE, round(_LARGEST_SCALE * median(shorter_sides))),
            feature_map.shape[1],
            side // feature_map.shape[-1],
            opening,
            2.0 + len(rows) * len(dataset.labels) * 2e-5,
            tuple(dataset.labels),
            device,
            stepping * area,
            evaluating * area,
            precision,
            sides,
            packed_share(feature_map.half().cpu().numpy()),
        )

    def map(self, size: int) -> float:
        """Return the seconds for the map of one image at a side in pixels."""
        return self.decoding + self.forward * (size / _TIMED_SIDE) ** 2

    def learning(self, size: int) -> float:
        """Return the seconds of fine-tuning per training image, for images evaluated at a side in pixels.

        The training size is 6/7 of that side, see `train_size`.
        """
        return self.decoding + self.stepping * (6 / 7 * size / _TIMED_SIDE) ** 2

    def eager(self, size: int) -> float:
        """Return the seconds for the map of one image by PyTorch."""
        return self.decoding + self.evaluating * (size / _TIMED_SIDE) ** 2

    def bytes_of_map(self, size: int) -> float:
        """Return the bytes that one stored map takes on the disk."""
        return self.packed * 2.0 * self.channels * (size / self.stride) ** 2

    def step(self, method: str, size: int, batch_size: int) -> float:
        """Return the seconds of a training step of a method's head on stored maps."""
        key = (method, size, batch_size)
        if key not in self._steps:
            side = max(1, size // self.stride)
            maps = torch.randn(batch_size, self.channels, side, side, device=self.device)
            model = create_method(method, self.labels, _NoBackbone(self.channels)).model.to(self.device)

            def work() -> None:
                model(maps, is_map=True).logits.sum().backward()

            work()
            self._steps[key] = _STEP_OVERHEAD + _STEP_FACTOR * _timed(work, self.device)
        return self._steps[key]


def _backbone(settings: BackboneSettings, side: int) -> TimmBackbone:
    """The frozen backbone at a side in pixels; randomly initialised if its weights do not fit that size."""
    weights = settings.weights
    try:
        return TimmBackbone(settings.name, weights, side, freeze=True, stage=settings.stage).eval()
    except LabelwiseError:  # the first stage reports invalid weights
        return TimmBackbone(settings.name, "none", side, freeze=True, stage=settings.stage).eval()


def _time_learning(
    config: Config, images: torch.Tensor, precisions: Sequence[str], say: Callable[[str], None]
) -> tuple[float, float, str]:
    """Time a backbone that learns, at the size of the images.

    Returns:
        seconds per image of a forward and a backward pass in the faster precision, seconds per image of an
        evaluation, and that precision.
    """
    settings, device = config.backbone, images.device
    backbone = TimmBackbone(
        settings.name,
        "none",
        images.shape[-1],
        stage=settings.stage,
        fixed_statistics=True,
        frozen_groups=settings.frozen_groups,
        unfrozen_groups=settings.unfrozen_groups,
    ).to(device)
    settle_format(backbone, config, device, say)

    def step(precision: str) -> None:
        with torch.autocast(device.type, getattr(torch, _DTYPES[precision]), enabled=precision != "fp32"):
            features = backbone(images)
        features.float().sum().backward()

    seconds = {precision: _timed(partial(step, precision), device) for precision in precisions}
    precision = min(seconds, key=lambda name: seconds[name])
    with torch.inference_mode():
        evaluating = _timed(lambda: backbone.eval()(images), device)
    return seconds[precision] / len(images), evaluating / len(images), precision


class _NoBackbone(torch.nn.Identity):
    """Stands in for a backbone in heads that read stored maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the faster of two calls."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
