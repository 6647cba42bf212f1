"""`labelwise audit` and `labelwise data complete` on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from labelwise.data import read
from tiny_runs import TINY, command, photographs


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, a run and its audit."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWISE_CACHE", str(folder / "cache"))
        source = f"csv:{photographs(folder / 'photos', train=16)}"
        done = command("train", "--data", source, "--out", folder / "run", "--no-report", *TINY)
        assert done.code == 0, done.err
        outcome = command(
            "audit", folder / "run", "--folds", "2", "--split", "all", "--out", folder / "audit.csv"
        )
        assert outcome.code == 0, outcome.err
        (folder / "stdout.txt").write_text(outcome.out)
    return folder


def lines(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as stream:
        return list(csv.DictReader(stream))


def test_audit_writes_a_table_a_page_and_evidence(audited: Path) -> None:
    rows = lines(audited / "audit.csv")
    assert rows, "a network trained for one epoch has suspicious cells"
    assert {row["kind"] for row in rows} <= {"missing", "wrong", "duplicate", "contradiction"}
    assert {row["current"] for row in rows} | {row["proposed"] for row in rows} <= {"0", "1", ""}
    assert all((audited / row["evidence"]).is_file() for row in rows if row["evidence"])
    assert rows[0]["evidence"]
    assert (audited / "audit.html").read_text().count("<figure>") == sum(bool(r["evidence"]) for r in rows)
    printed = (audited / "stdout.txt").read_text()
    assert f"{len(rows)} cells of 25 images" in printed
    assert rows[0]["image"] in printed.splitlines()[0]


def test_complete_writes_what_the_audit_proposes(audited: Path, tmp_path: Path) -> None:
    source = f"csv:{audited / 'photos' / 'labels.csv'}"
    proposed = [r for r in lines(audited / "audit.csv") if r["kind"] in ("missing", "wrong")]
    out = tmp_path / "completed.csv"
    outcome = command("data", "complete", source, audited / "audit.csv", out, "--min-score", "0", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["cells"] == len(proposed)
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


def test_wrong_arguments_are_reported_in_one_line(audited: Path, tmp_path: Path) -> None:
    run, source = audited / "run", f"csv:{audited / 'photos' / 'labels.csv'}"
    assert "--out x.txt" in command("audit", run, "--out", "x.txt").message
    assert "split 'dev'" in command("audit", run, "--split", "dev").message
    assert "17 folds of" in command("audit", run, "--folds", "17", "--out", tmp_path / "a.csv").message
    complete = ("data", "complete", source, audited / "audit.csv")
    assert "kind 'odd'" in command(*complete, tmp_path / "o.csv", "--kinds", "odd").message
    assert ".csv or .parquet" in command(*complete, tmp_path / "o.txt").message
    other = tmp_path / "other.csv"
    other.write_text("rank,image,label,current,proposed,kind,score,probability,reason,evidence\n"
                     "1,gone.jpg,red,0,1,missing,0.99,0.99,r,\n")  # fmt: skip
    assert "image 'gone.jpg'" in command("data", "complete", source, other, tmp_path / "o.csv").message


def test_audit_prints_json(audited: Path, tmp_path: Path) -> None:
    outcome = command(
        "audit", audited / "run", "--split", "val", "--limit", "1", "--out", tmp_path / "v.csv", "--json"
    )
    record = json.loads(outcome.out)
    assert record["images"] == 4
    assert record["cells"] == len(lines(tmp_path / "v.csv")) <= 1
    assert Path(record["page"]).is_file()
