"""A data set under a run's labels: labels that only one of them has, from the function to the program."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import labelwise as lw
import tiny_runs
from labelwise.audit import audit as module
from labelwise.audit.audit import audit
from labelwise.data.dataset import BOX_TYPE, Dataset
from labelwise.errors import LabelwiseError
from labelwise.evaluation.labels import same_labels
from labelwise.runs.run import Run
from labelwise.types import Group, LabelSet
from tiny_runs import TINY, command


def some() -> Dataset:
    """Three rows with three labels, a group of two and boxes of all."""
    values = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]], np.uint8)
    boxes = [[{"label": j, "x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 0.5 + j / 10} for j in range(3)], None, []]
    return Dataset(
        LabelSet(("a", "b", "c"), {"g": Group(("a", "b"), exclusive=True), "alone": Group(("c",))}),
        pa.array(["0.jpg", "1.jpg", "2.jpg"]),
        None,
        values,
        np.ones((3, 3), bool),
        boxes=pa.array(boxes, BOX_TYPE),
        source="csv:some.csv",
        notes=("read.",),
    )


def test_what_the_data_lack_is_unknown() -> None:
    data = same_labels(some(), ("c", "d", "a", "b"))
    assert data.labels.names == ("c", "d", "a", "b")
    assert data.known.tolist() == [[True, False, True, True]] * 3
    assert data.values[:, [2, 3, 0]].tolist() == some().values.tolist()
    assert not data.values[:, 1].any()
    assert data.notes == ("read.", "unknown in every image, for the data lack them: d.")
    assert [box[0] for box in data.boxes_of(0)] == [2, 3, 0]


def test_what_the_run_does_not_know_is_left_out() -> None:
    data = same_labels(some(), ("b", "a"))
    assert data.values.tolist() == some().values[:, [1, 0]].tolist()
    assert data.notes[1:] == ("left out, for the run does not know them: c.",)
    assert data.labels.groups == {"g": Group(("a", "b"), exclusive=True)}
    assert [(box[0], round(box[4], 3)) for box in data.boxes_of(0)] == [(1, 0.5), (0, 0.6)]
    assert data.boxes_of(1) == []


@pytest.mark.parametrize(
    ("names", "whole", "differences"),
    [
        (("a", "b", "C"), False, "(lacking: C; extra: c)"),
        (("x", "y"), False, "(lacking: x, y; extra: a, b, c)"),
        (("a", "b"), True, "(extra: c)"),
        (("a", "b", "c", "d"), True, "(lacking: d)"),
    ],
)
def test_what_may_be_one_label_under_two_names_is_refused(
    names: tuple[str, ...], whole: bool, differences: str
) -> None:
    with pytest.raises(LabelwiseError) as error:
        same_labels(some(), names, whole)
    assert str(error.value) == (
        f"labels of csv:some.csv {differences}; expected the run's {len(names)} labels; "
        "rename the columns, or use its own data"
    )


def rewritten(file: Path, columns: dict[str, str], name: str) -> Path:
    """The table under another name with these label columns, each copied from a column of the old one."""
    with open(file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    with open(file.with_name(name), "w", newline="") as stream:
        lines = [[row["image"], *(row[old] for old in columns.values()), row["split"]] for row in rows]
        csv.writer(stream).writerows([["image", *columns, "split"], *lines])
    return file.with_name(name)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of red, green and blue, and a run initialised from it with a table that has gold instead of blue."""
    base = tmp_path_factory.mktemp("grown")
    photos = tiny_runs.photographs(base / "photos")
    newer = rewritten(photos, {"gold": "blue", "red": "red", "green": "green"}, "newer.csv")
    options = ("--no-report", *TINY)
    assert command("train", "--data", f"csv:{photos}", "--out", base / "old", *options).code == 0
    outcome = command(
        "train", "--init-from", base / "old", "--data", f"csv:{newer}", "--out", base / "new", *options
    )
    assert outcome.code == 0, outcome.err
    assert "unknown in every image, for the data lack them: blue." in outcome.err
    assert Run.open(base / "new").labels.names == ("red", "green", "blue", "gold")
    return base / "old", base / "new"


NOTE = "note: unknown in every image, for the data lack them: blue."


def test_a_grown_run_is_judged_on_its_own_data(grown: tuple[Path, Path]) -> None:
    outcome = command("evaluate", grown[1], "--workers", "0", "--json")
    assert outcome.code == 0, outcome.err
    assert NOTE in outcome.err
    result = json.loads(outcome.out)
    stored = json.loads((grown[1] / "results.json").read_text())["splits"]["test"]
    assert result["metrics"]["mAP"] == pytest.approx(stored["metrics"]["mAP"], abs=1e-9)
    for name, figures in stored["per_label"].items():
        assert result["per_label"][name] == pytest.approx(figures, abs=1e-6)
    assert result["metrics"]["labels_without_AP"]["blue"] == "nothing known"
    text = command("evaluate", grown[1], "--workers", "0")
    assert "left out of the mAP: blue (nothing known)" in text.out


def test_growth_keeps_the_decisions_of_the_labels_taken_over(grown: tuple[Path, Path]) -> None:
    """To the bit, also where a label is unknown in the new data; only the added label is fitted."""
    old, new = (Run.open(path).decisions() for path in grown)
    for name in ("thresholds", "scale", "bias"):
        assert getattr(new, name)[:3].tobytes() == getattr(old, name).tobytes()
    assert (new.scale[3], new.bias[3]) != (1.0, 0.0)


def test_metrics_of_a_grown_run_stand_apart(grown: tuple[Path, Path]) -> None:
    splits = json.loads((grown[1] / "results.json").read_text())["splits"]
    for split, result in splits.items():
        growth, labels = result["metrics"]["growth"], result["per_label"]
        before = [labels[name]["AP"] for name in ("red", "green")]
        assert growth["taken over"]["mAP"] == pytest.approx(sum(before) / 2)
        assert growth["taken over"]["labels_without_AP"] == {"blue": "nothing known"}
        assert growth["added"] == {"labels": 1.0, "mAP": labels["gold"]["AP"], "labels_without_AP": {}}
        outcome = command("evaluate", grown[1], "--split", split, "--workers", "0")
        assert "mAP of the labels: 3 taken over" in outcome.out
        again = json.loads(command("evaluate", grown[1], "--split", split, "--workers", "0", "--json").out)
        assert again["metrics"]["growth"] == growth
    assert "growth" not in json.loads((grown[0] / "results.json").read_text())["splits"]["val"]["metrics"]


def test_a_grown_run_is_tuned_and_reported_on_its_own_data(grown: tuple[Path, Path]) -> None:
    outcome = command("tune", grown[1], "--workers", "0")
    assert outcome.code == 0, outcome.err
    assert NOTE in outcome.err
    assert "left out of the mAP: blue (nothing known)" in outcome.out
    outcome = command("report", grown[1])
    assert outcome.code == 0, outcome.err
    assert "Predicted, not labelled" in (grown[1] / "report.html").read_text()


def test_an_older_run_is_judged_on_a_table_with_a_new_label(grown: tuple[Path, Path]) -> None:
    old = grown[0]
    photos = Path(Run.open(old).config.data.source.removeprefix("csv:"))
    columns = {"gold": "blue", "blue": "blue", "red": "red", "green": "green"}
    wider = rewritten(photos, columns, "wider.csv")
    outcome = command("evaluate", old, "--data", f"csv:{wider}", "--workers", "0", "--json")
    assert outcome.code == 0, outcome.err
    assert "note: left out, for the run does not know them: gold." in outcome.err
    same = json.loads(command("evaluate", old, "--workers", "0", "--json").out)
    assert json.loads(outcome.out)["metrics"] == same["metrics"]
    shifted = command("evaluate", old, "--data", f"csv:{wider}", "--workers", "0", "--shift", "--json")
    assert shifted.code == 0, shifted.err


def test_an_audit_proposes_nothing_of_a_label_that_the_data_lack(
    run_folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = lw.read(f"parquet:{table}")
    fewer = data.with_labels(data.labels.names[:9])
    monkeypatch.setattr(module, "near_duplicates", lambda _: [])
    result = audit(run_folder, fewer, "test")
    assert result.rows.labels.names == data.labels.names
    lacking = data.labels.names[9]
    assert lacking not in {result.rows.labels.names[f.label] for f in result.findings}
    assert lacking not in result.unjudged, "what is not in the data needs no reason"
    assert set(result.unjudged) <= set(fewer.labels.names)
    assert lacking in audit(run_folder, data, "test").unjudged


def test_boxes_of_the_report_follow_the_runs_order_of_labels(
    run_folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of the scenes reads its data with reversed columns."""
    from labelwise.reports import finish

    data = lw.read(f"parquet:{table}")
    turned = data.with_labels(data.labels.names[::-1])
    seen = {}
    monkeypatch.setattr(finish, "read", lambda source: turned)

    def written(path: Path, predictor: object, dataset: Dataset, **_: object) -> Path:
        seen["rows"] = dataset
        return path

    monkeypatch.setattr(finish, "write_report", written)
    finish.finish_report(run_folder)
    own = data.split("test")
    for i in range(len(own)):
        assert sorted(seen["rows"].boxes_of(i)) == sorted(own.boxes_of(i))


def test_a_group_of_the_data_keeps_what_the_run_knows(run_folder: Path, table: Path) -> None:
    data = lw.read(f"parquet:{table}")
    wider = replace(data, labels=LabelSet(data.labels.names, {"odd": Group(("1", "3", "5"))}))
    assert same_labels(wider, ("0", "1", "3")).labels.groups == {"odd": Group(("1", "3"))}
