"""The audit end to end: scores of each split, copies kept in one fold, findings of every kind, and the table."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelwise.audit import audit as module
from labelwise.audit.audit import audit, find
from labelwise.data import read
from labelwise.data.complete import AUDIT_COLUMNS, apply_corrections, read_corrections
from labelwise.errors import LabelwiseError
from labelwise.rules import Rules
from labelwise.runs.run import Run
from labelwise.types import Group, LabelSet


@pytest.fixture(scope="module")
def scenes_audit(run_folder: Path, table: Path) -> module.Audit:
    """All splits of the scenes, audited once."""
    return audit(run_folder, read(f"parquet:{table}"), "all", 2)


def test_every_split_is_scored(scenes_audit: module.Audit, table: Path, run_folder: Path) -> None:
    data = read(f"parquet:{table}")
    assert len(scenes_audit.rows) == len(data)
    assert ((scenes_audit.probabilities > 0) & (scenes_audit.probabilities < 1)).all()
    assert scenes_audit.scored_by == "2 folds for train, the run itself elsewhere"
    z = np.log(scenes_audit.probabilities / (1 - scenes_audit.probabilities))
    held = scenes_audit.rows.rows_of("test")
    own = module.evaluate(Run.open(run_folder), data, "test", pointing=False).scores.logits
    for j in range(z.shape[1]):  # calibration keeps the order of a label's images
        np.testing.assert_array_equal(np.argsort(z[held, j]), np.argsort(own[:, j]))


def test_the_table_is_what_completing_reads(scenes_audit: module.Audit, tmp_path: Path) -> None:
    assert scenes_audit.findings, "a network of two epochs doubts something"
    scenes_audit.save(tmp_path / "audit.csv", {0: "audit.evidence/00001.png"})
    with open(tmp_path / "audit.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == AUDIT_COLUMNS
    assert [int(line["rank"]) for line in lines] == list(range(1, len(scenes_audit.findings) + 1))
    scores = [float(line["score"]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert [line["evidence"] for line in lines[:2]] == ["audit.evidence/00001.png", ""]
    done, changes = apply_corrections(scenes_audit.rows, read_corrections(tmp_path / "audit.csv"))
    assert len(changes) == len(scenes_audit.findings)
    for f in scenes_audit.findings:
        assert done.known[f.row, f.label] == (f.proposed is not None)
        assert done.values[f.row, f.label] == (f.proposed or 0)


def test_copies_share_a_fold_and_are_compared(
    run_folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read(f"parquet:{table}").split("train").take([*range(20), 3])
    values = rows.values.copy()
    values[20, 0] = 1 - values[20, 0]
    groups = []

    def scored(run: Run, part: object, folds: int, group: np.ndarray, watch: object) -> module.Scores:
        groups.append(group)
        logits = np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
        return module.Scores(np.arange(20), logits[:20], values[:20], rows.known[:20], [(20, "lost")])

    monkeypatch.setattr(module, "out_of_fold", scored)
    result = audit(run_folder, replace(rows, values=values), "train", 2)
    (group,) = groups
    assert group[3] == group[20]
    assert len(set(group.tolist())) == 20
    assert np.isnan(result.probabilities[20]).all()
    assert not [f for f in result.findings if f.row == 20 or f.kind == "duplicate"], (
        "an unscored row has none"
    )


def test_findings_of_every_kind_stand_in_one_ranking(table: Path) -> None:
    rows = read(f"parquet:{table}").split("train").take(range(30))
    names = rows.labels.names
    rules = Rules(implies=((names[8], names[9]),), exactly_one=((names[6], names[7]),))
    labels = LabelSet(names, {"one": Group(names[:2], exclusive=True)}, rules)
    values = np.zeros_like(rows.values)
    values[:25, 2], values[:24, 3] = 1, 1  # the third label comes with the fourth, but once
    values[28, :2] = 1
    p = np.full(values.shape, 0.02)
    p[:25, 2], p[:25, 3] = 0.97, 0.95
    p[28, :2] = 0.9, 0.6
    p[7, 5] = 0.96
    values[9, 6] = 1
    values[29, 6:9] = 1  # once, against both rules, so the data alone would not say them
    p[29, 6:10] = 0.9, 0.3, 0.9, 0.4
    rows = replace(rows, labels=labels, values=values)
    judged = np.ones(p.shape, bool)
    findings = find(rows, p, np.where(values > 0, 1 - p, p), judged, [[9, 10]])
    cells = {(f.row, f.label): f for f in findings}
    assert cells[24, 3].reason.endswith(f"{names[2]} comes with it in 24 of 25 images")
    assert (cells[28, 1].kind, cells[28, 1].proposed) == ("contradiction", 0)
    assert (cells[7, 5].kind, cells[7, 5].current, cells[7, 5].proposed) == ("missing", 0, 1)
    assert cells[29, 9].reason.endswith(f"{names[8]} comes with it in 0 of 1 images")
    assert (cells[29, 9].kind, cells[29, 9].proposed) == ("contradiction", 1)
    assert f"given together with {names[6]}, which rules it out" in cells[29, 7].reason
    assert "looks like" in cells[9, 6].reason
    assert [f.score for f in findings] == sorted((f.score for f in findings), reverse=True)
    assert all(
        f.wrong == pytest.approx(1 - p[f.row, f.label] if f.current else p[f.row, f.label]) for f in findings
    )
    judged[:, [3, 1, 5, 9, 7, 6]] = False
    assert {f.label for f in find(rows, p, p, judged, [[9, 10]])} & {3, 1, 5, 9, 7, 6} == set()


def test_other_splits_and_labels_are_refused(run_folder: Path, table: Path) -> None:
    data = read(f"parquet:{table}")
    with pytest.raises(LabelwiseError, match="split 'nowhere'"):
        audit(run_folder, data, "nowhere")
    other = replace(data, labels=LabelSet(tuple(f"x{i}" for i in range(len(data.labels)))))
    with pytest.raises(LabelwiseError, match="labels of"):
        audit(run_folder, other)


def test_limit_keeps_the_most_suspicious(run_folder: Path, table: Path, scenes_audit: module.Audit) -> None:
    few = audit(run_folder, read(f"parquet:{table}"), "test", limit=2)
    whole = audit(run_folder, read(f"parquet:{table}"), "test")
    assert few.findings == whole.findings[:2]
    assert len(list(csv.reader(io.StringIO(few.table())))) == 1 + min(2, len(whole.findings))
