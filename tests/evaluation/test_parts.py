"""Figures of parts of the images, against loops over images, labels and persons."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.evaluation.parts import excluded, folders_of, part_figures, parts_of
from labelwise.evaluation.scores import Scores
from labelwise.metrics.bootstrap import bootstrap_attributes, bootstrap_counts
from labelwise.metrics.functional import attribute_metrics
from labelwise.types import Group, LabelSet

N, NAMES = 160, ("man", "young", "old", "hat", "bag")
LABELS = LabelSet(NAMES, {"age": Group(("young", "old"), exclusive=True), "head": Group(("hat",))})


def scores(known_share: float = 0.9) -> Scores:
    rng = np.random.default_rng(0)
    person = np.sort(rng.integers(0, 30, N))
    values = (rng.random((N, 5)) < 0.45).astype(np.uint8)
    known = rng.random((N, 5)) < known_share
    values[~known] = 0
    logits = (rng.normal(size=(N, 5)) + 1.2 * values - 0.6).astype(np.float32)
    return Scores(np.arange(N), logits, values, known, [], person)


def slow(z: list[list[float]], y: list[list[int]], k: list[list[bool]], threshold: float) -> dict[str, float]:
    """mA over labels with both states, and means over images, each cell in its turn."""
    sums = {"accuracy": 0.0, "precision": 0.0, "recall": 0.0, "F1_instance": 0.0}
    images = 0
    for scored, true, seen in zip(z, y, k, strict=True):
        if not any(seen):
            continue
        images += 1
        called = {j for j, s in enumerate(seen) if s and 1 / (1 + math.exp(-scored[j])) > threshold}
        right = {j for j, s in enumerate(seen) if s and true[j]}
        hits = len(called & right)
        precision, recall = hits / len(called) if called else 0.0, hits / len(right) if right else 0.0
        sums["accuracy"] += hits / len(called | right) if called | right else 0.0
        sums["precision"] += precision
        sums["recall"] += recall
        sums["F1_instance"] += 2 * precision * recall / (precision + recall) if hits else 0.0
    rates = []
    for j in range(len(z[0])):
        cells = [(s[j], t[j]) for s, t, n in zip(z, y, k, strict=True) if n[j]]
        with_, without = [s for s, t in cells if t], [s for s, t in cells if not t]
        if with_ and without:
            over = [
                sum(1 / (1 + math.exp(-s)) > threshold for s in part) / len(part) for part in (with_, without)
            ]
            rates.append((over[0] + 1 - over[1]) / 2)
    out = {name: value / images for name, value in sums.items()}
    p, r = out["precision"], out["recall"]
    return {**out, "mA": sum(rates) / len(rates), "F1": 2 * p * r / (p + r) if p + r else 0.0}


def listed(s: Scores, rows: Iterable[int]) -> tuple[list, list, list]:
    index = list(rows)
    return s.logits[index].astype(float).tolist(), s.values[index].tolist(), s.known[index].tolist()


@pytest.mark.parametrize("known_share", [1.0, 0.7])
def test_figures_of_a_part_equal_loops_and_their_resamples_repeat_persons(known_share: float) -> None:
    s = scores(known_share)
    mask = s.values[:, 0] == 1
    decisions = Decisions(np.full(5, 0.4), np.ones(5), np.zeros(5))
    p = decisions.probabilities(s.logits)
    parts = {"men": mask, "others": ~mask}
    result = part_figures(s, p, decisions.select(p), LABELS, parts, ("man",))
    assert list(result) == ["all", "men", "others"]
    for name, part in {"all": np.ones(N, bool), **parts}.items():
        rows = np.flatnonzero(part)
        expected = slow(*listed(s, rows), 0.5)
        expected["F1_instance"] = slow(*listed(s, rows), 0.45)["F1_instance"]
        for key, value in expected.items():
            assert result[name][key] == pytest.approx(value, abs=1e-12), (name, key)
        assert result[name]["images"] == len(rows)
        assert result[name]["units"] == len(set(s.group[rows].tolist()))


def test_a_resample_is_the_images_of_its_persons_repeated() -> None:
    s = scores()
    counts = bootstrap_counts(N, number=6, seed=3, group=s.group)
    for person in np.unique(s.group):  # whole persons alone
        assert (counts[s.group == person] == counts[s.group == person][0]).all()
    p = 1 / (1 + np.exp(-s.logits.astype(np.float64)))
    values = bootstrap_attributes(p > 0.5, s.values, s.known, counts)
    for column in range(6):
        rows = [i for i in range(N) for _ in range(counts[i, column])]
        expected = slow(*listed(s, rows), 0.5)
        assert {key: v[column] for key, v in values.items()} == pytest.approx(expected, abs=1e-12)


def test_once_each_the_resample_is_the_metric_of_the_protocols() -> None:
    s = scores(1.0)
    p = 1 / (1 + np.exp(-s.logits.astype(np.float64)))
    ones = np.ones((N, 1), np.int32)
    got = {name: float(v[0]) for name, v in bootstrap_attributes(p > 0.5, s.values, s.known, ones).items()}
    expected = attribute_metrics(p, s.values, s.known)
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_the_gap_is_the_difference_of_mean_recalls() -> None:
    s = scores()
    decisions = Decisions(np.full(5, 0.4), np.ones(5), np.zeros(5))
    p = decisions.probabilities(s.logits)
    selected = decisions.select(p)
    young, old = s.values[:, 1] == 1, (s.values[:, 2] == 1) & (s.values[:, 1] == 0)
    result = part_figures(s, p, selected, LABELS, {"young": young, "old": old}, ("young", "old"))
    recalls: dict[str, list[float]] = {"young": [], "old": []}
    for j in (0, 3, 4):
        for name, part in (("young", young), ("old", old)):
            true = [i for i in range(N) if part[i] and s.known[i, j] and s.values[i, j]]
            assert len(true) >= 10
            recalls[name].append(sum(bool(selected[i, j]) for i in true) / len(true))
    means = {name: sum(values) / 3 for name, values in recalls.items()}
    assert result["young"]["judged"] == 3
    assert result["young"]["label_recall"] == pytest.approx(means["young"], abs=1e-12)
    assert result["young"]["gap"] == pytest.approx(means["young"] - means["old"], abs=1e-12)
    assert result["old"]["gap"] == pytest.approx(means["old"] - means["young"], abs=1e-12)
    ends = result["young"]["recall_intervals"]["gap"]
    assert ends["low"] < result["young"]["gap"] < ends["high"]
    widest = max(
        zip(("man", "hat", "bag"), *recalls.values(), strict=True), key=lambda row: abs(row[1] - row[2])
    )
    assert result["young"]["widest"]["label"] == widest[0]
    assert result["all"]["gap"] is None


def test_too_few_positives_are_not_compared() -> None:
    s = scores()
    mask = np.arange(N) < 9
    result = part_figures(s, s.probabilities, s.probabilities > 0.5, LABELS, {"few": mask, "rest": ~mask})
    assert result["few"]["judged"] == 0
    assert result["few"]["gap"] is None
    assert result["few"]["mA"] is not None


def made(by: str, heights: list[int] | None = None) -> dict[str, list[int]]:
    ids = ["photos/a/1.jpg", "photos/b/2.jpg", "photos/b/3.jpg", "photos/b/c/4.jpg"]
    positive = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]], bool)
    known = np.ones((4, 5), bool)
    known[2, 0] = False
    given = None if heights is None else lambda: np.array(heights)
    masks = parts_of(by, ids, LABELS, positive, known, given)
    return {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}


def test_folders_of_windows_are_named_alike_everywhere() -> None:
    assert list(folders_of(["data\\a\\1.jpg", "data/b/2.jpg"])) == ["a", "b"]
    assert list(folders_of(["C:\\a\\1.jpg", "D:\\b\\2.jpg", "C:\\a\\c\\3.jpg"])) == ["C:/a", "C:/a/c", "D:/b"]
    assert list(folders_of(["/data/a/1.jpg", "b/2.jpg"])) == ["/data/a", "b"]


def test_images_are_divided_by_folder_height_label_and_group() -> None:
    assert made("folder") == {"a": [0], "b": [1, 2], "b/c": [3]}
    assert made("height", [40, 10, 30, 20]) == {
        "10 to 10 px": [1],
        "20 to 20 px": [3],
        "30 to 30 px": [2],
        "40 to 40 px": [0],
    }
    assert made("height", [40, 10, 10, 10]) == {"10 to 10 px": [1, 2, 3], "40 to 40 px": [0]}
    assert made("label:man") == {"man": [0, 3], "not man": [1]}
    assert made("group:age") == {"young": [1], "old": [0, 3]}
    assert excluded("label:young", LABELS) == excluded("group:age", LABELS) == ("young", "old")
    assert excluded("label:hat", LABELS) == ("hat",)
    assert excluded("folder", LABELS) == ()


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (
            "camera",
            "--by camera; expected folder, height, label:NAME or group:NAME; groups of these labels: age, head; ",
        ),
        ("group:hair", "--by group:hair; expected folder, "),
        ("height", "--by height; expected folder, "),
        ("label:cat", "label 'cat'; expected one of: man, young"),
        (
            "group:head",
            "--by group:head: all images in no part; expected images in two parts or more; leave it out",
        ),
    ],
)
def test_an_unusable_division_is_refused(by: str, message: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        made(by)
    assert str(error.value).startswith(message)
