"""labelwise continual, and labelwise train --init-from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from labelwise.runs.run import Run
from tiny_runs import TINY, command, photographs

STREAM = (
    "--backbone", "test_vit", "--weights", "none", "--image-size", "32", "--method", "dlfl",
    "--set", "extractor.dim=16", "--set", "extractor.ffn=16", "--tasks", "1,2", "--memory", "6",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photographs(tmp_path / "photos", 16, 4, 8)


def test_a_stream_from_the_command_line(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "stream"
    arguments = ("continual", "--stream", f"csv:{photos}", "--strategy", "prs", *STREAM, "--out", out)
    done = command(*arguments)
    assert done.code == 0, done.err
    assert "all tasks pooled" in done.out
    assert "task 2/2  mAP " in done.err
    record = json.loads((out / "continual.json").read_text())
    assert record["settings"]["tasks"] == [1, 2]
    assert record["memory"]["images"] <= 6
    assert [len(row["tasks"]) for row in record["history"]] == [1, 2]
    assert "holds a run" in command(*arguments).message
    again = command("continual", "--out", out, "--resume", "--json")
    assert json.loads(again.out) == record
    assert Run.open(out).model().classifier.weight.shape[0] == 3
    assert "with another optim.lr (0.5 after 0.001)" in command(*arguments, "--resume", "--lr", "0.5").message


def test_seeds_are_reported_together(photos: Path, tmp_path: Path) -> None:
    arguments = ("continual", "--stream", f"csv:{photos}", *STREAM, "--setting", "class-incremental")
    done = command(*arguments, "--strategy", "finetune", "--seeds", "2", "--json", "--out", tmp_path / "two")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    values = [one["result"]["pooled"]["mAP"] for one in record["seeds"]]
    assert record["spread"]["pooled"]["mAP"][0] == pytest.approx(sum(values) / 2)
    assert [one["seed"] for one in record["seeds"]] == [0, 1]
    assert "fitted" not in record["spread"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tasks", "2,x"), "--tasks with 'x'; expected whole numbers"),
        (("--tasks", "2,2"), "tasks of 2, 2 labels, 4 in all"),
        (("--strategy", "none"), "continual.strategy = 'none'"),
        (("--stream", "cocoseq:nowhere", "--tasks", "1,2"), "cocoseq with other tasks or another setting"),
    ],
)
def test_wrong_arguments(photos: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    first = ("continual", "--stream", f"csv:{photos}", *STREAM, "--out", tmp_path / "wrong")
    assert message in command(*first, *arguments).message
    assert command("continual", "--out", tmp_path / "wrong").code == 2


def fewer(table: Path, columns: list[str], name: str) -> Path:
    """The same photographs with fewer label columns."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(table.with_name(name), "w", newline="") as file:
        writer = csv.DictWriter(file, ["image", *columns, "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return table.with_name(name)


def test_training_continues_with_new_labels(photos: Path, tmp_path: Path) -> None:
    one = fewer(photos, ["red"], "one.csv")
    old, new = tmp_path / "old", tmp_path / "new"
    options = ("--no-report", *TINY)
    assert command("train", "--data", f"csv:{one}", "--out", old, *options).code == 0
    # With a learning rate near zero, training changes the old label's logits by less than the tolerance.
    done = command(
        "train", "--init-from", old, "--data", f"csv:{fewer(photos, ['green', 'blue'], 'two.csv')}",
        "--out", new, "--no-report", "--set", "workers=0", "--epochs", "1", "--batch-size", "4", "--lr", "1e-12",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "unknown in every image, for the data lack them: red." in done.err
    before, after = Run.open(old), Run.open(new)
    assert after.labels.names == ("red", "green", "blue")
    assert after.config.extractor == before.config.extractor
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        z = [run.model()(images).logits for run in (before, after)]
    assert (z[1][:, 0] - z[0][:, 0]).abs().max() <= 1e-5


def test_a_run_that_cannot_grow_is_refused(photos: Path, tmp_path: Path) -> None:
    assert (
        "holds no config.yaml"
        in command(
            "train", "--init-from", tmp_path, "--data", f"csv:{photos}", "--out", tmp_path / "x"
        ).message
    )
    one = fewer(photos, ["red", "green"], "one.csv")
    options = TINY[: TINY.index("extractor.dim=16") - 1]  # c-tran has other options
    run = command(
        "train",
        "--data",
        f"csv:{one}",
        "--out",
        tmp_path / "graph",
        "--method",
        "c-tran",
        "--no-report",
        *options,
    )
    assert run.code == 0, run.err
    message = command(
        "train", "--init-from", tmp_path / "graph", "--data", f"csv:{photos}", "--out", tmp_path / "y",
        "--set", "workers=0",
    ).message  # fmt: skip
    assert "method 'c-tran' with old labels that change" in message
