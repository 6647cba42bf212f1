"""What one timm model does in Labelwise: every step from building it to an export, recorded in a row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from labelwise.backbones.description import family_of
from labelwise.composition import Method
from labelwise.errors import LabelwiseError, first_line
from labelwise.evaluation.scores import StoredScores
from labelwise.export.bench import Bench
from labelwise.export.graph import NEEDS
from labelwise.model import LabelModel
from labelwise.runs.config import Config, make_config
from labelwise.runs.files import write_json
from labelwise.runs.run import Run
from labelwise.training.first_step import FORMATS, file_of, trial_settings
from labelwise.training.fit import train
from labelwise.training.sizes import fitted, size_refusal
from labelwise.types import Batch, LabelSet, Targets

LABELS = ("left", "right")
OTHERS = (192, 256, 288, 320, 384)
"""Sides in pixels of which the first other than `image_size` is the second size of the check."""
EXPORTS = ("onnx", "openvino")
STEPS = ("build", "gradients", "maps", "saved", "step")
FIELDS = (
    "family",
    "model",
    "parameters",
    "image_size",
    "train_size",
    "other_size",
    "channels",
    "stride",
    *STEPS,
    *EXPORTS,
    "result",
    "reason",
    "seconds",
    "megabytes",
    "timm",
    "torch",
)
"""Columns of the table."""
YES, NOT_INSTALLED = "yes", "not installed"
Keep: TypeAlias = Callable[[dict[str, Any]], None]


def examined(name: str, folder: Path, memory_format: str, keep: Keep) -> None:
    """Take a model through every step but the exports; ends at the first failure.

    Args:
        name: timm model name; its weights are random.
        folder: an empty folder for data and runs.
        memory_format: of the training, see `labelwise.training.first_step`.
        keep: called with the row after each step, so that it is known where a process ended.
    """
    row: dict[str, Any] = {"family": family_of(name), "model": name, "result": "fault", "reason": ""}

    def record(**values: Any) -> None:
        row.update(values)
        keep(row)

    try:
        _take_steps(name, folder, memory_format, record)
        record(result="works")
    except LabelwiseError as error:
        was_built = row.get("build") == YES
        record(result="fault" if was_built else "refused", reason=str(error))
    except Exception as error:  # networks raise nearly anything
        record(reason=f"{type(error).__name__}: {first_line(error)}")


def exported(name: str, folder: Path, keep: Keep) -> None:
    """Export a model to each format, and compare logits, maps and features in batches of 1, 2, 3 and 8.

    Args:
        name: timm model name; its weights are random.
        folder: an empty folder for data and graphs.
        keep: called after each format with the row: `yes`, or why not.
    """
    row: dict[str, str] = {}
    bench: Bench | None = None
    for kind in EXPORTS:
        if any(find_spec(tool) is None for tool in NEEDS[kind]):
            row[kind] = NOT_INSTALLED
        else:
            try:
                bench = bench or Bench(
                    _random_run(name, folder), folder / "graphs", None, 2, True, features=True
                )
                bench.judge(*bench.make(kind, "fp32"))
                row[kind] = YES
            except Exception as error:  # converters raise nearly anything
                reason = error.given if isinstance(error, LabelwiseError) else first_line(error)
                row[kind] = f"no: {reason[:240]}"
        keep(row)


def _random_run(name: str, folder: Path) -> Run:
    """A run without training, each part of which changes the outputs.

    Scales that begin at about zero would hide whole branches from the comparison, so they are drawn; batch norms get
    the statistics of four images of noise. The draws are smaller where they make a network amplify rounding, so that
    its outputs in single and double precision differ: no two runtimes could agree.
    """
    run = Run(folder / "run", fitted(_config(name, folder), lambda line: None), LabelSet(LABELS))
    for spread in (0.5, 0.1, 0.02):
        model, images = _random_model(run, spread)
        if not _amplifies_rounding(model, images):
            break
    run.save()
    run.save_weights(model)
    return run


@torch.no_grad()
def _amplifies_rounding(model: nn.Module, images: Tensor) -> bool:
    """Whether logits in single and double precision differ; not if a network computes in single precision alone."""
    single_logits = model(images).logits
    try:
        return bool((model.double()(images).logits - single_logits).abs().max() > 1e-5)
    except RuntimeError:
        return False
    finally:
        model.float()


@torch.no_grad()
def _random_model(run: Run, spread: float) -> tuple[LabelModel, Tensor]:
    """The model of a run with scales from -`spread` to `spread`, in evaluation mode, and four images of noise."""
    torch.manual_seed(0)
    model = run.build().model
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean over batches, here one
    side = run.config.image_size
    for parameter in model.parameters():
        if parameter.abs().max() < 1e-3:
            parameter.uniform_(-spread, spread)
    images = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8)
    model.train()(images)
    return model.eval(), images


def _config(name: str, folder: Path) -> Config:
    """Settings of a training of two steps on images of noise."""
    return make_config(
        {
            "data": {"source": f"csv:{_images(folder)}"},
            "method": "dlfl",
            "backbone": {"name": name, "weights": "none"},
            "epochs": 1,
            "batch_size": 2,
            "workers": 0,
        }
    )


def _take_steps(name: str, folder: Path, memory_format: str, record: Callable[..., None]) -> None:
    """Every step but the exports, with a call of `record` after each."""
    record()
    config = fitted(_config(name, folder), lambda line: None)
    run = Run(folder / "built", config, LabelSet(LABELS))
    torch.manual_seed(0)
    method = run.build()
    backbone: Any = method.model.backbone
    size = config.train_transform(backbone.stride).size
    record(
        build=YES,
        parameters=sum(p.numel() for p in backbone.net.parameters()),
        image_size=config.image_size,
        train_size=size[0],
        other_size=_other_size(name, config.image_size),
        channels=backbone.out_channels,
        stride=backbone.stride,
    )
    # The step of the check is the trial itself: this process is a child, and its parent chooses the format.
    write_json(file_of(trial_settings(backbone, config)), {"format": memory_format})
    record(maps=_check_maps(method, config.image_size))
    record(saved=_check_saving(run, method))
    record(gradients=_check_gradients(method, size, memory_format))
    record(step=_check_training(train(config, folder / "run", quiet=True)))


def _images(folder: Path) -> Path:
    """A table of six images of noise: four in train, two in val."""
    generator = np.random.default_rng(0)
    file = folder / "labels.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "split", *LABELS])
        for i in range(6):
            Image.fromarray(generator.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(folder / f"{i}.png")
            table.writerow([f"{i}.png", "train" if i < 4 else "val", i % 2, (i + 1) % 2])
    return file


def _other_size(name: str, side: int) -> str:
    """A second side that the network built for the first one computes, or that it computes if built for it."""
    others = [other for other in OTHERS if other != side]
    for other in others:
        if size_refusal(name, -1, side, (other, other)) is None:
            return str(other)
    for other in others:
        if size_refusal(name, -1, other) is None:
            return f"{other}, built for it"
    return "none"


def _check_gradients(method: Method, size: tuple[int, int], memory_format: str) -> str:
    """Whether every parameter that learns gets a finite gradient, and the first groups can be frozen."""
    backbone: Any = method.train().model.backbone
    backbone.set_format(FORMATS[memory_format])
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    batch = Batch(images, Targets.of(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), torch.arange(2))
    method.loss(batch)["loss"].backward()
    learning = {name: p.grad for name, p in backbone.named_parameters() if p.requires_grad}
    without_gradient = [
        name
        for name, gradient in learning.items()
        if gradient is None or not bool(torch.isfinite(gradient).all())
    ]
    if without_gradient:
        raise ArithmeticError(
            f"{len(without_gradient)} of {len(learning)} parameters without a finite gradient: {without_gradient[0]}"
        )
    return YES


@torch.no_grad()
def _check_maps(method: Method, side: int) -> str:
    """Whether evidence maps of more than one place sum to 1."""
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    maps = method.model.eval()(images, want_maps=True).maps
    assert maps is not None
    if maps.shape[2] * maps.shape[3] < 2 or not bool(torch.isfinite(maps).all()):
        raise ArithmeticError(f"maps of shape {list(maps.shape)}")
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(maps.shape[:2]), atol=1e-4, rtol=0)
    return YES


@torch.no_grad()
def _check_saving(run: Run, method: Method) -> str:
    """Whether a saved and loaded model has the same outputs."""
    run.save()
    run.save_weights(method.model)
    side = run.config.image_size
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    expected, loaded = method.model.eval()(images).logits, run.model()(images).logits
    torch.testing.assert_close(loaded, expected, atol=0, rtol=0)
    return YES


def _check_training(run: Run) -> str:
    """Whether a training of two steps ended with finite scores on validation."""
    training = json.loads((run.path / "results.json").read_text())["training"]
    finite = bool(np.isfinite(StoredScores.read(run.path / "scores" / "val.npz").logits).all())
    if training["steps"] != 2 or training["skipped_steps"] or not finite:
        raise ArithmeticError(f"{training['skipped_steps']} skipped steps, finite scores: {finite}")
    return YES
