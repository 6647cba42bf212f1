"""Views of an image at test time: against single views by hand, and the same in every place that answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from timm.models import register_model
from timm.models.mlp_mixer import MlpMixer

import labelwise as lw
import tiny_runs
from labelwise.data.transforms import TransformConfig, TwoSizes, build_transform
from labelwise.decisions import tune
from labelwise.errors import LabelwiseError
from labelwise.evaluation import StoredScores, evaluate
from labelwise.evaluation.corrupt import Corruption, corrupt
from labelwise.evaluation.tune import tune_run
from labelwise.export.engines import Eager
from labelwise.inference.predictor import Predictor
from labelwise.methods import create_model
from labelwise.metrics import functional as F
from labelwise.runs import Run
from labelwise.runs.config import make_config
from labelwise.runs.test_time import resolved
from labelwise.runs.views import Views, with_views
from labelwise.serving.app import create_app
from labelwise.training.fit import train
from labelwise.training.grown import settings_of_run
from labelwise.training.resuming import settings_begun
from labelwise.types import Targets
from live_server import live
from tiny_runs import command
from tolerance import ANSWERS

BACKBONE = {"name": "test_resnet", "weights": "none", "freeze": True}


@register_model
def tiny_mixer_of_one_size(**options: object) -> MlpMixer:
    """A network whose weights count the places of an image."""
    return MlpMixer(num_classes=0, img_size=32, patch_size=16, num_blocks=1, embed_dim=8)


def conv_run(base: Path, table: Path, name: str, **changes: object) -> Path:
    out = base / name
    if not out.exists():
        given = tiny_runs.settings(f"parquet:{table}", backbone=BACKBONE, **changes)
        train(make_config(given), out, quiet=True)
    return out


@pytest.fixture(scope="module")
def plain(base: Path, table: Path) -> Path:
    """A run of one view on a frozen network of convolutions."""
    return conv_run(base, table, "views-none")


@pytest.fixture(scope="module")
def mirrored(base: Path, table: Path) -> Path:
    """The same, trained with `flip`."""
    return conv_run(base, table, "views-flip", test_time="flip")


@pytest.fixture
def own(tmp_path: Path, run_folder: Path) -> Path:
    """A run that may be changed."""
    return shutil.copytree(run_folder, tmp_path / "run")


def pictures(table: Path, size: tuple[int, int]) -> list[np.ndarray]:
    rows = lw.read(f"parquet:{table}").split("test")
    arrays = []
    for i in range(6):
        shown = build_transform(TransformConfig(image_size=64), train=False).decode(rows.encoded(i))
        arrays.append(np.asarray(Image.fromarray(shown.permute(1, 2, 0).numpy()).resize(size)))
    return arrays


def logits(run: Path | Predictor, images: Sequence[np.ndarray]) -> np.ndarray:
    """What `predict` says, with the run's own calibration taken back."""
    predictor = run if isinstance(run, Predictor) else lw.load(run)
    d = predictor.decisions
    p = np.array([[a.scores[n] for n in predictor.labels.names] for a in predictor.predict(images)])
    return (np.log(p / (1 - p)) - d.bias) / d.scale


def of_views(path: Path, test_time: str) -> Predictor:
    """A run that answers by views that its decisions were not fitted under."""
    run = Run.open(path, test_time)
    transform = build_transform(run.config.transform(), train=False)
    return Predictor(run.labels, run.decisions(), transform, Eager(run.model(), "cpu"))


def test_flip_is_the_mean_logit_of_the_image_and_its_mirror(plain: Path, mirrored: Path, table: Path) -> None:
    images = pictures(table, (32, 32))  # of the run's size, so that nothing is resized
    own = logits(plain, images)
    other = logits(plain, [np.ascontiguousarray(image[:, ::-1]) for image in images])
    assert np.abs(own - other).max() > 20 * ANSWERS
    np.testing.assert_allclose(logits(mirrored, images), (own + other) / 2, atol=2 * ANSWERS)


def test_maps_of_flip_are_mirrored_back(run_folder: Path, own: Path, table: Path) -> None:
    batch = torch.stack([torch.tensor(image).permute(2, 0, 1) for image in pictures(table, (32, 32))])
    run = Run.open(own, "flip")
    model, views = Run.open(run_folder).model(), run.model()
    with torch.no_grad():
        a, b, output = model(batch, True), model(batch.flip(-1), True), views(batch, True)
    torch.testing.assert_close(output.maps, (a.maps + b.maps.flip(-1)) / 2)
    assert not torch.allclose(output.maps, (a.maps + b.maps) / 2, atol=1e-4)
    torch.testing.assert_close(output.maps.sum((2, 3)), torch.ones(output.maps.shape[:2]))
    torch.testing.assert_close(output.features, a.features)


def test_multi_scale_is_the_mean_logit_of_two_sizes(
    plain: Path, mirrored: Path, table: Path, tmp_path: Path
) -> None:
    images = pictures(table, (80, 60))
    larger = shutil.copytree(plain, tmp_path / "larger")
    settings = yaml.safe_load((larger / "config.yaml").read_text())
    (larger / "config.yaml").write_text(yaml.safe_dump({**settings, "image_size": 64}))
    both = of_views(plain, "multi-scale")
    small, large = logits(plain, images), logits(larger, images)
    assert np.abs(small - large).max() > 20 * ANSWERS
    np.testing.assert_allclose(logits(both, images), (small + large) / 2, atol=2 * ANSWERS)
    shown = next(iter(both.predict(images[:1], maps=True)))
    assert shown.maps is not None
    assert shown.maps.shape == next(iter(lw.load(plain).predict(images[:1], maps=True))).maps.shape


def test_training_is_the_same_and_the_end_is_judged_by_the_views(
    plain: Path, mirrored: Path, table: Path
) -> None:
    assert (plain / "model.safetensors").read_bytes() == (mirrored / "model.safetensors").read_bytes()
    record = [json.loads((path / "results.json").read_text()) for path in (plain, mirrored)]
    assert record[0]["training"]["best_epoch"] == record[1]["training"]["best_epoch"]
    of_plain, of_flip = (r["splits"]["test"] for r in record)
    assert of_plain["conditions"]["test_time_augmentation"] == "none"
    assert of_flip["conditions"]["test_time_augmentation"] == "flip"
    data = lw.read(f"parquet:{table}")
    again = evaluate(mirrored, data, "test", batch_size=8)
    for name in ("mAP", "CF1", "OF1", "tuned", "pointing", "calibration"):
        assert again.metrics[name] == of_flip["metrics"][name]
    rows = data.split("test")
    predictor = lw.load(mirrored)
    answers = list(predictor.predict([bytes(rows.encoded(i)) for i in range(len(rows))], batch_size=8))
    p = np.array([[a.scores[name] for name in predictor.labels.names] for a in answers])
    y = rows.positive.astype(int)
    assert F.mean_average_precision(p, y, rows.known) == pytest.approx(of_flip["metrics"]["mAP"], abs=1e-9)
    chosen = np.array([[name in a.selected for name in predictor.labels.names] for a in answers])
    tuned = F.threshold_metrics(chosen.astype(float), y, rows.known)
    assert of_flip["metrics"]["tuned"] == pytest.approx(tuned)


def test_thresholds_belong_to_the_scores(mirrored: Path, plain: Path) -> None:
    stored, before = (StoredScores.read(path / "scores" / "val.npz") for path in (mirrored, plain))
    assert not np.array_equal(stored.logits, before.logits)
    hard = (stored.values >= 0.5).astype(np.uint8)
    run = Run.open(mirrored)
    fitted = tune(stored.logits, hard, stored.known, run.labels, never=run.decisions().never)
    assert run.decisions().thresholds.tolist() == fitted.decisions.thresholds.tolist()
    assert run.decisions().scale.tolist() == fitted.decisions.scale.tolist()
    assert json.loads((mirrored / "labels.json").read_text())["test_time"] == "flip"
    assert "test_time" not in json.loads((plain / "labels.json").read_text())


def test_a_run_is_changed_there_and_back(own: Path, table: Path) -> None:
    done = command("tune", own, "--workers", "0")
    assert done.code == 0, done.err
    labels, results = (own / "labels.json").read_bytes(), json.loads((own / "results.json").read_text())
    assert command("tune", own, "--test-time", "flip", "--workers", "0").code == 0
    run, flipped = Run.open(own), json.loads((own / "results.json").read_text())
    assert run.config.test_time == "flip"
    assert settings_of_run(own)["test_time"] == "flip"  # what a run that grows from it takes
    begun = settings_begun(own)
    assert begun is not None
    assert begun["test_time"] == "flip"  # what --resume goes on with
    for split in ("val", "test"):
        now = flipped["splits"][split]
        scores = StoredScores.read(own / "scores" / f"{split}.npz")
        fresh = evaluate(run, lw.read(f"parquet:{table}"), split)
        np.testing.assert_allclose(scores.logits, fresh.scores.logits, atol=1e-5)
        assert now["metrics"]["mAP"] == fresh.metrics["mAP"]
        assert now["conditions"]["test_time_augmentation"] == "flip"
        assert now["metrics"].keys() == results["splits"][split]["metrics"].keys()
    assert now["metrics"]["tuned"] == fresh.metrics["tuned"]
    assert (own / "labels.json").read_bytes() != labels
    assert command("tune", own, "--test-time", "none", "--workers", "0").code == 0
    assert (own / "labels.json").read_bytes() == labels
    back = json.loads((own / "results.json").read_text())
    for split in ("val", "test"):
        now, before = (record["splits"][split]["metrics"] for record in (back, results))
        assert now["mAP"] == pytest.approx(before["mAP"], abs=1e-6)
        assert now["tuned"] == pytest.approx(before["tuned"], abs=1e-6)


def test_a_setting_changed_by_hand_is_refused(own: Path) -> None:
    settings = yaml.safe_load((own / "config.yaml").read_text())
    assert settings.pop("test_time") == "none"
    (own / "config.yaml").write_text(yaml.safe_dump(settings))
    assert Run.open(own).config.test_time == "none"  # a run from before there was such a setting
    (own / "config.yaml").write_text(yaml.safe_dump({**settings, "test_time": "flip"}))
    photo = tiny_runs.photographs(own / "photos", 1, 0, 0).with_name("train0.jpg")
    for arguments in (["evaluate", own], ["predict", own, photo], ["export", own, "--out", own / "e"]):
        assert (
            "with test_time = flip, and thresholds of scores under none; expected"
            in command(*arguments).message
        )
    assert command("tune", own, "--test-time", "flip", "--workers", "0").code == 0
    assert command("evaluate", own, "--workers", "0").code == 0


def test_figures_are_taken_again_of_the_same_images_alone(own: Path, tmp_path: Path) -> None:
    before = (own / "config.yaml").read_bytes()
    other = lw.read(f"csv:{tiny_runs.photographs(tmp_path / 'other')}")
    with pytest.raises(LabelwiseError, match="another test_time on data without the val images"):
        tune_run(own, other, test_time="flip")
    assert (own / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tta", "test_time = 'tta'; expected none, flip, multi-scale or multi-scale=SIDE"),
        ("multi-scale=x", "test_time = 'multi-scale=x'; expected none, flip"),
        (
            "multi-scale=32",
            "test_time = 'multi-scale=32' with images of 32 px; expected a larger second side",
        ),
    ],
)
def test_words_that_it_refuses(own: Path, value: str, message: str) -> None:
    assert message in command("tune", own, "--test-time", value).message
    assert message in command("train", "--resume", "--out", own, "--set", f"test_time={value}").message


def test_the_second_size() -> None:
    assert [resolved("multi-scale", side) for side in (32, 224, 448)] == [
        "multi-scale=64",
        "multi-scale=288",
        "multi-scale=576",
    ]
    config = make_config(
        {"data": {"source": ""}, "image_size": 256, "image_width": 128, "test_time": "multi-scale"}
    )
    assert config.transform().sizes == ((256, 128), (320, 160))
    assert config.transform().input_size == (576, 160)
    assert make_config(config.model_dump()).test_time == config.test_time


def test_a_network_of_one_size_is_refused_before_it_is_trained(table: Path, tmp_path: Path) -> None:
    backbone = {"name": "tiny_mixer_of_one_size", "weights": "none"}
    given = tiny_runs.settings(f"parquet:{table}", backbone=backbone, test_time="multi-scale")
    with pytest.raises(
        LabelwiseError, match=r"test_time = multi-scale=64 with tiny_mixer_of_one_size .*both"
    ):
        train(make_config(given), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    given["backbone"] = {"name": "test_vit", "weights": "none"}
    given["test_time"] = "multi-scale=50"  # no multiple of the patch
    with pytest.raises(LabelwiseError, match=r"test_time = multi-scale=50 with test_vit .*suits its stride"):
        train(make_config(given), tmp_path / "vit", quiet=True)


@pytest.mark.parametrize("word", ["flip", "multi-scale"])
def test_the_server_answers_as_predict_does(plain: Path, tmp_path: Path, word: str) -> None:
    tiny_runs.photographs(tmp_path, 3, 0, 0)
    files = [tmp_path / f"train{i}.jpg" for i in range(3)]
    predictor = of_views(plain, word)
    with live(create_app(predictor, title="mine")) as client:
        sent = [("files", (f.name, f.read_bytes())) for f in files]
        predictions = client.post("/predict", files=sent).raise_for_status().json()["predictions"]
    for line, expected in zip(predictions, predictor.predict([str(f) for f in files]), strict=True):
        for label in line["labels"]:
            assert label["score"] == pytest.approx(expected.scores[label["name"]], abs=ANSWERS)
            assert label["selected"] == (label["name"] in expected.selected)


def test_views_of_a_sheet_are_corrupted_each() -> None:
    transform = build_transform(TwoSizes(image_size=32, larger=(64, 64)), train=False)
    image = torch.arange(3 * 90 * 70).reshape(3, 90, 70).to(torch.uint8)
    sheet = transform(image)
    assert sheet.shape == (3, 96, 64)
    one = build_transform(TransformConfig(image_size=64), train=False)(image)
    assert torch.equal(sheet[:, 32:], one)
    assert not sheet[:, :32, 32:].any()
    corrupted = Corruption(transform, "blur", 3)(image)
    assert torch.equal(corrupted[:, 32:], corrupt(one, "blur", 3, torch.Generator()))
    assert not corrupted[:, :32, 32:].any()


def test_known_states_hold_for_both_views_and_stored_maps_are_refused() -> None:
    torch.manual_seed(0)
    model = create_model(
        "c-tran", "test_resnet", ["a", "b"], image_size=32, extractor={"dim": 8, "ffn": 8}
    ).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    states = Targets.of(torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]]))
    views = with_views(model, "flip", [(32, 32)])
    assert isinstance(views, Views)
    with torch.no_grad():
        z = [model(part, states=states).logits for part in (images, images.flip(-1))]
        torch.testing.assert_close(views(images, states=states).logits, (z[0] + z[1]) / 2)
        with pytest.raises(LabelwiseError, match="stored maps for a run with several views in test_time"):
            views(images, is_map=True)
    assert with_views(model, "none", [(32, 32)]) is model
    assert views.state_dict().keys() == model.state_dict().keys()
