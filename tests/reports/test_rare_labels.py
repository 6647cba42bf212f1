"""Labels of few positives: named in the check and the figures, and never first in a list."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score
from synthetic_run import write_run

from labelwise.cli.tables import print_labels
from labelwise.data.check import check
from labelwise.decisions import Decisions
from labelwise.evaluation.figures import figures, rare_left_out
from labelwise.evaluation.scores import Scores
from labelwise.reports.record import read_run
from labelwise.reports.report import write_report
from labelwise.reports.sections import curves, rows_of_labels

NAMES = (*(f"label {i:02}" for i in range(16)), "elephant", "fox", "owl")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which `elephant`, with a single positive, has an AP of 1 and `fox`, with nine, one near 0."""
    folder = write_run(tmp_path_factory.mktemp("run"), NAMES, unknown=0.0, without_positives=("owl",))
    file = folder / "results.json"
    results = json.loads(file.read_text())
    for split in results["splits"].values():
        split["per_label"]["elephant"] |= {"AP": 1.0, "positives": 1}
        split["per_label"]["fox"] |= {"AP": 0.01, "positives": 9}
    file.write_text(json.dumps(results))
    return folder


def test_the_report_names_them_and_keeps_them_out_of_its_lists(run: Path) -> None:
    record = read_run(run)
    rows = [row["name"] for row in rows_of_labels(record)["rows"]]
    assert rows[-3:] == ["elephant", "fox", "owl"]
    shown = curves(record)
    assert shown is not None
    listed = {tile["name"] for part in ("worst", "best", "histograms") for tile in shown[part]}
    assert len(listed) == 12
    assert listed.isdisjoint({"elephant", "fox", "owl"})
    page = write_report(run).read_text()
    assert "with fewer than 10 positives in test: owl (0), elephant (1), fox (9)" in page
    mean = np.mean([r["AP"] for r in rows_of_labels(record)["rows"][:16]])
    assert re.search(
        rf"{100 * mean:.1f}<small>%</small></span><span class=\"what\">mAP without rare labels", page
    )
    assert "Rare labels are left out (2)" in page


def test_if_all_are_rare_no_label_is_called_strongest_or_weakest(tmp_path: Path) -> None:
    folder = write_run(tmp_path, NAMES, images=12)
    page = write_report(folder).read_text()
    assert "Weakest" not in page
    assert "Strongest" not in page
    assert page.count("Labels, all rare") == 2


def test_figures_give_the_mean_of_the_others() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((200, 4)) < (0.3, 0.2, 0.0, 0.3)
    values[:5, 2] = True
    z = (values + rng.normal(0, 1, values.shape)).astype(np.float32)
    known = np.ones(values.shape, bool)
    known[:, 3] = np.cumsum(values[:, 3]) <= 9
    scores = Scores(np.arange(200), z, values.astype(np.uint8), known, [])
    plain = Decisions(np.full(4, 0.5), np.ones(4), np.zeros(4))
    metrics, per_label = figures(scores, ("a", "b", "c", "d"), plain)
    assert metrics["rare_labels"] == {"c": "5", "d": "9"}
    mean = np.mean([average_precision_score(values[:, j], z[:, j]) for j in range(2)])
    assert metrics["mAP_without_rare"] == pytest.approx(mean, abs=1e-6)
    assert metrics["mAP"] == pytest.approx(np.mean([row["AP"] for row in per_label.values()]))
    assert rare_left_out(metrics).endswith("fewer than 10 positives: c (5), d (9)")
    json.dumps(metrics)


def test_the_table_of_evaluate_lists_them_last(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    per_label = json.loads((run / "results.json").read_text())["splits"]["test"]["per_label"]
    both = {"before": {"ECE": 0.1}, "after": {"ECE": 0.1}}
    metrics = {
        "mAP": 0.5, "CF1": 0.5, "OF1": 0.5, "tuned": {"CF1": 0.5, "OF1": 0.5}, "calibration": both,
        "intervals": {"mAP": {"low": 0.4, "high": 0.6}}, "mAP_without_rare": 0.25,
        "rare_labels": {"owl": "0", "elephant": "1", "fox": "9"},
    }  # fmt: skip
    print_labels({"per_label": per_label, "metrics": metrics, "conditions": {}})
    printed = capsys.readouterr().out
    order = [line.split()[0] for line in printed.splitlines()]
    assert order[17:20] == ["elephant", "fox", "owl"]
    assert "mAP without rare labels 0.2500" in printed


def test_the_check_counts_them_for_each_split(tmp_path: Path) -> None:
    lines = ["image,split,dog,elephant"]
    for i in range(24):
        Image.new("RGB", (9, 9), (i * 10, 0, 0)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'train' if i < 12 else 'test'},{int(i < 22)},{int(i in (3, 13))}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    report = check(f"csv:{tmp_path / 'labels.csv'}", near=False)
    assert report.rare == {"train": {"elephant": 1}, "test": {"elephant": 1}}
    (tmp_path / "labels.csv").write_text(
        "\n".join(line.replace("train", "").replace("test", "") for line in lines)
    )
    whole = check(f"csv:{tmp_path / 'labels.csv'}", near=False)
    assert whole.to_json()["rare"] == {"": {"elephant": 2}}
