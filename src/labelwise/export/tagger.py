"""The layout of community taggers: `model.onnx` with tables of tags and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.decisions import Decisions
from labelwise.engines.engine import PROBABILITY
from labelwise.engines.runtimes import Answer, Engine, compiled
from labelwise.errors import LabelwiseError
from labelwise.export.engines import Eager
from labelwise.export.graph import OPSET, exported_graph, refusing, require, save_onnx
from labelwise.export.parity import batches_of, compare, compare_batches
from labelwise.model import LabelModel
from labelwise.runs.files import read_json, save_csv, write_json
from labelwise.runs.run import Run

INPUT, OUTPUTS = "input", ("prediction", "logits")


class Tagger(nn.Module):
    """A model with the interface of taggers: floats `[B, 3, H, W]` in [0, 1] -> probabilities and logits `[B, L]`.

    Args:
        model: the model to export.
        scale: `[L]`, of the calibration.
        bias: `[L]`, of the calibration.
        never: columns of labels that are never selected; their probability is set to 0, under every threshold, since
            the layout cannot express them.
    """

    def __init__(
        self, model: LabelModel, scale: np.ndarray, bias: np.ndarray, never: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("scale", torch.from_numpy(scale).float())
        self.register_buffer("bias", torch.from_numpy(bias).float())
        self.register_buffer("learned", torch.from_numpy(~np.isin(np.arange(len(bias)), never)).float())

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """`(prediction, logits)`."""
        logits = self.model(input).logits.float()
        return (logits * self.scale + self.bias).sigmoid() * self.learned, logits


def write_tagger(run: Run, folder: Path, photos: Sequence[tuple[str, Tensor]]) -> None:
    """Writes the layout to a folder and compares its graph with the run.

    Args:
        run: a finished run.
        folder: the folder to create.
        photos: named uint8 images `[3, H, W]` of the run's size to compare on.

    Raises:
        LabelwiseError: a label set with rules that this layout cannot express, or different outputs.
    """
    require("onnx")
    decisions = run.decisions()
    if decisions.top_k or decisions.rules:
        raise LabelwiseError(
            "labels that exclude or imply one another, or a limit on their number",
            "thresholds alone, all that the tagger layout can say",
            "export without --tagger",
        )
    transform = run.config.transform()
    if len(transform.sizes) > 1:
        raise LabelwiseError(
            f"test_time = {run.config.test_time}",
            "images of one size, all that the tagger layout can say",
            "export without --tagger",
        )
    folder.mkdir(parents=True)
    eager, names = Eager(run.model(), "cpu"), run.labels.names
    runtimes = tagger_runtimes(write_tagger_graph(run, eager, folder), decisions)
    compare(eager, runtimes[0][1](), batches_of(photos), decisions, names)
    compare_batches(eager, runtimes, photos, decisions, names)
    save_csv(folder / "selected_tags.csv", _tags(run))
    threshold = _median_threshold(decisions)
    save_csv(folder / "thresholds.csv", [["category", "name", "threshold"], [0, "general", threshold]])
    write_json(folder / "categories.json", [{"category": 0, "name": "general"}])
    stages = _stages(run)
    write_json(folder / "preprocess.json", {"test": stages, "val": stages})


def write_tagger_graph(run: Run, eager: Eager, folder: Path) -> Path:
    """Writes `model.onnx` of the layout to a folder.

    Args:
        run: for its decisions and the size of its images.
        eager: its model.
        folder: an existing folder.

    Raises:
        LabelwiseError: ONNX cannot express the model.
    """
    decisions, size, file = run.decisions(), run.config.transform().size, folder / "model.onnx"
    tagger = Tagger(eager.model, decisions.scale, decisions.bias, decisions.never)
    with refusing("the tagger layout", "export without --tagger"):
        save_onnx(exported_graph(tagger, torch.zeros(3, 3, *size), INPUT), file, INPUT, OUTPUTS)
    return file


def tagger_runtimes(file: Path, decisions: Decisions) -> list[tuple[str, Callable[[], Engine]]]:
    """Each installed runtime that reads the layout's graph, with a function that opens it there."""
    openers = (("onnxruntime", _in_onnxruntime), ("openvino", _in_openvino))
    return [(p, partial(_Runtime, opener, file, decisions)) for p, opener in openers if find_spec(p)]


def _median_threshold(decisions: Decisions) -> float:
    """The median threshold of the labels that can be selected."""
    selectable = np.delete(decisions.thresholds, list(decisions.never))
    return float(np.median(selectable)) if len(selectable) else 1.0


def _tags(run: Run) -> list[list[Any]]:
    """The header, and a row per label; its count is the positives of the test, or else the validation split."""
    try:
        splits = read_json(run.path / "results.json")["splits"]
        split = splits.get("test") or splits.get("val") or {}
    except (LabelwiseError, KeyError):
        split = {}
    per_label = split.get("per_label", {})
    rows: list[list[Any]] = [["tag_id", "name", "category", "count", "best_threshold"]]
    for j, (name, threshold) in enumerate(zip(run.labels.names, run.decisions().thresholds, strict=True)):
        rows.append([j, name, 0, per_label.get(name, {}).get("positives", 0), float(threshold)])
    return rows


def _stages(run: Run) -> list[dict[str, Any]]:
    """The transform to the graph's input as torchvision stages; normalisation is inside the graph."""
    transform = run.config.transform()
    height, width = transform.size
    resize = {"type": "resize", "interpolation": "bicubic", "antialias": True, "max_size": None}
    to_tensor = {"type": "maybe_to_tensor"}
    if transform.resize == "squash":
        return [{**resize, "size": [height, width]}, to_tensor]
    crop = {"type": "center_crop", "size": [height, width]}
    return [{**resize, "size": max(height, width)}, crop, to_tensor]


_GraphCall = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Floats `[B, 3, H, W]` -> probabilities and logits `[B, L]`."""


def _in_onnxruntime(file: Path) -> _GraphCall:
    """The graph of a file in ONNX Runtime."""
    import onnxruntime as ort

    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: session.run(list(OUTPUTS), {INPUT: images})


def _in_openvino(file: Path) -> _GraphCall:
    """The graph of a file in OpenVINO."""
    run, _ = compiled(file)
    return lambda images: [np.array(output) for output in run({INPUT: images}).values()]


class _Runtime:
    """The tagger's graph as an engine that checks its probabilities against its logits."""

    has_maps = False

    def __init__(self, opener: Callable[[Path], _GraphCall], file: Path, decisions: Decisions) -> None:
        runtime = opener.__name__.removeprefix("_in_")
        self.name = f"the tagger layout (ONNX opset {OPSET}, {runtime})"
        self._run, self._decisions = opener(file), decisions

    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        prediction, logits = self._run((images.float() / 255).numpy())
        expected = self._decisions.probabilities(logits)
        expected[:, list(self._decisions.never)] = 0
        difference = float(np.abs(prediction - expected).max())
        if not difference <= PROBABILITY:
            raise LabelwiseError(
                f"{self.name} with probabilities {difference:.3g} off its logits",
                f"at most {PROBABILITY:g}",
                "export without --tagger",
            )
        return logits, None
