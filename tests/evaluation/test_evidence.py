"""Evidence of a split: maps of true labels, boxes, and the class activation of pooled models."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import labelwise as lw
import tiny_runs
from labelwise.data.dataset import Dataset
from labelwise.data.transforms import TransformConfig
from labelwise.evaluation.evidence import Evidence
from labelwise.methods import create_model
from labelwise.metrics import AttentionReport, PointingGame
from labelwise.model import LabelModel
from labelwise.types import Batch, Output, Targets
from tolerance import summed

IN_BOXES = ("pointing", "energy", "pointing_centre", "pointing_random", "pointing_hard", "energy_hard")


@pytest.fixture
def data(table: Path) -> Dataset:
    """The scenes."""
    return lw.read(f"parquet:{table}")


def test_figures_are_those_of_all_maps_at_once(run_folder: Path, data: Dataset) -> None:
    result = lw.evaluate(run_folder, data, batch_size=5)
    rows = data.split("test")
    predictor = lw.load(run_folder)
    images = [rows.encoded(i) for i in range(17)]
    maps = torch.from_numpy(np.stack([p.maps for p in predictor.predict(images, maps=True)]))
    game, report = PointingGame(10), AttentionReport()
    game.update(maps, [rows.boxes_of(i) for i in range(17)])
    report.update(maps, torch.from_numpy((np.asarray(rows.values) >= 0.5) & np.asarray(rows.known)))
    boxes, spread, m = game.compute(), report.compute(), result.metrics
    same = {"pointing": "score", "energy": "energy", "pointing_centre": "centre", "pointing_random": "area"}
    expected = {name + end: key + end for end in ("", "_hard") for name, key in same.items()}
    assert {k: m[k] for k in expected} == pytest.approx({k: boxes[v] for k, v in expected.items()}, abs=1e-6)
    assert m["attention_entropy"] == pytest.approx(spread["entropy"], abs=1e-6)
    assert m["attention_overlap"] == pytest.approx(spread["overlap"], abs=1e-6)
    assert m["pointing_baselines"] == {"centre": m["pointing_centre"], "area": m["pointing_random"]}
    for name, rate in zip(rows.labels.names, boxes["energy_per_label"], strict=True):
        own = result.per_label[name]["energy"]
        assert own is None if np.isnan(rate) else own == pytest.approx(rate, abs=1e-6)


def test_without_boxes_the_attention_metrics_remain(run_folder: Path, data: Dataset) -> None:
    m = lw.evaluate(run_folder, replace(data, boxes=None)).metrics
    assert 0 <= m["attention_overlap"] <= 1
    assert not set(IN_BOXES) & set(m)
    assert "attention_entropy" not in lw.evaluate(run_folder, data, pointing=False).metrics


def test_boxes_are_looked_for_in_the_part_that_was_shown(data: Dataset, monkeypatch: Any) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (100, 50)).save(stream, "PNG")
    monkeypatch.setattr(Dataset, "encoded", lambda self, row: stream.getvalue())
    monkeypatch.setattr(Dataset, "boxes_of", lambda self, row: [(0, 0.6, 0.0, 0.75, 1.0)])
    maps = torch.zeros(1, 10, 2, 4)
    maps[0, :, :, 3] = 0.5  # the right quarter of the crop: x from .625 to .75 of the photograph
    targets = Targets(torch.ones(1, 10), torch.ones(1, 10, dtype=torch.bool))
    batch = Batch(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), targets, torch.zeros(1, dtype=torch.int64))
    features = torch.zeros(1, 10, 2)
    for resize, hit in (("crop", 1.0), ("squash", 0.0)):
        evidence = Evidence(data, TransformConfig(image_size=8, resize=resize))
        evidence.update(batch, Output(torch.zeros(1, 10), features, maps, features))
        metrics: dict[str, Any] = {}
        evidence.add_to(metrics, {name: {} for name in data.labels.names})
        assert metrics["pointing"] == hit


def test_a_metric_without_samples_is_left_out(run_folder: Path, data: Dataset) -> None:
    assert data.boxes is not None
    result = lw.evaluate(run_folder, replace(data, boxes=pa.array([[]] * len(data), data.boxes.type)))
    assert "pointing" not in result.metrics
    assert result.metrics["pointing_baselines"] == {"centre": None, "area": None}
    assert {label["energy"] for label in result.per_label.values()} == {None}
    assert "NaN" not in json.dumps(result.to_json())


def pooled(method: str, labels: int = 3) -> tuple[LabelModel, torch.Tensor]:
    torch.manual_seed(0)
    model = create_model(method, "test_resnet", [str(i) for i in range(labels)]).eval()
    torch.nn.init.normal_(model.classifier.weight)
    torch.nn.init.normal_(model.classifier.bias)
    with torch.no_grad():
        x = model.backbone(torch.randint(0, 256, (2, 3, 96, 64), dtype=torch.uint8))
    return model, x - x.mean(
        (2, 3), keepdim=True
    )  # so that some positions are evidence for a label and some against


@torch.no_grad()
@pytest.mark.parametrize("method", ["baseline-gap", "baseline-gmp"])
def test_class_activation_equals_its_equation(method: str) -> None:
    model, x = pooled(method)
    maps = model(x, want_maps=True, is_map=True).maps
    x = model.extractor.norm(x)
    for b in range(2):
        for j, w in enumerate(model.classifier.weight):
            scores = torch.einsum("c,chw->hw", w, x[b])
            assert scores.max() > 0 > scores.min()
            torch.testing.assert_close(maps[b, j], scores.relu() / scores.relu().sum(), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_mean_of_the_scores_of_positions_is_the_logit() -> None:
    model, x = pooled("baseline-gap")
    features = model.extractor.places(x)
    places = model.classifier(features.flatten(0, 1).unsqueeze(1).expand(-1, 3, -1))
    bound = summed(features.shape[1] + features.shape[2], features.abs() @ model.classifier.weight.abs().T)
    torch.testing.assert_close(places.unflatten(0, (2, -1)).mean(1), model(x, is_map=True).logits, **bound)


@torch.no_grad()
def test_the_hidden_layer_is_applied_to_each_position() -> None:
    model, x = pooled("baseline-mlp")
    maps = model.class_activation(x)
    zero = model.classifier(torch.zeros(1, 3, model.extractor.dim))
    normed = model.extractor.norm(x)
    raised = torch.stack(
        [
            model.extractor.hidden(normed[:, :, row, column]) @ model.classifier.weight.T
            + model.classifier.bias
            - zero
            for row in range(3)
            for column in range(2)
        ],
        dim=2,
    )
    shown = (raised > 0).any(2)
    assert shown.any()
    assert (raised < 0).any()
    evidence = raised.relu().sum(2, keepdim=True)
    expected = raised.relu() / evidence
    hidden = model.extractor.hidden[0]
    size = (normed.abs().sum(1).amax() * hidden.weight.abs().max() + 1) * model.classifier.weight.abs().sum(1)
    bound = summed(hidden.in_features + hidden.out_features, size.max() / evidence[shown].min())
    torch.testing.assert_close(maps.flatten(2)[shown], expected[shown], **bound)


@torch.no_grad()
def test_a_label_without_positive_evidence() -> None:
    model, x = pooled("baseline-gap")
    x = x.abs()
    model.classifier.weight[0] = -1
    model.classifier.weight[1] = 0
    maps = model.class_activation(x)
    lowest = model.extractor.norm(x).sum(1)
    above = lowest.amax((1, 2), keepdim=True) - lowest
    torch.testing.assert_close(maps[:, 0], above / above.sum((1, 2), keepdim=True), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps[:, 1], torch.full_like(maps[:, 1], 1 / maps[0, 1].numel()))
    assert model.class_activation(x[:, :, :1, :1]).flatten().tolist() == [1.0] * 6


def test_judging_may_be_imported_first() -> None:
    code = tiny_runs.WITHOUT_PACKAGE + "import labelwise as lw; lw.evaluate"
    assert tiny_runs.forked(script=code) == tiny_runs.Outcome(0, "", "")
