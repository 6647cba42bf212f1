"""Scores of a data set by a model, over one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32

from labelwise.data.dataset import Dataset
from labelwise.data.npz import read_npz
from labelwise.errors import LabelwiseError
from labelwise.metrics.bootstrap import bootstrap_map
from labelwise.model import LabelModel
from labelwise.progress import bar
from labelwise.runs.files import write_atomic
from labelwise.types import Batch, Output


@dataclass(frozen=True)
class Scores:
    """Logits with the known label values of each image, in the order of the rows.

    Args:
        rows: `[N]` int64, row numbers in the data set; unreadable images are absent.
        logits: `[N, L]` float32.
        values: `[N, L]` as the data set holds them.
        known: `[N, L]` bool.
        unreadable: (row, reason) of images that could not be decoded.
        group: `[N]` codes of the data set's groups, such as persons; `None` if it declares none.
    """

    rows: np.ndarray
    logits: np.ndarray
    values: np.ndarray
    known: np.ndarray
    unreadable: list[tuple[int, str]]
    group: np.ndarray | None = None

    @property
    def hard(self) -> np.ndarray:
        """`[N, L]` uint8 targets of the metrics: 1 for values of at least 0.5."""
        return (self.values >= 0.5).astype(np.uint8)

    @property
    def probabilities(self) -> np.ndarray:
        """`[N, L]` float64 sigmoid of the logits."""
        return 1 / (1 + np.exp(-self.logits.astype(np.float64)))

    def save(self, path: Path, dataset: Dataset) -> None:
        """Write ids, logits, values, known and, where declared, groups as a compressed npz, atomically."""
        ids = np.array([dataset.image_id(int(i)) for i in self.rows], dtype=str)

        arrays: dict[str, Any] = {
            "ids": ids,
            "logits": self.logits,
            "values": self.values,
            "known": self.known,
        }
        if self.group is not None:
            arrays["group"] = self.group

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)

        write_atomic(path, write)


@dataclass(frozen=True)
class StoredScores:
    """Scores as written by `Scores.save`.

    Args:
        ids: `[N]` image ids.
        logits: `[N, L]` float32.
        values: `[N, L]` as the data set held them.
        known: `[N, L]` bool.
        group: `[N]` codes of groups of images; `None` if the data declared none.
    """

    ids: np.ndarray
    logits: np.ndarray
    values: np.ndarray
    known: np.ndarray
    group: np.ndarray | None = None

    @classmethod
    def read(cls, path: Path) -> StoredScores:
        """The scores of a file.

        Raises:
            LabelwiseError: absent or damaged.
        """
        try:
            return cls(*read_npz(path, ("ids", "logits", "values", "known"), ("group",)))
        except ValueError as error:
            raise LabelwiseError(
                f"{path} ({error})", "scores that a run wrote", "train the run again"
            ) from None

    def resampled_map(self, counts: Int32[np.ndarray, "N R"]) -> Float[np.ndarray, " R"]:
        """The mAP of each resample: `bootstrap_map` with these scores."""
        return bootstrap_map(self.logits, self.values, self.known.astype(bool), counts)


@torch.inference_mode()
def collect(
    model: LabelModel,
    loader: Iterable[Batch],
    dataset: Dataset,
    device: torch.device,
    watch: Callable[[Batch, Output], None] | None = None,
) -> Scores:
    """Runs a model over a loader; with several processes, every process gets the joined scores.

    Args:
        loader: this process's share of the rows, each row once over all processes.
        watch: called with each batch and its output, maps included.

    Raises:
        LabelwiseError: an image was scored twice, or there is none.
    """
    model.eval()
    rows: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    unreadable: list[tuple[int, str]] = []
    done = 0
    with bar("images evaluated", len(dataset)) as tick:
        for batch in loader:
            unreadable += batch.unreadable
            skipped = {row for row, _ in batch.unreadable}
            batch = batch.to(device)
            output = model(batch.images, want_maps=watch is not None, is_map=batch.is_map)
            keep = np.array([int(i) not in skipped for i in batch.index])
            if keep.all() and watch is not None:
                watch(batch, output)
            rows.append(batch.index.numpy()[keep])
            logits.append(output.logits.float().cpu().numpy()[keep])
            done += len(batch.index)
            tick(done)
    width = len(dataset.labels)
    row = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    z = np.concatenate(logits) if logits else np.zeros((0, width), np.float32)
    return _join(row, z, unreadable, dataset)


def _join(
    rows: np.ndarray, logits: np.ndarray, unreadable: list[tuple[int, str]], dataset: Dataset
) -> Scores:
    """The scores of all processes, in the order of the rows."""
    parts = gather((rows, logits, unreadable))
    rows = np.concatenate([p[0] for p in parts])
    logits = np.concatenate([p[1] for p in parts])
    order = np.argsort(rows, kind="stable")
    rows, logits = rows[order], logits[order]
    repeated = rows[1:][rows[1:] == rows[:-1]]
    if len(repeated):
        raise LabelwiseError(
            f"{dataset.image_id(int(repeated[0]))} scored twice", "each image once", "report this as a fault"
        )
    if not len(rows):
        raise LabelwiseError("no readable image in this split", "at least one", "see labelwise data check")
    unreadable = [entry for part in parts for entry in part[2]]
    group = None if dataset.group is None else dataset.group[rows]
    return Scores(rows, logits, dataset.values[rows], dataset.known[rows], unreadable, group)


def gather(part: Any) -> list[Any]:
    """The object of every process, in the order of their ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [part]
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, part)
    return parts
