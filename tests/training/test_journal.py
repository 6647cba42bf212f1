"""What a run writes while it goes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

import tiny_runs
from labelwise.data.dataset import Dataset
from labelwise.data.readers import read
from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.training.checkpoint import Progress
from labelwise.training.journal import Journal
from labelwise.types import Batch, Targets


@pytest.fixture
def rows(table: Path) -> Dataset:
    """Twenty training rows."""
    return read(f"parquet:{table}").take(range(20))


def _journal(path: Path, rows: Dataset, limit: float = 0.1, writes: bool = True) -> Journal:
    data = {"source": "digits:", "max_unreadable": limit}
    return Journal(path, rows, make_config({**tiny_runs.settings("digits:"), "data": data}), writes)


def _batch(bad: tuple[tuple[int, str], ...] = ()) -> Batch:
    targets = Targets(torch.zeros(1, 10), torch.ones(1, 10, dtype=torch.bool))
    return Batch(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), targets, torch.tensor([0]), unreadable=bad)


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def _bad(path: Path) -> list[list[str]]:
    with open(path / "bad_images.csv", newline="") as file:
        return list(csv.reader(file))


def test_a_line_a_step_and_one_an_epoch(tmp_path: Path, rows: Dataset) -> None:
    journal = _journal(tmp_path, rows)
    journal.step(Progress(step=3), {"loss": 0.5, "classification": 0.25}, 0.01, 12.345)
    journal.epoch(Progress(step=4, epoch=1, losses=[0.75], seconds=1.234), 0.5, best=True)
    assert _lines(tmp_path) == [
        {
            "kind": "step",
            "step": 3,
            "epoch": 1,
            "loss": 0.5,
            "classification": 0.25,
            "lr": 0.01,
            "images_per_second": 12.35,
        },
        {
            "kind": "epoch",
            "epoch": 1,
            "step": 4,
            "train_loss": 0.75,
            "val": {"mAP": 0.5},
            "best": True,
            "seconds": 1.23,
        },
    ]


def test_going_on_takes_out_later_and_cut_lines(tmp_path: Path, rows: Dataset) -> None:
    journal = _journal(tmp_path, rows)
    for step in (1, 2, 3):
        journal.step(Progress(step=step, epoch=(step - 1) // 2), {"loss": 1.0}, 0.1, 1.0)
        if step == 2:
            journal.epoch(Progress(step=2, epoch=1, losses=[1.0]), None, best=True)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "step", "step": 4, "lo')
    _journal(tmp_path, rows).rewind(Progress(step=2, epoch=1))
    assert [(e["kind"], e["step"]) for e in _lines(tmp_path)] == [("step", 1), ("step", 2), ("epoch", 2)]


def test_unreadable_images_are_listed_once_by_name(tmp_path: Path, rows: Dataset) -> None:
    journal = _journal(tmp_path, rows)
    journal.unreadable(_batch())
    assert not (tmp_path / "bad_images.csv").exists()
    journal.unreadable(_batch(((3, "it is empty, and more"),)))
    journal.unreadable(_batch(((3, "it is empty, and more"), (1, "damaged"))))
    assert _bad(tmp_path) == [["image", "reason"], ["row 1", "damaged"], ["row 3", "it is empty, and more"]]


def test_too_many_unreadable_images_stop_the_run(tmp_path: Path, rows: Dataset) -> None:
    journal = _journal(tmp_path, rows, limit=0.1)
    journal.unreadable(_batch(((0, "a"), (1, "b"))))  # 2 of 20 is the limit itself
    with pytest.raises(LabelwiseError) as caught:
        journal.unreadable(_batch(((2, "c"),)))
    assert str(caught.value) == (
        f"3 of 20 training images unreadable (15.0%); expected at most 10.0%; "
        f"see {tmp_path}/bad_images.csv, repair them, or raise data.max_unreadable"
    )
    assert len(_bad(tmp_path)) == 4


def test_going_on_does_not_forget_the_limit(tmp_path: Path, rows: Dataset) -> None:
    bad = ((0, "a"), (1, "b"), (2, "c"))
    with pytest.raises(LabelwiseError, match="3 of 20"):
        _journal(tmp_path, rows).unreadable(_batch(bad))
    again = _journal(tmp_path, rows)
    again.rewind(Progress(step=1))
    with pytest.raises(LabelwiseError, match="3 of 20"):
        again.unreadable(_batch(bad[:1]))


def test_a_new_start_begins_a_new_list(tmp_path: Path, rows: Dataset) -> None:
    _journal(tmp_path, rows).unreadable(_batch(((0, "a"),)))
    again = _journal(tmp_path, rows)
    again.rewind(Progress())
    assert not (tmp_path / "bad_images.csv").exists()
    again.unreadable(_batch(((5, "x"),)))
    assert _bad(tmp_path)[1:] == [["row 5", "x"]]


def test_other_processes_write_nothing(tmp_path: Path, rows: Dataset) -> None:
    journal = _journal(tmp_path, rows, writes=False)
    journal.rewind(Progress())
    journal.step(Progress(step=1), {"loss": 1.0}, 0.1, 1.0)
    journal.unreadable(_batch(((0, "a"),)))
    assert list(tmp_path.iterdir()) == []
