"""What a run writes while it goes: metrics.jsonl, bad_images.csv, TensorBoard."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.training.checkpoint import Progress
from labelwise.training.config import Config
from labelwise.training.files import write_text
from labelwise.types import Batch


class Journal:
    """One line a step and one an epoch; images that could not be read.

    Args:
        path: the run's folder.
        dataset: the training rows, to name images by.
        config: for the limit of unreadable images and for TensorBoard.
        writes: whether this process writes; the others only count.
    """

    def __init__(self, path: Path, dataset: Dataset, config: Config, writes: bool) -> None:
        self._path, self._dataset, self._writes = path, dataset, writes
        self._limit = config.data.max_unreadable
        self._bad: dict[str, str] = {}
        self._board = _board(path) if config.tensorboard and writes else None

    def rewind(self, progress: Progress) -> None:
        """Take out lines that are later than the state that training goes on from."""
        if not self._writes:
            return
        lines = self._path / "metrics.jsonl"
        kept = []
        if lines.is_file():
            for line in lines.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:  # a line cut short by a power failure
                    continue
                past = (
                    entry["step"] <= progress.step
                    if entry["kind"] == "step"
                    else entry["epoch"] <= progress.epoch
                )
                kept += [line] if past else []
        write_text(lines, "".join(line + "\n" for line in kept))
        bad = self._path / "bad_images.csv"
        if progress.step == 0:
            bad.unlink(missing_ok=True)
        elif bad.is_file():
            with open(bad, newline="", encoding="utf-8", errors="surrogateescape") as file:
                self._bad = {row["image"]: row["reason"] for row in csv.DictReader(file)}

    def step(self, progress: Progress, terms: dict[str, float], lr: float, images_per_second: float) -> None:
        """A line of a step: the terms of its loss, the head's rate, images per second."""
        entry = {
            "kind": "step",
            "step": progress.step,
            "epoch": progress.epoch + 1,
            **terms,
            "lr": lr,
            "images_per_second": round(images_per_second, 2),
        }
        self._write(entry)
        if self._board is not None:
            for name, value in {**terms, "lr": lr}.items():
                self._board.add_scalar(f"train/{name}", value, progress.step)

    def epoch(self, progress: Progress, found: float | None, best: bool) -> None:
        """A line of an epoch: its mean loss, validation mAP, and whether its weights are kept."""
        val = {} if found is None else {"mAP": found}
        entry = {
            "kind": "epoch",
            "epoch": progress.epoch,
            "step": progress.step,
            "train_loss": progress.losses[-1],
        }
        self._write({**entry, "val": val, "best": best, "seconds": round(progress.seconds, 2)})
        if self._board is not None and found is not None:
            self._board.add_scalar("val/mAP", found, progress.step)

    def unreadable(self, batch: Batch) -> None:
        """Note the images of a batch that could not be decoded.

        Raises:
            LabelwiseError: their share of the training rows is past the stated limit.
        """
        new = {self._dataset.image_id(row): reason for row, reason in batch.unreadable}
        if not new:
            return
        first_seen = set(new) - set(self._bad)
        self._bad.update(new)
        bad = self._path / "bad_images.csv"
        if self._writes and first_seen:
            with open(bad, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.writer(file)
                writer.writerows([("image", "reason"), *sorted(self._bad.items())])
        share = len(self._bad) / len(self._dataset)
        if share > self._limit:
            raise LabelwiseError(
                f"{len(self._bad)} of {len(self._dataset)} training images unreadable ({share:.1%})",
                f"at most {self._limit:.1%}",
                f"see {bad}, mend them, or raise data.max_unreadable",
            )

    def _write(self, entry: dict[str, Any]) -> None:
        if self._writes:
            with open(self._path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def _board(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise LabelwiseError(
            "tensorboard = true without the package",
            "tensorboard installed",
            "run: pip install labelwise[tensorboard]",
        ) from None
    return SummaryWriter(str(path / "tensorboard"))
