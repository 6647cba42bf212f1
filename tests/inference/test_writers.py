"""Files of predictions: readable by other programs, and written atomically."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelwise.data import read
from labelwise.errors import LabelwiseError
from labelwise.inference import Prediction
from labelwise.inference.output import stems
from labelwise.inference.tables import WRITERS, columns_of, is_one_file

PLAIN = ("dog", "image", "traffic light", 'an "odd", name', "caf\u00e9;bar", "score:image", "NA")
ODD = ("a|b", "[c]", "d")


def predictions(names: tuple[str, ...], images: int = 9) -> list[Prediction]:
    """Predictions with seeded probabilities, one of them without labels; the third image is unreadable."""
    rng = np.random.default_rng(0)
    thresholds = dict.fromkeys(names, 0.5)
    answers = []
    for i in range(images):
        scores = dict(zip(names, rng.random(len(names)).tolist(), strict=True))
        scores = dict.fromkeys(names, 0.25) if i == 1 else scores
        ranked = dict(sorted(scores.items(), key=lambda item: -item[1]))
        name = f"folder, {i}/line\nend \u00fc.jpg"
        answers.append(
            Prediction(name, {}, thresholds, "it is empty; replace it")
            if i == 2
            else Prediction(name, ranked, thresholds)
        )
    return answers


def written(path: Path, names: tuple[str, ...]) -> list[Prediction]:
    """The file of these predictions."""
    answers = predictions(names)
    with WRITERS[path.suffix](path, names) as writer:
        for answer in answers:
            writer.add(answer)
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return answers


def cell(selected: list[str], names: tuple[str, ...]) -> str:
    return json.dumps(selected) if names == ODD else "|".join(selected)


@pytest.mark.parametrize("names", [PLAIN, ODD])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_csv_is_read_by_others(tmp_path: Path, suffix: str, names: tuple[str, ...]) -> None:
    pandas = pytest.importorskip("pandas")
    file = tmp_path / "new" / f"predictions{suffix}"
    answers = written(file, names)
    delimiter = {".csv": ",", ".tsv": "\t"}[suffix]
    with open(file, encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter=delimiter))
    frame = pandas.read_csv(file, sep=delimiter, keep_default_na=False, na_values=[""])
    frame = frame.fillna({"error": "", "selected": ""})
    columns = columns_of(names).names
    assert columns[:3] == ["image", "error", "selected"]
    assert list(frame.columns) == list(rows[0]) == columns
    assert len(set(columns)) == len(columns)
    for row, other, answer in zip(rows, frame.to_dict("records"), answers, strict=True):
        assert row["image"] == other["image"] == answer.image
        assert row["error"] == other["error"] == (answer.error or "")
        expected = "" if answer.error else cell(answer.selected, names)
        assert row["selected"] == other["selected"] == expected
        for name, column in zip(names, columns[3:], strict=True):
            if answer.error:
                assert (row[column], bool(np.isnan(other[column]))) == ("", True)
            else:
                assert np.float32(row[column]) == np.float32(answer.scores[name])
                assert float(other[column]) == pytest.approx(answer.scores[name], rel=1e-6)


def test_the_selected_labels_are_read_as_a_table_of_ours(tmp_path: Path) -> None:
    names = ("dog", "traffic light", "car, red", "x;y")
    answers = written(tmp_path / "out" / "predictions.csv", names)
    with open(tmp_path / "out" / "predictions.csv", encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for i, row in enumerate(rows):
        (tmp_path / f"{i}.jpg").write_bytes(b"%d" % i)
        row["image"] = f"{i}.jpg"
    with open(tmp_path / "labels.csv", "w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["image", "labels"])
        writer.writerows([row["image"], row["selected"]] for row in rows if not row["error"])
    data = read(f"csv:{tmp_path / 'labels.csv'}?separator=|")
    selected = [
        {name for name, value in zip(data.labels, values, strict=True) if value} for values in data.values
    ]
    assert selected == [set(answer.selected) for answer in answers if not answer.error]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
def test_json_lines_are_those_of_the_screen(tmp_path: Path, suffix: str) -> None:
    answers = written(tmp_path / "new" / f"predictions{suffix}", ODD)
    lines = (tmp_path / "new" / f"predictions{suffix}").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == [answer.to_json() for answer in answers]


def test_a_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    odd = Prediction(os.fsdecode(b"caf\xe9.jpg"), {"dog": 0.75}, {"dog": 0.5})
    for suffix in WRITERS:
        with WRITERS[suffix](tmp_path / f"predictions{suffix}", ("dog",)) as writer:
            writer.add(odd)
    assert pq.read_table(tmp_path / "predictions.parquet")["image"].to_pylist() == ["caf\ufffd.jpg"]
    assert "caf\ufffd.jpg,,dog,0.75" in (tmp_path / "predictions.csv").read_text(encoding="utf-8").replace(
        '"', ""
    )
    assert json.loads((tmp_path / "predictions.jsonl").read_text(encoding="utf-8"))["image"] == odd.image


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_what_is_broken_off_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"predictions{suffix}"
    file.write_text("of before")
    with pytest.raises(KeyboardInterrupt), WRITERS[suffix](file, ("dog",)) as writer:  # noqa: PT012
        for _ in range(5000):
            writer.add(Prediction("a.jpg", {"dog": 0.75}, {"dog": 0.5}))
        raise KeyboardInterrupt
    assert file.read_text() == "of before"
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_no_image_leaves_a_table_without_rows(tmp_path: Path, suffix: str) -> None:
    with WRITERS[suffix](tmp_path / f"predictions{suffix}", ("dog",)):
        pass
    content = (tmp_path / f"predictions{suffix}").read_bytes()
    assert (b"image" in content) is (suffix not in (".jsonl", ".ndjson"))


def test_files_and_folders_by_their_names(tmp_path: Path) -> None:
    for file in ("a.csv", "a.TSV", "x/y.Parquet", "a.b.jsonl", "a.ndjson"):
        assert is_one_file(file)
    for folder in ("a", "x/a", "a.csv/", "run.2", "2024.05", ".hidden", "..", str(tmp_path)):
        assert not is_one_file(folder)
    (tmp_path / "old.csv").mkdir()
    assert not is_one_file(str(tmp_path / "old.csv"))
    for other in ("a.json", "a.txt", "a.xlsx", "a.csv.gz", "a.pq", "a.v1"):
        with pytest.raises(
            LabelwiseError,
            match=r"a file in \.\w+; expected a file in .parquet, .csv, .tsv, .jsonl, .ndjson, or a folder; change",
        ):
            is_one_file(other)


def test_many_predictions_of_one_name_are_named_and_written_in_seconds(tmp_path: Path) -> None:
    paths = [f"folder{i}/image.jpg" for i in range(100_000)]
    start = time.process_time()
    names_of = stems(paths)
    assert time.process_time() - start < 2
    assert len(set(names_of.values())) == len(paths)
