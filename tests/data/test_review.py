"""The review queue: its file, its journal, and the corrected table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import labelwise as lw
import tiny_runs
from labelwise.data.review import Review
from labelwise.errors import LabelwiseError
from labelwise.serving.app import create_app
from live_server import live, scene_files
from tolerance import ANSWERS

HEAD = ["rank", "image", "label", "current", "proposed", "kind", "score", "probability", "reason", "evidence"]


def write_audit(folder: Path, source: str, count: int = 6) -> Path:
    """An audit that proposes the opposite of the first cells."""
    data = lw.read(source)
    rows = []
    for i in range(count):
        label = data.labels.names[i % 3]
        now = int(data.values[i, i % 3])
        kind = "wrong" if now else "missing"
        name = data.image_id(i)
        rows.append([i + 1, name, label, now, 1 - now, kind, round(0.9 - i / 10, 2), 0.5, f"why {i}", ""])
    with open(folder / "audit.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEAD, *rows])
    return folder / "audit.csv"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A table of photographs."""
    return f"csv:{tiny_runs.photographs(tmp_path)}"


@pytest.fixture
def audit(tmp_path: Path, source: str) -> Path:
    """An audit of the table, in the same folder."""
    return write_audit(tmp_path, source)


def test_decisions_survive_and_the_last_one_counts(audit: Path) -> None:
    review = Review(audit)
    for i, choice in ((0, "keep"), (1, "change"), (2, "unknown"), (1, "keep"), (3, "change"), (3, None)):
        review.decide(i, choice)
    assert len((audit.parent / "audit.review.jsonl").read_text().splitlines()) == 6
    again = Review(audit)
    assert [again.choice(i) for i in range(6)] == ["keep", "keep", "unknown", None, None, None]
    assert again.decided == 3
    assert [after for _, after in again.corrections()] == [again.items[0].current, again.items[1].current, ""]


def test_decisions_belong_to_cells_and_not_to_ranks(audit: Path) -> None:
    Review(audit).decide(0, "change")
    lines = audit.read_text().splitlines()
    audit.write_text("\n".join([lines[0], lines[3], lines[1]]) + "\n")
    assert [Review(audit).choice(i) for i in range(2)] == [None, "change"]


def test_a_line_cut_off_by_a_crash_is_dropped_and_the_rest_kept(audit: Path) -> None:
    review = Review(audit)
    review.decide(0, "keep")
    whole = review.journal.read_bytes()
    for cut in range(1, len(whole)):
        review.journal.write_bytes(whole + whole[:cut])
        again = Review(audit)
        assert again.choice(0) == "keep"
        assert review.journal.read_bytes() == whole
    review.journal.write_bytes(whole[:9])
    again = Review(audit)
    again.decide(1, "change")
    assert [Review(audit).choice(i) for i in range(2)] == [None, "change"]


def test_a_damaged_journal_is_told_by_its_line(audit: Path) -> None:
    review = Review(audit)
    review.decide(0, "keep")
    review.journal.write_bytes(b"{}\n" + review.journal.read_bytes())
    with pytest.raises(LabelwiseError, match=r"line 1 of .*review.jsonl is damaged; expected a decision"):
        Review(audit)


def test_what_no_audit_writes_is_refused(tmp_path: Path, audit: Path, source: str) -> None:
    with pytest.raises(LabelwiseError, match="No such file"):
        Review(tmp_path / "none.csv")
    lines = audit.read_text()
    audit.write_text(lines.replace("proposed", "other", 1))
    with pytest.raises(LabelwiseError, match="without the column 'proposed'"):
        Review(audit)
    audit.write_text(",".join(HEAD) + "\n1,a.jpg,red,yes,1,missing,1,1,,\n")
    with pytest.raises(LabelwiseError, match="with current 'yes'; expected 1, 0"):
        Review(audit)
    audit.write_text(",".join(HEAD) + "\n1,a.jpg,red,0,1,missing,1,1,,\n")
    with pytest.raises(LabelwiseError, match=r"image 'a.jpg' .*not there; .*give --data SOURCE"):
        Review(audit)
    with pytest.raises(LabelwiseError, match="which the data do not hold"):
        Review(audit, lw.read(source))
    with pytest.raises(LabelwiseError, match="choice 'maybe'; expected one of keep, change, unknown"):
        Review(write_audit(tmp_path, source)).decide(0, "maybe")


@pytest.fixture
def served(run_folder: Path, audit: Path, source: str):
    """A client of a server with a review, for an export with other labels."""
    review = Review(audit, lw.read(source))
    with live(create_app(lw.load(run_folder), review=review)) as client:
        yield client, review


def test_the_queue_over_http(served: tuple[httpx.Client, Review], tmp_path: Path) -> None:
    client, review = served
    queue = client.get("/review/items").json()
    assert (queue["audit"], queue["journal"], queue["exports"]) == ("audit.csv", "audit.review.jsonl", True)
    assert [item["reason"] for item in queue["items"]] == [f"why {i}" for i in range(6)]
    assert client.get("/review").status_code == 200
    photo = client.get("/review/items/1/photo")
    (tmp_path / "got.jpg").write_bytes(photo.content)
    ours = np.asarray(Image.open(tmp_path / "got.jpg"), float)
    theirs = np.asarray(Image.open(tmp_path / review.items[1].image), float)
    assert np.abs(ours - theirs).mean() < 6
    assert client.get("/review/items/0/map").json() == {"map": None}
    assert client.post("/review/items/4", json={"choice": "change"}).json() == {
        "choice": "change",
        "decided": 1,
    }
    assert client.get("/review/items").json()["items"][4]["choice"] == "change"
    for path in ("/review/items/6/photo", "/review/items/-1/map"):
        assert client.get(path).status_code == 404
    for bad in ({"choice": "maybe"}, {}, {"choice": "keep", "more": 1}):
        assert client.post("/review/items/0", json=bad).status_code == 422
    assert Review(review.audit).decided == 1


def test_a_decision_that_is_not_on_the_disk_is_not_confirmed(served: tuple[httpx.Client, Review]) -> None:
    client, review = served
    review.journal.mkdir()
    answer = client.post("/review/items/0", json={"choice": "keep"})
    assert answer.status_code == 507
    assert "could not be written" in answer.json()["error"]
    assert client.get("/review/items").json()["items"][0]["choice"] is None


def test_evidence_of_the_runs_own_labels(run_folder: Path, table: Path, tmp_path: Path) -> None:
    source = scene_files(table, tmp_path)
    predictor = lw.load(run_folder)
    review = Review(write_audit(tmp_path, source), lw.read(source))
    with live(create_app(predictor, review=review)) as client:
        evidence = np.array(client.get("/review/items/2/map").json()["map"])
    (expected,) = predictor.predict([review.encoded(2)], maps=True)
    np.testing.assert_allclose(evidence, expected.map(review.items[2].label), atol=ANSWERS)


def test_the_corrected_table_holds_the_decisions_and_their_provenance(
    served: tuple[httpx.Client, Review], source: str
) -> None:
    client, review = served
    for i, choice in enumerate(("change", "keep", "unknown", "change", "change")):
        client.post(f"/review/items/{i}", json={"choice": choice}).raise_for_status()
    export = client.post("/review/export").raise_for_status().json()
    assert (export["decided"], export["changed"]) == (5, 4)
    assert export["command"].startswith("labelwise train --data ")
    before, after = lw.read(source), lw.read(f"parquet:{export['table']}")
    assert after.labels.names == before.labels.names
    assert after.splits() == before.splits()
    cells = {(0, 0): True, (2, 2): None, (3, 0): True, (4, 1): True}
    for row in range(len(before)):
        for column in range(3):
            flip = cells.get((row, column), False)
            if flip is None:
                assert not after.known[row, column]
            else:
                assert after.known[row, column] == before.known[row, column]
                assert after.values[row, column] == (before.values[row, column] ^ int(flip))
    with open(export["changes"], newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["image"], line["label"]) for line in lines] == [review.items[i].key for i in (0, 2, 3, 4)]
    assert {line["source"] for line in lines} == {"review"}
    assert [line["after"] for line in lines] == [review.items[0].proposed, "", *(
        review.items[i].proposed for i in (3, 4))]  # fmt: skip
    assert [json.loads(text)["choice"] for text in review.journal.read_text().splitlines()][2] == "unknown"


def test_without_data_there_is_no_table(run_folder: Path, audit: Path) -> None:
    with live(create_app(lw.load(run_folder), review=Review(audit))) as client:
        assert client.get("/review/items").json()["exports"] is False
        answer = client.post("/review/export")
    assert answer.status_code == 409
    assert "start with --data SOURCE" in answer.json()["error"]
