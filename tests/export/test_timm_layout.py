"""The layout for timm and transformers: equal answers, settings, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import tiny_runs
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact, Parity, exporting
from labelwise.export.engines import Eager
from labelwise.export.timm_layout import linear_head, write_timm
from labelwise.methods import create_model
from labelwise.training import Run
from labelwise.training.config import make_config
from labelwise.training.fit import train

NAMES = tuple(tiny_runs.COLOURS)
SCALE, SHIFT = np.array([0.5, 1.5, 2.0]), np.array([0.25, -1.0, 0.0])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a linear head over a convolutional network, and a calibration that changes every label."""
    folder = tmp_path_factory.mktemp("linear")
    source = f"csv:{tiny_runs.photographs(folder / 'photos')}"
    settings = tiny_runs.settings(
        source,
        method="baseline-gap",
        backbone={"name": "test_efficientnet", "weights": "none", "lr_factor": 1.0},
        extractor={"normalise": "batch"},
        epochs=1,
    )
    train(make_config(settings), folder / "run", quiet=True)
    made = Run.open(folder / "run")
    calibrated = Decisions(np.array([0.3, 0.4, 0.6]), SCALE, SHIFT)
    object.__setattr__(made, "decisions", lambda: calibrated)
    return made


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(
        0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


@pytest.fixture(scope="module")
def written(run: Run, images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "transformers"
    write_timm(run, folder, [(str(i), image) for i, image in enumerate(images)])
    return folder


@pytest.fixture(scope="module")
def probabilities(run: Run, images: torch.Tensor) -> np.ndarray:
    """Of the run, by its own calibration."""
    return run.decisions().probabilities(Eager(run.model(), "cpu")(images)[0])


def normalised(images: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
    mean, std = (torch.tensor(config["pretrained_cfg"][key])[:, None, None] for key in ("mean", "std"))
    return (images / 255 - mean) / std


def test_timm_answers_as_the_run_does(written: Path, images: torch.Tensor, probabilities: np.ndarray) -> None:
    config = json.loads((written / "config.json").read_text())
    net = timm.create_model(config["architecture"], num_classes=config["num_classes"]).eval()
    net.load_state_dict(load_file(written / "model.safetensors"))
    with torch.no_grad():
        found = net(normalised(images, config)).sigmoid().numpy()
    np.testing.assert_allclose(found, probabilities, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 1e-4
    assert config["problem_type"] == "multi_label_classification"
    assert config["label_names"] == list(NAMES)
    assert config["thresholds"] == {"red": 0.3, "green": 0.4, "blue": 0.6}
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]


def test_transformers_answers_as_the_run_does(
    written: Path, images: torch.Tensor, probabilities: np.ndarray
) -> None:
    """Its own classes, given the same pixels, and its pipeline, which returns five labels at most."""
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForImageClassification.from_pretrained(written)
    processor = transformers.AutoImageProcessor.from_pretrained(written)
    assert type(model).__name__ == "TimmWrapperForImageClassification"
    assert model.config.id2label == dict(enumerate(NAMES))
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    with torch.no_grad():
        found = model(**processor(pictures)).logits.sigmoid().numpy()
    np.testing.assert_allclose(found, probabilities, atol=1e-4)
    pipeline = transformers.pipeline("image-classification", model=model, image_processor=processor)
    for picture, expected in zip(pictures, probabilities, strict=True):
        scores = {entry["label"]: entry["score"] for entry in pipeline(picture, top_k=len(NAMES))}
        np.testing.assert_allclose([scores[name] for name in NAMES], expected, atol=1e-4)


def test_the_command_seals_the_folder_or_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph is left out, since tracing is slow."""

    def best(bench: exporting.Bench, *_: object, **__: object) -> exporting.Export:
        engine = bench.eager
        folder = bench.part / "graph"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"graph")
        artefact = Artefact(
            folder,
            "onnx",
            "model.onnx",
            run.labels,
            exporting.preprocessing(run, engine),
            bench.decisions,
            False,
            {},
        )
        artefact.save()
        return exporting.Export(artefact, Parity(1, 0.0, 0, None))

    monkeypatch.setattr(exporting, "_best", best)
    arguments = ("export", run.path, "--images", "2", "--transformers")
    assert tiny_runs.command(*arguments, "--out", tmp_path / "out").code == 0
    sums = json.loads((tmp_path / "out" / "checksums.json").read_text())
    assert {"transformers/config.json", "transformers/model.safetensors"} < set(sums)
    model = create_model("baseline-gap", "test_efficientnet", NAMES, image_size=32)
    monkeypatch.setattr(Run, "model", lambda self: model.eval())
    outcome = tiny_runs.command(*arguments, "--out", tmp_path / "refused")
    assert outcome.code == 2
    assert "train with --method baseline-gap --set extractor.normalise=batch" in outcome.message
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("method", "options"), [("dlfl", {"dim": 8, "ffn": 8}), ("baseline-gap", {}), ("baseline-mlp", {})]
)
def test_other_heads_are_refused(method: str, options: dict[str, Any]) -> None:
    """Those with attention, with the default scale, which depends on the image, and with a hidden layer."""
    model = create_model(method, "test_efficientnet", NAMES, image_size=32, extractor=options).eval()
    with pytest.raises(
        LabelwiseError, match="a head that is not linear in the mean of the map; expected one linear"
    ):
        linear_head(model)


def test_a_linear_head_is_read_exactly() -> None:
    model = create_model(
        "baseline-gap", "test_efficientnet", NAMES, image_size=32, extractor={"normalise": "none"}
    )
    weight, bias = linear_head(model.eval())
    torch.testing.assert_close(weight, model.classifier.weight, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(bias, model.classifier.bias)


def test_a_network_with_another_classifier_and_rules_are_refused(
    run: Run, images: torch.Tensor, tmp_path: Path
) -> None:
    photos = [("a", images[0])]
    model = create_model(
        "baseline-gap", "mobilenetv3_small_050", NAMES, image_size=32, extractor={"normalise": "none"}
    )
    other = Run(run.path, run.config, run.labels)
    object.__setattr__(other, "model", lambda: model.eval())
    with pytest.raises(
        LabelwiseError, match="mobilenetv3_small_050, which timm builds with a classifier otherwise"
    ):
        write_timm(other, tmp_path / "x", photos)
    object.__setattr__(other, "decisions", lambda: Decisions(np.ones(3), np.ones(3), np.zeros(3), top_k=2))
    with pytest.raises(LabelwiseError, match="labels with rules or a limit on their number"):
        write_timm(other, tmp_path / "x", photos)
    assert list(tmp_path.iterdir()) == []
