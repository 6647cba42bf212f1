"""Named protocols: their metrics against slow implementations, and their refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import labelwise as lw
import official_layouts as made
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.evaluation.groups import group_figures
from labelwise.evaluation.protocols import PROTOCOLS, attribute_figures, protocol
from labelwise.evaluation.scores import Scores
from labelwise.runs import Run
from labelwise.runs.config import make_config
from labelwise.training.fit import train
from labelwise.types import Group, LabelSet


def _scores(images: int = 60, labels: int = 8, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    values = (rng.random((images, labels)) < 0.4).astype(np.uint8)
    known = rng.random((images, labels)) < 0.8
    logits = (rng.normal(size=(images, labels)) + 2 * values - 1).astype(np.float32)
    return Scores(np.arange(images), logits, values, known, [])


def slow_attributes(s: Scores, threshold: float, of_means: bool) -> dict[str, float]:
    """The metrics of pedestrian attributes cell by cell, as fractions of counts."""
    called = [[1 / (1 + np.exp(-float(z))) > threshold for z in row] for row in s.logits]
    rates, rows = [], []
    for j in range(s.logits.shape[1]):
        cells = [(called[i][j], s.values[i, j]) for i in range(len(s.rows)) if s.known[i, j]]
        hit = [c for c, y in cells if y]
        free = [not c for c, y in cells if not y]
        rates.append((sum(hit) / len(hit) + sum(free) / len(free)) / 2)
    for i in range(len(s.rows)):
        q = {j for j in range(8) if s.known[i, j] and called[i][j]}
        y = {j for j in range(8) if s.known[i, j] and s.values[i, j]}
        p, r = len(q & y) / len(q) if q else 0.0, len(q & y) / len(y) if y else 0.0
        f = 2 * p * r / (p + r) if p + r else 0.0
        rows.append((len(q & y) / len(q | y) if q | y else 0.0, p, r, f))
    a, p, r, f = np.mean(rows, 0)
    return {
        "mA": float(np.mean(rates)),
        "accuracy": a,
        "precision": p,
        "recall": r,
        "F1": 2 * p * r / (p + r) if of_means else f,
    }


@pytest.mark.parametrize("seed", range(3))
def test_both_conventions_of_attributes(seed: int) -> None:
    s = _scores(seed=seed)
    for name, threshold, of_means in (("par-mean.v1", 0.5, True), ("par-inst.v1", 0.45, False)):
        assert attribute_figures(s, name) == pytest.approx(slow_attributes(s, threshold, of_means), abs=1e-12)
    assert attribute_figures(s, "par-mean.v1")["F1"] != attribute_figures(s, "par-inst.v1")["F1"]


def test_a_convention_that_is_mixed_is_refused() -> None:
    with pytest.raises(
        LabelwiseError, match=r"convention 'par-mean@.45'; expected one of: par-mean.v1, par-i"
    ):
        attribute_figures(_scores(), "par-mean@.45")


def test_figures_of_groups() -> None:
    s = _scores()
    s.known[:] = True
    s.values[:, :3] = 0
    s.values[np.arange(60), np.arange(60) % 3] = 1
    labels = LabelSet(tuple("abcdefgh"), {"first": Group(("a", "b", "c"), True), "rest": Group(("d", "g"))})
    outcome = group_figures(s, labels)
    assert outcome["first"]["one"] == pytest.approx(np.mean(s.logits[:, :3].argmax(1) == np.arange(60) % 3))
    part = Scores(s.rows, s.logits[:, [3, 6]], s.values[:, [3, 6]], s.known[:, [3, 6]], [])
    assert outcome["rest"]["mA"] == pytest.approx(attribute_figures(part, "par-mean.v1")["mA"])
    assert "one" not in outcome["rest"]


@pytest.fixture(scope="module")
def pedestrians(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """PA-100K in its layout, and a run trained on it."""
    root = tmp_path_factory.mktemp("pa100k")
    made.make_pa100k(root / "data100k")
    settings = tiny_runs.settings(f"pa100k:{root / 'data100k'}", epochs=1, loss={"name": "weighted-bce"})
    return root / "data100k", train(make_config(settings), root / "run", quiet=True)


def test_the_result_carries_its_protocol(pedestrians: tuple[Path, Run]) -> None:
    _, run = pedestrians
    outcome = tiny_runs.command("evaluate", run.path, "--protocol", "pa100k", "--json", "--workers", "0")
    assert outcome.code == 0, outcome
    record = json.loads(outcome.out)
    assert record["protocol"]["name"] == "pa100k26.v1"
    assert record["protocol"]["differs"] == ["test: 6 images, published 10,000"]
    m = record["metrics"]
    assert {"mA", "accuracy", "precision", "recall", "F1", "mAP", "OF1"} <= set(m)
    assert {k: m[k] for k in ("mA", "F1")} == {k: m["par-mean.v1"][k] for k in ("mA", "F1")}
    assert set(m["groups"]) == {"head", "upper body", "lower body", "feet", "bags", "person", "age", "view"}
    shown = tiny_runs.command("evaluate", run.path, "--protocol", "pa100k26.v1", "--workers", "0")
    assert "par-inst.v1" in shown.out
    assert "lower body" in shown.out


def test_missing_files_rename_the_result(pedestrians: tuple[Path, Run]) -> None:
    root, run = pedestrians
    lost = root / "data" / "000019.jpg"
    kept = lost.read_bytes()
    lost.unlink()
    try:
        data = lw.read(f"pa100k:{root}?missing=skip")
        result = lw.evaluate(run, data, protocol="pa100k", pointing=False)
    finally:
        lost.write_bytes(kept)
    assert result.protocol["name"] == "pa100k26.v1+partial-files"


def test_what_a_protocol_refuses(pedestrians: tuple[Path, Run], tmp_path: Path) -> None:
    root, run = pedestrians
    data = lw.read(f"pa100k:{root}")
    with pytest.raises(
        LabelwiseError, match=r"protocol 'pa1'; expected one of voc2007, .*correct --protocol"
    ):
        lw.evaluate(run, data, protocol="pa1")
    with pytest.raises(LabelwiseError, match=r"data pa100k: under peta35.v1; expected peta:"):
        lw.evaluate(run, data, protocol="peta")
    with pytest.raises(LabelwiseError, match=r"split 'val' under pa100k26.v1; expected its split test"):
        lw.evaluate(run, data, "val", protocol="pa100k")
    named, negative = protocol("voc2007"), f"voc:{tmp_path}?difficult=negative"
    made.make_voc2012(tmp_path)
    voc = lw.read(f"voc:{tmp_path}?difficult=negative&val_as=test")
    with pytest.raises(
        LabelwiseError, match=r"data voc: with difficult=negative under voc07.v1; expected diffic"
    ):
        named.rows(negative, voc, "test")
    right = lw.read(f"voc:{tmp_path}?val_as=test")
    with pytest.raises(LabelwiseError, match=r"a run trained on voc: with difficult=negative under voc07.v1"):
        named.rows(negative, right, "test")
    with pytest.raises(LabelwiseError, match=r"26 labels under vg500.v1|data pa100k:"):
        protocol("vg500").rows(data.source, data, "test")
    assert len(protocol("voc2012").rows(right.source, right, "test")) == 9


def test_coco_is_judged_on_labelled_images_or_on_all(tmp_path: Path) -> None:
    made.make_coco(tmp_path)
    data = lw.read(f"coco:{tmp_path}")
    source = data.source
    assert len(protocol("coco2014").rows(source, data, "test")) == 4
    assert len(protocol("coco2014-all").rows(source, data, "test")) == 6


def test_training_on_train_and_val_is_named(tmp_path: Path) -> None:
    made.make_peta(tmp_path)
    data = lw.read(f"peta:{tmp_path}?val_as=train")
    named = protocol("peta")
    rows = named.rows(data.source, data, "test")
    assert named.conditions(data.source, data, rows)["name"] == "peta35-trainval.v1"
    assert named.conditions(f"peta:{tmp_path}", data, rows)["name"] == "peta35.v1"


def test_names_are_distinct_and_versioned() -> None:
    names = [item.name for item in PROTOCOLS.values()]
    assert len(set(names)) == len(names)
    assert all(name.rpartition(".v")[2].isdigit() for name in names)
    assert all(protocol(name) is item for name, item in zip(names, PROTOCOLS.values(), strict=True))
