"""A label without a positive in training is not selected by the program, the server and its page, and is reported."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import labelwise as lw
import tiny_runs
from labelwise.decisions import Decisions
from labelwise.decisions.projection import projection
from labelwise.serving.app import create_app
from live_server import live
from page_script import called_in_node
from tiny_runs import command

RULES = (
    {},
    {"implies": ((3, 4), (4, 5))},
    {"implies": ((3, 4), (5, 4), (0, 3))},
    {"exactly_one": ((3, 4),)},
    {"exactly_one": ((3, 4, 5),), "implies": ((0, 3), (1, 4))},
)
NOTE = "note: Never selected, no positive in train: 3, 7."


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Four photographs."""
    tiny_runs.photographs(tmp_path / "photos", 4, 0, 0)
    return [str(tmp_path / "photos" / f"train{i}.jpg") for i in range(4)]


@pytest.fixture
def marked(tmp_path: Path, run_folder: Path) -> Path:
    """The finished run with decisions that select every label except two without positives."""
    out = tmp_path / "marked"
    out.mkdir()
    for name in ("config.yaml", "labels.json", "model.safetensors"):
        shutil.copy(run_folder / name, out / name)
    labels = json.loads((out / "labels.json").read_text())
    labels["thresholds"] = dict.fromkeys(labels["names"], 0.0)
    labels["rules"]["never"] = ["3", "7"]
    (out / "labels.json").write_text(json.dumps(labels))
    return out


def test_predict_reports_it_once_and_never_selects_it(
    marked: Path, photos: list[str], tmp_path: Path
) -> None:
    arguments = ("predict", marked, *photos, "--workers", "0")
    plain, as_json = command(*arguments), command(*arguments, "--json")
    for outcome in (plain, as_json):
        assert (outcome.code, outcome.err.count("Never selected")) == (0, 1)
        assert NOTE in outcome.err
    for line in plain.out.splitlines():
        assert {part.split()[0] for part in line.rpartition(": ")[2].split(", ")} == set("01245689")
    for line in as_json.out.splitlines():
        labels = {label["name"]: label["selected"] for label in json.loads(line)["labels"]}
        assert labels == {str(d): d not in (3, 7) for d in range(10)}
    assert NOTE in command(*arguments, "--out", tmp_path / "table.csv").err
    with open(tmp_path / "table.csv", newline="") as file:
        assert all(set(row["selected"].split("|")) == set("01245689") for row in csv.DictReader(file))
    assert NOTE in command(*arguments, "--out", tmp_path / "parts").err
    rows = pq.read_table(tmp_path / "parts" / "part-000000.parquet").to_pylist()
    assert all(set(row["selected"]) == set("01245689") for row in rows)


def test_a_run_with_positives_of_all_labels_reports_nothing(run_folder: Path, photos: list[str]) -> None:
    assert "Never" not in command("predict", run_folder, photos[0], "--workers", "0").err
    assert lw.load(run_folder).never_selected == ()


def test_tune_leaves_it_unselected(marked: Path, table: Path) -> None:
    outcome = command(
        "tune", marked, "--data", f"parquet:{table}", "--objective", "recall=0.99", "--workers", "0"
    )
    assert (outcome.code, NOTE in outcome.err) == (0, True)
    rows = {line.split()[0]: line.split() for line in outcome.out.splitlines() if line[:1].isdigit()}
    assert [rows[name][2] for name in ("3", "7")] == ["never", "never"]
    assert rows["0"][2] != "never"
    assert lw.load(marked).never_selected == ("3", "7")
    again = command("tune", marked, "--data", f"parquet:{table}", "--json", "--workers", "0")
    assert json.loads(again.out)["rules"]["never"] == ["3", "7"]
    assert json.loads(again.out)["reasons"]["3"] == "no positive in train: never selected"


def test_the_server_marks_the_label(marked: Path, photos: list[str]) -> None:
    with live(create_app(lw.load(marked))) as client:
        labels = client.get("/labels").json()["labels"]
        files = [("files", (Path(photo).name, Path(photo).read_bytes())) for photo in photos]
        answers = client.post("/predict", files=files).json()["predictions"]
        page = client.get("/assets/photographs.js").text
    assert [label["name"] for label in labels if label["never_selected"]] == ["3", "7"]
    for answer in answers:
        assert {label["name"] for label in answer["labels"] if not label["selected"]} == {"3", "7"}
    assert "never selected: no positive in train" in page


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js to run the page's script")
def test_the_page_decides_as_the_library_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names, cases, expected = list("abcdef"), [], []
    for i in range(400):
        never = tuple(np.flatnonzero(rng.random(6) < 0.3).tolist())
        groups = ((0, 1, 2),) if i % 2 else ()
        ties = RULES[i % len(RULES)]
        d = Decisions(rng.random(6), np.ones(6), np.zeros(6), groups, i % 4, never=never, **ties)
        p = rng.random(6)
        cases.append(
            {
                "scores": list(zip(names, p.tolist(), strict=True)),
                "thresholds": list(zip(names, d.thresholds.tolist(), strict=True)),
                "rules": {
                    "implies": [[names[j] for j in pair] for pair in d.implies],
                    "exactly_one": [[names[j] for j in group] for group in d.exactly_one],
                    "parts": [part.to_json(names) for part in projection(d.rules).parts],
                },
                "topK": d.top_k,
                "never": [names[j] for j in never],
            }
        )
        expected.append(sorted(names[j] for j in np.flatnonzero(d.select(p[None])[0])))
    expression = (
        "given.cases.map((c) => [...select(given.names, new Map(c.scores), new Map(c.thresholds), "
        "c.rules, c.topK, new Set(c.never), new Set())].sort())"
    )
    given = {"names": names, "cases": cases}
    assert called_in_node(tmp_path, "decide.js", "select", expression, given) == expected
