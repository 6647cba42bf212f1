"""`labelwise audit` and `labelwise data complete` on the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelwise.data import read
from tiny_runs import command

PROBE = (
    "--backbone", "test_resnet", "--weights", "none", "--freeze-backbone", "--image-size", "32",
    "--method", "baseline-gap", "--set", "optim.name=exact", "--set", "workers=0",
)  # fmt: skip
WRONG, MISSING = ("train20.png", "red"), ("train21.png", "red")
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs of colours, two of their labels planted as wrong, a run and its audit.

    The label `elephant` is present in three photographs, as different as can be from the others.
    """
    folder = tmp_path_factory.mktemp("audited")
    table = folder / "photos" / "labels.csv"
    table.parent.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(106):
        split = "train" if i < 80 else "val" if i < 98 else "test"
        image = f"{split}{i}.png"
        held = np.array([i % 2, i // 2 % 2, rng.integers(2)])
        # Blocks of chance, so that no two look the same, and the channel of each colour that is present.
        pixels = np.kron(rng.integers(0, 90, (4, 4, 3)), np.ones((8, 8, 1))) + 150 * held
        elephant = int(i in (10, 11, 12))
        Image.fromarray((255 * rng.random((32, 32, 3)) if elephant else pixels).astype(np.uint8)).save(
            table.parent / image
        )
        held = held * (1 - elephant)
        cells = dict(zip(COLOURS, map(int, held), strict=True))
        for planted, label in (WRONG, MISSING):
            cells[label] ^= image == planted
        rows.append({"image": image, "split": split, **cells, "elephant": elephant})
    write(table, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWISE_CACHE", str(folder / "cache"))
        done = command("train", "--data", f"csv:{table}", "--out", folder / "run", "--no-report", *PROBE)
        assert done.code == 0, done.err
        assert "note: rare labels in train, fewer than 10 positives: elephant (3)" in done.err
        assert "mAP without rare labels" in done.err
        outcome = command("audit", folder / "run", "--folds", "4", "--out", folder / "audit.csv")
        assert outcome.code == 0, outcome.err
        (folder / "stdout.txt").write_text(outcome.out)
    return folder


def write(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with open(file, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def lines(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as stream:
        return list(csv.DictReader(stream))


def test_planted_errors_stand_first_in_table_page_and_terminal(audited: Path) -> None:
    rows = lines(audited / "audit.csv")
    assert {(r["image"], r["label"], r["kind"]) for r in rows[:2]} == {
        (*WRONG, "wrong"),
        (*MISSING, "missing"),
    }
    assert all(float(r["score"]) == float(r["wrong"]) >= 0.9 for r in rows[:2])
    assert all((audited / row["evidence"]).is_file() for row in rows if row["evidence"])
    assert (audited / "audit.html").read_text().count("<figure>") == sum(bool(r["evidence"]) for r in rows)
    printed = (audited / "stdout.txt").read_text()
    assert f"{len(rows)} cells of 80 images" in printed
    assert f"   1  {float(rows[0]['score']):.2f}  {rows[0]['kind']:13}  red  {rows[0]['image']}" in printed


def test_an_elephant_that_no_fold_could_learn_is_not_judged(audited: Path) -> None:
    assert "elephant" not in {row["label"] for row in lines(audited / "audit.csv")}
    reason = "3 known positives, fewer than 10"
    assert f"not judged: elephant ({reason})" in (audited / "stdout.txt").read_text()
    page = (audited / "audit.html").read_text()
    assert page.index("Not judged") < page.index("elephant") < page.index(reason)


def test_the_expected_number_is_that_of_the_planted_errors(audited: Path, tmp_path: Path) -> None:
    outcome = command(
        "audit", audited / "run", "--folds", "4", "--limit", "1", "--out", tmp_path / "v.csv", "--json"
    )
    record = json.loads(outcome.out)
    assert record["images"] == 80
    assert record["cells"] == len(lines(tmp_path / "v.csv")) == 1
    assert Path(record["page"]).is_file()
    assert 1 <= record["expected_wrong"] <= 4
    assert list(record["not_judged"]) == ["elephant"]
    assert record["planted"] == 7
    assert 4 <= record["planted_rise"] <= 10


def test_complete_writes_what_the_audit_proposes(audited: Path, tmp_path: Path) -> None:
    source = f"csv:{audited / 'photos' / 'labels.csv'}"
    proposed = [r for r in lines(audited / "audit.csv") if r["kind"] in ("missing", "wrong")]
    out = tmp_path / "completed.csv"
    outcome = command("data", "complete", source, audited / "audit.csv", out, "--min-score", "0", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["cells"] == len(proposed)
    assert {k: v for k, v in record["labels"]["red"].items() if v and k != "positives"} == {
        "removed": 1,
        "added": 1,
    }
    assert "red: " in outcome.err
    changes = lines(tmp_path / "completed.changes.csv")
    assert [(c["image"], c["label"], c["before"], c["after"], c["score"]) for c in changes] == [
        (r["image"], r["label"], r["current"], r["proposed"], r["score"]) for r in proposed
    ]
    before, after = read(source), read(f"csv:{out}")
    assert int((before.values != after.values).sum()) == len(proposed)
    none = command(
        "data", "complete", source, audited / "audit.csv", tmp_path / "none.csv", "--kinds", "duplicate"
    )
    assert none.out.startswith("0 cells changed")
    assert (read(f"csv:{tmp_path / 'none.csv'}").values == before.values).all()


def test_many_changes_of_a_label_need_yes(audited: Path, tmp_path: Path) -> None:
    source, out = audited / "photos" / "labels.csv", tmp_path / "out.csv"
    rows = [r for r in lines(source) if r["blue"] == "1"]
    audit = tmp_path / "audit.csv"
    columns = lines(audited / "audit.csv")[0]
    take = len(rows) // 5
    write(
        audit,
        [
            {
                **columns,
                "image": r["image"],
                "label": "blue",
                "current": "1",
                "proposed": "0",
                "score": "0.99",
            }
            for r in rows[:take]
        ],
    )
    given = ("data", "complete", f"csv:{source}", audit, out)
    refused = command(*given)
    assert refused.message.startswith(
        f"labelwise: {take} changes to the {len(rows)} positives of blue; expected at most 10% of a label's"
    )
    assert refused.out == f"blue: {len(rows)} positives, {take} removed\n"
    assert not list(tmp_path.glob("out*"))
    assert command(*given, "--max-share", "0.25").code == 0
    assert len(lines(tmp_path / "out.changes.csv")) == take
    out.unlink()
    assert command(*given, "--yes").code == 0
    assert sum(r["blue"] == "1" for r in lines(out)) == len(rows) - take


def test_the_table_itself_is_never_written_over(audited: Path, tmp_path: Path) -> None:
    copy = tmp_path / "labels.csv"
    images = audited / "photos"
    copy.write_bytes((images / "labels.csv").read_bytes())
    before = copy.read_bytes()
    given = ("data", "complete", f"csv:{copy}?images={images}", audited / "audit.csv")
    assert "the table itself; expected a new file" in command(*given, copy, "--yes").message
    changes = tmp_path / "out.changes.csv"
    changes.write_bytes(before)
    given = ("data", "complete", f"csv:{changes}?images={images}", audited / "audit.csv")
    assert "the table itself" in command(*given, tmp_path / "out.csv", "--yes").message
    assert changes.read_bytes() == before == copy.read_bytes()


def test_wrong_arguments_are_reported_in_one_line(audited: Path, tmp_path: Path) -> None:
    run, source = audited / "run", f"csv:{audited / 'photos' / 'labels.csv'}"
    assert "--out x.txt" in command("audit", run, "--out", "x.txt").message
    assert "split 'dev'" in command("audit", run, "--split", "dev").message
    assert "81 folds of" in command("audit", run, "--folds", "81", "--out", tmp_path / "a.csv").message
    complete = ("data", "complete", source, audited / "audit.csv")
    assert "kind 'odd'" in command(*complete, tmp_path / "o.csv", "--kinds", "odd").message
    assert ".csv or .parquet" in command(*complete, tmp_path / "o.txt").message
    other = tmp_path / "other.csv"
    other.write_text("rank,image,label,current,proposed,kind,score,probability,reason,evidence\n"
                     "1,gone.jpg,red,0,1,missing,0.99,0.99,r,\n")  # fmt: skip
    assert "image 'gone.jpg'" in command("data", "complete", source, other, tmp_path / "o.csv").message
