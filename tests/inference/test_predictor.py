"""Predictions of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import labelwise as lw
import tiny_runs
from labelwise.data.transforms import build_transform
from labelwise.errors import LabelwiseError
from labelwise.inference import Prediction, Predictor
from labelwise.inference.predictor import batch_of_inputs
from labelwise.labels import Group
from labelwise.runs.run import Run
from tolerance import ANSWERS


@pytest.fixture(scope="module")
def predictor(run_folder: Path) -> Predictor:
    """The finished run, loaded."""
    return lw.load(run_folder)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Seven photographs."""
    tiny_runs.photographs(tmp_path, 7, 0, 0)
    return [str(tmp_path / f"train{i}.jpg") for i in range(7)]


def test_answers_are_those_of_the_evaluation(predictor: Predictor, run_folder: Path, table: Path) -> None:
    data = lw.read(f"parquet:{table}")
    result = lw.evaluate(run_folder, data, split="test")
    rows = data.split("test")
    answers = list(predictor.predict([rows.encoded(i) for i in range(len(rows))], batch_size=5))
    ours = np.array([[a.scores[name] for name in data.labels] for a in answers])
    decisions = Run.open(run_folder).decisions()
    expected = decisions.probabilities(result.scores.logits)
    np.testing.assert_allclose(ours, expected, atol=ANSWERS)
    names = np.array(data.labels.names)
    assert [set(a.selected) for a in answers] == [set(names[row]) for row in decisions.select(expected)]


def test_order_of_images_and_of_labels(predictor: Predictor, photos: list[str]) -> None:
    answers = list(predictor.predict(photos, batch_size=3, workers=1))
    assert [a.image for a in answers] == photos
    assert all(a.error is None and a.maps is None for a in answers)
    for a in answers:
        assert list(a.scores.values()) == sorted(a.scores.values(), reverse=True)
        assert set(a.scores) == set(predictor.labels.names)
        assert a.selected == [n for n, s in a.scores.items() if s >= predictor.thresholds[n]]


def test_paths_bytes_and_tensors_are_one(predictor: Predictor, photos: list[str]) -> None:
    path = Path(photos[0])
    given = [photos[0], path, path.read_bytes(), lw.data.decode_image(path)]
    answers = list(predictor.predict(given))
    assert [a.image for a in answers] == [photos[0], photos[0], "", ""]
    assert all(a.scores == answers[0].scores for a in answers)
    assert [a.scores for a in predictor.predict(iter(given))] == [a.scores for a in answers]


def test_an_unreadable_image_has_an_error_and_the_others_are_predicted(
    predictor: Predictor, photos: list[str]
) -> None:
    Path(photos[2]).write_bytes(b"")
    answers = list(predictor.predict([*photos[:3], "/not/there.jpg", photos[4]], batch_size=2))
    assert [a.error is None for a in answers] == [True, True, False, False, True]
    assert "is empty" in str(answers[2].error)
    assert "does not exist" in str(answers[3].error)
    assert (answers[2].scores, answers[2].selected) == ({}, [])
    assert answers[2].to_json() == {"image": photos[2], "error": answers[2].error}


def test_maps_say_where(predictor: Predictor, photos: list[str]) -> None:
    (answer,) = predictor.predict(photos[:1], maps=True)
    for name in predictor.labels:
        evidence = answer.map(name)
        assert evidence.ndim == 2
        assert evidence.min() >= 0
        assert evidence.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(LabelwiseError, match="label 'dog'; expected one of 0, 1"):
        answer.map("dog")
    (without,) = predictor.predict(photos[:1])
    with pytest.raises(
        LabelwiseError, match=r"a prediction without maps; expected predict\(..., maps=True\)"
    ):
        without.map("1")


def test_evidence_is_the_map_of_the_requested_label(predictor: Predictor, photos: list[str]) -> None:
    Path(photos[1]).write_bytes(b"")
    maps = predictor.evidence(photos[:3], [4, 5, 6])
    (first, _, third) = predictor.predict(photos[:3], maps=True)
    assert np.array_equal(maps[0], first.map("4"))
    assert np.array_equal(maps[2], third.map("6"))
    assert not maps[1].any()


def test_the_line_of_an_answer() -> None:
    answer = Prediction("a.jpg", {"dog": 0.75, "cat": 0.25}, {"cat": 0.2, "dog": 0.8})
    assert answer.to_json() == {
        "image": "a.jpg",
        "labels": [
            {"name": "dog", "score": 0.75, "threshold": 0.8, "selected": False},
            {"name": "cat", "score": 0.25, "threshold": 0.2, "selected": True},
        ],
    }


def test_an_exclusive_group_is_one_choice_and_the_labels_are_listed_by_group() -> None:
    scores = {"hat": 0.9, "man": 0.75, "young": 0.6, "old": 0.2, "bag": 0.1}
    groups = {
        "person": Group(("man", "young", "old")),
        "head": Group(("hat",)),
        "age": Group(("young", "old"), exclusive=True),
        "alone": Group(("bag",), exclusive=True),
    }
    answer = Prediction("a.jpg", scores, dict.fromkeys(scores, 0.5), names=tuple(scores), groups=groups)
    # Each pair of independent states but both, by its probability.
    young, old, none = 0.6 * 0.8, 0.4 * 0.2, 0.4 * 0.8
    assert answer.choices == {
        "age": pytest.approx(
            {k: v / (young + old + none) for k, v in (("young", young), ("old", old))}, abs=1e-12
        )
    }
    assert list(answer.choices["age"]) == ["young", "old"]
    assert answer.to_json()["choices"] == answer.choices
    assert answer.by_group() == {"person": ["man"], "head": ["hat"], "age": ["young"]}
    assert answer.summary() == "person: man 0.75; head: hat 0.90; age: young 0.55"
    sure = Prediction("", {"young": 1.0, "old": 0.0}, {}, groups=groups)
    assert sure.choices["age"] == pytest.approx({"young": 1.0, "old": 0.0}, abs=1e-9)


def test_rules_forbid_what_a_threshold_allows() -> None:
    answer = Prediction(
        "a.jpg", {"dog": 0.75, "cat": 0.6}, {"cat": 0.5, "dog": 0.5}, chosen=frozenset({"dog"})
    )
    assert answer.selected == ["dog"]
    assert [label["selected"] for label in answer.to_json()["labels"]] == [True, False]


def test_labels_alone_make_no_predictor(predictor: Predictor) -> None:
    with pytest.raises(LabelwiseError, match=r"a predictor of labels alone; .*see labelwise.load"):
        Predictor(predictor.labels)
    same = Predictor(predictor.labels, predictor.decisions, predictor.transform, predictor.engine)
    assert same.thresholds == predictor.thresholds


def test_predicting_changes_no_random_state_and_no_batch_changes_a_prediction(
    predictor: Predictor, photos: list[str]
) -> None:
    before = torch.random.get_rng_state()
    alone = [a.scores for photo in photos for a in predictor.predict([photo])]
    together = [a.scores for a in predictor.predict(photos)]
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_run_without_weights_is_refused(tmp_path: Path, run_folder: Path) -> None:
    for name in ("config.yaml", "labels.json"):
        (tmp_path / name).write_bytes((run_folder / name).read_bytes())
    with pytest.raises(LabelwiseError, match=r"holds no model.safetensors; .*finish it with --resume"):
        lw.load(tmp_path)


def test_weights_of_other_settings_are_refused(tmp_path: Path, run_folder: Path) -> None:
    for name in ("config.yaml", "labels.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run_folder / name).read_bytes())
    settings = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(settings.replace("dim: 16", "dim: 8"))
    with pytest.raises(LabelwiseError, match=r"model.safetensors .*expected the weights of these settings"):
        lw.load(tmp_path)


@pytest.mark.parametrize(
    ("shown", "shape", "corner"),
    [
        ((0.0, 0.0, 1.0, 1.0), (2, 2), (0, 0)),
        ((0.25, 0.0, 0.75, 1.0), (2, 4), (0, 1)),
        ((0.0, 0.2, 1.0, 0.8), (3, 2), (1, 0)),
    ],
)
def test_a_map_lies_over_the_part_that_was_shown(shown: tuple, shape: tuple, corner: tuple) -> None:
    evidence = np.array([[0.1, 0.2], [0.3, 0.4]])
    answer = Prediction("", {}, {}, None, evidence[None], ("dog",), shown=shown)
    whole = answer.over_photograph("dog")
    assert whole.shape == shape
    assert np.array_equal(whole[corner[0] : corner[0] + 2, corner[1] : corner[1] + 2], evidence)
    assert whole.sum() == pytest.approx(1)


def test_the_shown_part_follows_the_transform(predictor: Predictor, tmp_path: Path) -> None:
    config = predictor.transform.config.model_copy(update={"resize": "crop"})
    cropping = Predictor(
        predictor.labels, predictor.decisions, build_transform(config, train=False), predictor.engine
    )
    wide = torch.randint(0, 255, (3, 40, 80), dtype=torch.uint8)
    assert next(iter(cropping.predict([wide]))).shown == (0.25, 0.0, 0.75, 1.0)
    assert next(iter(predictor.predict([wide]))).shown == (0.0, 0.0, 1.0, 1.0)
    (evidence,) = cropping.evidence([wide], [0])
    assert evidence.shape[1] == 2 * evidence.shape[0]


class Huge:
    """An image whose batch no machine holds."""

    shape = (3, 10**7, 10**7)


def test_a_batch_that_memory_does_not_hold_is_one_line(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LabelwiseError, match=r"a batch of 2 images, for which there is too little memory"):
        batch_of_inputs([Huge(), Huge()])

    def fail(*given: object, **named: object) -> None:
        raise RuntimeError("cannot allocate 9 TB")

    monkeypatch.setattr(predictor.engine.model, "forward", fail)
    with pytest.raises(LabelwiseError, match=r"images of shape .*, which eager .* \(cannot allocate 9 TB\)"):
        list(predictor.predict([torch.zeros(3, 8, 8, dtype=torch.uint8)]))
