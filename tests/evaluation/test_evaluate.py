"""Evaluation of a run: metrics against scikit-learn, conditions, and data that do not match."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

import labelwise as lw
import tiny_runs
from labelwise.data.dataset import Dataset
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.evaluation.evaluate import same_labels
from labelwise.evaluation.figures import figures
from labelwise.evaluation.scores import Scores
from labelwise.metrics import functional as F
from labelwise.runs import Run
from labelwise.runs.config import make_config
from labelwise.training.fit import train


@pytest.fixture
def data(table: Path) -> Dataset:
    """The scenes."""
    return lw.read(f"parquet:{table}")


@pytest.fixture
def run(run_folder: Path) -> Run:
    """The finished run."""
    return Run.open(run_folder)


def _scores(known: bool = True) -> Scores:
    rng = np.random.default_rng(0)
    values = (rng.random((40, 10)) < 0.3).astype(np.uint8)
    mask = np.ones((40, 10), bool) if known else rng.random((40, 10)) < 0.6
    logits = (rng.normal(size=(40, 10)) + 2 * values - 1).astype(np.float32)
    return Scores(np.arange(40), logits, np.where(mask, values, 0).astype(np.uint8), mask, [])


@pytest.mark.parametrize("known", [True, False])
def test_figures_are_those_of_scikit_learn(run: Run, known: bool) -> None:
    s, decisions = _scores(known), run.decisions()
    metrics, per_label = figures(s, run.labels.names, decisions)
    p = decisions.probabilities(s.logits)
    for j, name in enumerate(run.labels.names):
        y, selected = s.values[s.known[:, j], j], p[s.known[:, j], j] >= decisions.thresholds[j]
        own = per_label[name]
        assert own["AP"] == pytest.approx(average_precision_score(y, s.logits[s.known[:, j], j]))
        assert own["precision"] == pytest.approx(
            precision_score(y, selected, zero_division=np.nan), nan_ok=True
        )
        assert own["recall"] == pytest.approx(recall_score(y, selected))
        assert own["F1"] == pytest.approx(f1_score(y, selected))
        assert (own["positives"], own["negatives"]) == (y.sum(), (1 - y).sum())
        assert own["unknown"] == 40 - len(y)
    assert metrics["mAP"] == pytest.approx(np.mean([own["AP"] for own in per_label.values()]))
    y, selected = s.values[s.known], s.logits[s.known] >= 0
    assert metrics["OF1"] == pytest.approx(f1_score(y, selected))
    assert metrics["OP"] == pytest.approx(precision_score(y, selected))
    tuned = (p >= decisions.thresholds)[s.known]
    assert metrics["tuned"]["OF1"] == pytest.approx(f1_score(y, tuned))


def test_calibration_stands_before_and_after(run: Run) -> None:
    s = _scores()
    p = 1 / (1 + np.exp(-s.logits.astype(float)))
    sharp = Decisions(np.full(10, 0.5), np.full(10, 4.0), np.zeros(10))
    metrics, per_label = figures(s, run.labels.names, sharp)
    before = F.calibration_error(p, s.values)
    assert metrics["calibration"]["before"]["ECE"] == pytest.approx(before.mean())
    after = F.calibration_error(sharp.probabilities(s.logits), s.values)
    assert [label["ECE"] for label in per_label.values()] == pytest.approx(after.tolist())
    assert [label["ECE_before"] for label in per_label.values()] == pytest.approx(before.tolist())


def test_intervals_hold_the_figures(run: Run) -> None:
    metrics, _ = figures(_scores(known=False), run.labels.names, run.decisions())
    point_estimates = {"mAP": metrics["mAP"], "CF1_macro": metrics["CF1_macro"]}
    point_estimates["tuned_CF1_macro"] = metrics["tuned"]["CF1_macro"]
    for name, ends in metrics["intervals"].items():
        assert ends["low"] < point_estimates[name] < ends["high"]
        assert ends["high"] - ends["low"] < 0.3


def test_exclusive_groups_count_in_the_tuned_figures(run: Run) -> None:
    s = _scores()
    s.values[:] = 0
    s.values[:, 0] = 1
    s.logits[:, :2] = [2.0, 1.0]
    one = Decisions(np.full(10, 0.5), np.ones(10), np.zeros(10), exclusive=((0, 1),))
    _, per_label = figures(s, run.labels.names, one)
    assert (per_label["0"]["recall"], per_label["1"]["precision"]) == (1.0, None)


def test_a_label_without_positives_has_no_figure_and_is_skipped(run: Run) -> None:
    s = _scores()
    s.values[:, 3] = 0
    metrics, per_label = figures(s, run.labels.names, run.decisions())
    assert per_label["3"]["AP"] is None
    assert per_label["3"]["recall"] is None
    others = [own["AP"] for name, own in per_label.items() if name != "3"]
    assert metrics["mAP"] == pytest.approx(np.mean(others))


def test_the_record_of_an_evaluation(run: Run, data: Dataset) -> None:
    result = lw.evaluate(run, data, split="val+test")
    record = json.loads(json.dumps(result.to_json()))
    assert set(record) == {"protocol", "metrics", "per_label", "conditions"}
    assert set(record["metrics"]) >= {
        "mAP",
        "CP",
        "CR",
        "CF1",
        "OP",
        "OR",
        "OF1",
        "top3",
        "tuned",
        "pointing",
    }
    assert record["protocol"]["name"] == "labelwise.v1"
    rows = data.split("val+test")
    ids = "\n".join(rows.image_id(i) for i in range(33))
    expected = {
        "split": "val+test",
        "images": 33,
        "scored": 33,
        "image_ids_sha256": hashlib.sha256(ids.encode()).hexdigest()[:16],
        "method": "dlfl",
        "backbone": "test_vit",
        "weights_evaluated": "model.safetensors, averaged (EMA)",
    }
    assert {k: record["conditions"][k] for k in expected} == expected
    assert sum(label["positives"] for label in record["per_label"].values()) == rows.positive.sum()
    assert 0 <= record["metrics"]["pointing"] <= 1


def test_labels_are_matched_by_name(run: Run, data: Dataset) -> None:
    shuffled = data.with_labels([str(d) for d in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)])
    first, second = (lw.evaluate(run, d, split="test").to_json() for d in (data, shuffled))
    assert first == second
    assert same_labels(shuffled, data.labels.names).labels.names == data.labels.names


def test_other_labels_are_refused(run: Run, tmp_path: Path) -> None:
    other = lw.read(f"csv:{tiny_runs.photographs(tmp_path)}")
    with pytest.raises(LabelwiseError, match=r"lacking: 0, 1, 2, 3, 4; extra: red, green, blue"):
        lw.evaluate(run, other)


def test_a_split_that_is_not_there_is_refused(run: Run, data: Dataset) -> None:
    with pytest.raises(
        LabelwiseError, match=r"split 'tset' of .*expected a split that it has: train \(48\), val"
    ):
        lw.evaluate(run, data, split="tset")


def test_unreadable_images_are_left_out_and_counted(tmp_path: Path) -> None:
    from labelwise.runs.config import make_config
    from labelwise.training.fit import train

    file = tiny_runs.photographs(tmp_path / "photos")
    run = train(make_config(tiny_runs.settings(f"csv:{file}", epochs=1)), tmp_path / "run", quiet=True)
    whole = lw.evaluate(run, lw.read(f"csv:{file}")).scores
    (file.parent / "test2.jpg").write_bytes(b"")
    result = lw.evaluate(run, lw.read(f"csv:{file}"), batch_size=1)
    assert result.scores.rows.tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(result.scores.logits, whole.logits[[0, 1, 3, 4]], atol=1e-5)
    assert (result.conditions["images"], result.conditions["scored"], result.conditions["unreadable"]) == (
        5,
        4,
        1,
    )
    for i in range(5):
        (file.parent / f"test{i}.jpg").write_bytes(b"")
    with pytest.raises(LabelwiseError, match="no readable image in this split; expected at least one"):
        lw.evaluate(run, lw.read(f"csv:{file}"))


def test_angles_are_reported_on_request(run: Run, data: Dataset) -> None:
    result = lw.evaluate(run, data, angles=True, pointing=False)
    assert result.angles is not None
    assert sum(row["images"] for row in result.angles["by_count"].values()) == 17
    assert "pointing" not in result.metrics
    assert "angles" in result.to_json()


def test_angles_without_a_classifier_of_ones_own_are_refused(data: Dataset, tmp_path: Path) -> None:
    settings = tiny_runs.settings(data.source, method="csra", epochs=1, extractor={})
    run = train(make_config(settings), tmp_path / "csra", data, quiet=True)
    with pytest.raises(
        LabelwiseError, match="angles of csra; expected a method with a linear classifier per la"
    ):
        lw.evaluate(run, data, angles=True)


def test_judging_again_takes_new_thresholds_and_keeps_the_pointing(
    tmp_path: Path, run: Run, data: Dataset
) -> None:
    for name in ("config.yaml", "labels.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    own = Run.open(tmp_path)
    result = lw.evaluate(own, data)
    own.save_decisions(Decisions(np.zeros(10), np.ones(10), np.zeros(10), source="nothing"))
    again = result.again(own)
    assert again.metrics["tuned"]["OR"] == 1
    assert again.conditions["decisions_from"] == "nothing"
    assert again.metrics["pointing"] == result.metrics["pointing"]
    assert again.per_label["1"].get("pointing") == result.per_label["1"].get("pointing")
    assert again.metrics["mAP"] == result.metrics["mAP"]
