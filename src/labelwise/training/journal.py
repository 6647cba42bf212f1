"""Logs of a running training: metrics.jsonl, bad_images.csv, trackers."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config
from labelwise.runs.disk import refuse_failing_disk
from labelwise.runs.files import write_atomic, write_text
from labelwise.training.checkpoint import Progress
from labelwise.training.guard import Skipped
from labelwise.training.tracking import Tracking
from labelwise.types import Batch


class Journal:
    """Writes one line per logged step and per epoch, and the list of unreadable images.

    Args:
        path: the run's folder.
        dataset: the training rows, to name images by.
        config: for the limit of unreadable images and for the trackers.
        writes: whether this process writes; other processes only count unreadable images.
    """

    def __init__(self, path: Path, dataset: Dataset, config: Config, writes: bool) -> None:
        self._path, self._dataset, self._writes = path, dataset, writes
        self._limit = config.data.max_unreadable
        self._unreadable: dict[str, str] = {}
        self._tracking = Tracking(path, config) if writes else None

    def rewind(self, progress: Progress) -> None:
        """Remove lines that are later than the state from which training resumes."""
        if not self._writes:
            return
        lines = self._path / "metrics.jsonl"
        kept_lines = []
        if lines.is_file():
            for line in lines.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:  # a line truncated by a power failure
                    continue
                is_earlier = (
                    entry["epoch"] <= progress.epoch
                    if entry["kind"] == "epoch"
                    else entry["step"] <= progress.step
                )
                kept_lines += [line] if is_earlier else []
        write_text(lines, "".join(line + "\n" for line in kept_lines))
        bad_images = self._path / "bad_images.csv"
        if progress.step == 0:
            bad_images.unlink(missing_ok=True)
        elif bad_images.is_file():
            with open(bad_images, newline="", encoding="utf-8", errors="surrogateescape") as file:
                self._unreadable = {row[0]: row[1] for row in list(csv.reader(file))[1:] if len(row) == 2}

    def step(self, progress: Progress, terms: dict[str, float], lr: float, images_per_second: float) -> None:
        """Write the line of a step: the terms of its loss, the head's learning rate, images per second."""
        entry = {
            "kind": "step",
            "step": progress.step,
            "epoch": progress.epoch + 1,
            **terms,
            "lr": lr,
            "images_per_second": round(images_per_second, 2),
        }
        self._write(entry)
        if self._tracking is not None:
            values = {**terms, "lr": lr, "images_per_second": images_per_second}
            self._tracking.log({f"train/{name}": value for name, value in values.items()}, progress.step)

    def skipped(self, progress: Progress, steps: Sequence[Skipped]) -> None:
        """Write a line for each skipped step."""
        for skipped in steps:
            self._write({"kind": "skipped", "epoch": progress.epoch + 1, **asdict(skipped)})

    def settle(self) -> None:
        """Flush all lines to the disk; called before the state that follows them is saved."""
        file = self._path / "metrics.jsonl"
        if self._writes and file.is_file():
            with open(file, "rb+") as lines:
                os.fsync(lines.fileno())

    def epoch(
        self, progress: Progress, score: float | None, best: bool, learned: dict[str, float] | None = None
    ) -> None:
        """Write the line of an epoch: mean loss, validation mAP, whether its weights are kept, learned scalars.

        Args:
            progress: after the epoch.
            score: validation mAP in [0, 1]; `None` without a validation split.
            best: its weights are kept.
            learned: scalars that terms of the loss learn, such as the shares of blending.
        """
        val = {} if score is None else {"mAP": score}
        entry = {
            "kind": "epoch",
            "epoch": progress.epoch,
            "step": progress.step,
            "train_loss": progress.losses[-1],
            **({"learned": learned} if learned else {}),
        }
        self._write({**entry, "val": val, "best": best, "seconds": round(progress.seconds, 2)})
        if self._tracking is not None:
            scalars = {f"learned/{name}": value for name, value in (learned or {}).items()}
            self._tracking.log(scalars if score is None else {"val/mAP": score, **scalars}, progress.step)

    def judged(self, progress: Progress, split: str, metrics: dict[str, Any]) -> None:
        """Send the metrics of the kept weights on a split to the trackers; results.json holds all of them."""
        if self._tracking is not None:
            numbers = {
                f"final/{split}/{k}": float(v) for k, v in metrics.items() if isinstance(v, int | float)
            }
            self._tracking.log(numbers, progress.step)

    def close(self) -> None:
        """End the trackers' runs."""
        if self._tracking is not None:
            self._tracking.close()

    def unreadable(self, batch: Batch) -> None:
        """Record the images of a batch that could not be decoded.

        Raises:
            LabelwiseError: their share of the training rows exceeds `data.max_unreadable`, or the disk fails.
        """
        refuse_failing_disk(batch.unreadable)
        reasons = {self._dataset.image_id(row): reason for row, reason in batch.unreadable}
        if not reasons:
            return
        first_seen = set(reasons) - set(self._unreadable)
        self._unreadable.update(reasons)
        file = self._path / "bad_images.csv"
        if self._writes and first_seen:
            write_atomic(file, self._write_unreadable)
        share = len(self._unreadable) / len(self._dataset)
        if share > self._limit:
            raise LabelwiseError(
                f"{len(self._unreadable)} of {len(self._dataset)} training images unreadable ({share:.1%})",
                f"at most {self._limit:.1%}",
                f"see {file}, repair them, or raise data.max_unreadable",
            )

    def _write_unreadable(self, path: Path) -> None:
        with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            csv.writer(file).writerows([("image", "reason"), *sorted(self._unreadable.items())])

    def _write(self, entry: dict[str, Any]) -> None:
        if self._writes:
            with open(self._path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def logged_seconds(folder: Path) -> float:
    """Seconds of the last epoch that the log of a run's folder has, counted from its first step; 0 without one."""
    file = folder / "metrics.jsonl"
    seconds = 0.0
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            seconds = json.loads(line).get("seconds", seconds)
        except ValueError:  # a line truncated by a power failure
            continue
    return seconds
