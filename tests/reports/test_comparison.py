"""Several runs on one page, compared with scikit-learn, and refusals."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import average_precision_score
from synthetic_run import write_run
from test_report import Page

from labelwise.errors import LabelwiseError
from labelwise.reports import write_comparison

NAMES = ("cat", "dog", "sofa", "<b>chair</b>")


def changed(run: Path, to: Path, noise: float, **settings: object) -> Path:
    """The same run with noise on its test scores, metrics of the noisy scores, and other settings."""
    shutil.copytree(run, to)
    with np.load(to / "scores/test.npz") as stored:
        held = dict(stored)
    held["logits"] = held["logits"] + np.random.default_rng(1).normal(0, noise, held["logits"].shape)
    np.savez(to / "scores/test.npz", **held)
    results = json.loads((to / "results.json").read_text())
    test = results["splits"]["test"]
    for i, name in enumerate(NAMES):
        seen = held["known"][:, i]
        ap = average_precision_score(held["values"][seen, i], held["logits"][seen, i])
        test["per_label"][name]["AP"] = float(ap)
    test["metrics"]["mAP"] = float(np.mean([test["per_label"][name]["AP"] for name in NAMES]))
    (to / "results.json").write_text(json.dumps(results))
    config = yaml.safe_load((to / "config.yaml").read_text())
    (to / "config.yaml").write_text(yaml.safe_dump({**config, **settings}))
    return to


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    base = tmp_path_factory.mktemp("runs")
    first = write_run(base / "first", NAMES, images=200)
    return [
        first,
        changed(first, base / "noisy", 3.0, method="csra", seed=7),
        changed(first, base / "same", 0.0),
    ]


def rows(text: str, part: str) -> list[list[str]]:
    """The cells of a section's table as text."""
    table = re.search(rf"{part}.*?<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert table
    return [
        [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table[1], re.DOTALL)
    ]


def test_figures_differences_and_settings(runs: list[Path], tmp_path: Path) -> None:
    text = write_comparison(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    maps = [json.loads((r / "results.json").read_text())["splits"]["test"]["metrics"]["mAP"] for r in runs]
    table = rows(text, "Figures of the runs")
    assert [row[0] for row in table] == ["first", "noisy", "same"]
    assert [row[2] for row in table] == [f"{100 * value:.1f}" for value in maps]
    assert table[0][-3:] == ["–", "–", ""]
    assert table[1][-3] == f"{100 * (maps[1] - maps[0]):+.1f}"
    assert [row[-1] for row in table[1:]] == ["lower", "within noise"]
    settings = {row[0]: row[1:] for row in rows(text, "Settings that differ")}
    assert settings["method"][1] == "csra"
    assert settings["seed"][1] == "7"
    assert set(settings) == {"method", "seed"}


def test_labels_by_how_far_the_runs_are_apart(runs: list[Path], tmp_path: Path) -> None:
    text = write_comparison(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    table = rows(text, "Average precision of each label")
    per_label = json.loads((runs[0] / "results.json").read_text())["splits"]["test"]["per_label"]
    frequent = [per_label[html.unescape(row[0])]["positives"] >= 10 for row in table]
    assert frequent == sorted(frequent, reverse=True), "rare labels are last"
    spread = [max(map(float, row[3:])) - min(map(float, row[3:])) for row in table]
    for part in (True, False):
        own = [value for value, of in zip(spread, frequent, strict=True) if of is part]
        assert own == sorted(own, reverse=True)
    assert len(table) == len(NAMES)
    assert len(table[0][3:]) == 3


def test_the_page_is_whole_and_asks_nobody(runs: list[Path], tmp_path: Path) -> None:
    text = write_comparison(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "200 images of test" in Page(text).text
    assert "<b>chair" not in text
    assert not re.search(r"https?:|url\(|@import|<script", text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda runs, at: [runs[0]], "1 runs: .*expected 2 to 8 different runs"),
        (lambda runs, at: [runs[0], runs[0]], "2 to 8 different runs"),
        (lambda runs, at: [runs[0], write_run(at / "b", NAMES[::-1], images=200)], "in that order"),
        (lambda runs, at: [runs[0], write_run(at / "b", NAMES, images=199)], "other images or labels"),
        (lambda runs, at: [runs[0], write_run(at / "b", NAMES, splits=("extra",))], "scores of one split"),
    ],
)
def test_what_does_not_compare_is_refused(runs: list[Path], tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LabelwiseError, match=message):
        write_comparison(make(runs, tmp_path), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_runs_of_one_name_are_distinguished_by_their_folders(runs: list[Path], tmp_path: Path) -> None:
    shutil.copytree(runs[1], tmp_path / "other" / "first")
    text = write_comparison([runs[0], tmp_path / "other" / "first"], tmp_path / "page.html").read_text()
    assert [row[0] for row in rows(text, "Figures of the runs")] == [
        f"{runs[0].parent.name}/first",
        "other/first",
    ]
