"""A run that teaches: its answers to the training photographs, computed once and looked up in each step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwise.data.cache import cache_folder
from labelwise.data.dataset import Dataset
from labelwise.data.loading import TrainLoader
from labelwise.data.pixels import BITS
from labelwise.data.transforms import build_transform
from labelwise.errors import LabelwiseError
from labelwise.extractors import Pooled
from labelwise.losses.contrast import unit
from labelwise.losses.distillation import presence
from labelwise.methods import Method
from labelwise.methods.teacher_term import TeacherTerm
from labelwise.model import LabelModel
from labelwise.taught import Taught
from labelwise.training.checkpoint import recorded
from labelwise.training.disk import refuse_failing_disk
from labelwise.training.frozen_engine import use_engine
from labelwise.training.maps import MapSource, fill, images_key, shares, stored_maps
from labelwise.training.run import WEIGHTS, Run
from labelwise.training.sections import TeacherSettings
from labelwise.training.stored import stored
from labelwise.training.test_time import NONE
from labelwise.types import Batch, LabelSet


@dataclass(frozen=True)
class Teacher:
    """A finished run that another one learns from.

    Args:
        run: the teacher.
        model: its weights, at rest.
        settings: what is learned of it, with its digest.
        order: its columns in the order of the labels of the one who learns.
    """

    run: Run
    model: LabelModel
    settings: TeacherSettings
    order: tuple[int, ...]

    @classmethod
    def of(cls, settings: TeacherSettings, labels: LabelSet) -> Teacher | None:
        """The teacher that settings name, or `None` where they name none.

        Raises:
            LabelwiseError: no run, a damaged or unfinished one, one of other labels or without label features of its
                own, or another one than settings remember.
        """
        if not settings.run:
            return None
        run = Run.open(settings.run)
        own, asked = run.labels.names, labels.names
        if set(own) != set(asked):
            parts = {"lacking": set(asked) - set(own), "extra": set(own) - set(asked)}
            told = "; ".join(
                f"{what}: {', '.join(sorted(names)[:5])}" for what, names in parts.items() if names
            )
            raise LabelwiseError(
                f"--teacher {run.path} with other labels ({told})",
                "the labels of the data, in any order",
                "train a teacher on these labels",
            )
        model = run.model()
        if settings.features:
            _refuse_shared(model, f"of the teacher {run.path}, a {run.config.method}")
        digest = _digest(run)
        if settings.digest not in ("", digest):
            raise LabelwiseError(
                f"--teacher {run.path} that changed (digest {digest} after {settings.digest})",
                "the teacher that training began with",
                "restore its folder, or train with another --out",
            )
        order = tuple(own.index(name) for name in asked)
        return cls(run, model, settings.model_copy(update={"digest": digest}), order)

    def teach(self, student: Method, method: str) -> None:
        """Give a method the term by which it learns from this teacher.

        Args:
            student: before its first step.
            method: its id.

        Raises:
            LabelwiseError: label features are to be learned, and the method has one for all labels.
        """
        s = self.settings
        if s.features:
            _refuse_shared(student.model, f"for {method}")
        own, width = _width(student.model), _width(self.model)
        student.terms["teacher"] = TeacherTerm(own, width, s.logits, s.features, s.temperature)

    def doubts(self, data: list[str]) -> Iterator[str]:
        """What is said of a teacher that learned from other rows.

        Args:
            data: digests of the rows to learn from and to choose by, see `record_of`.
        """
        if recorded(self.run.path).get("data") != data:
            yield (
                f"note: the teacher {self.run.path} learned from another table or other splits than these; "
                "figures are too good where it learned from images of val or test"
            )

    def answers(
        self,
        rows: Dataset,
        device: torch.device,
        workers: int,
        say: Callable[[str], None],
        joined: bool = False,
    ) -> Answers:
        """Its answers to photographs as evaluation shows them, computed where they are not stored yet.

        Args:
            rows: the photographs.
            device: where they are computed.
            workers: decoding processes.
            say: takes a line for the person.
            joined: all processes of a training call this together, see `stored`.
        """
        wide = bool(self.settings.features)
        digest = hashlib.sha256(f"answers-1 {self.settings.digest} {wide}".encode())
        path = cache_folder() / "teachers" / f"{images_key(rows, digest)}.npy"
        width = 1 + (_width(self.model) if wide else 0)
        shape = len(rows), len(self.run.labels), width
        compute = partial(self._compute, rows, device, workers, say)
        told = f"computing the teacher's answers to {len(rows):,} images once"
        array, bad = stored(path, lambda: shape, compute, told, say, joined)
        self.model.cpu()
        return Answers(array, np.array(self.order), frozenset(row for row, _ in bad))

    def _compute(
        self,
        rows: Dataset,
        device: torch.device,
        workers: int,
        say: Callable[[str], None],
        part: Path,
        place: int = 0,
        places: int = 1,
    ) -> list[tuple[int, str]]:
        """Fill a share of the answers: of stored maps, where the teacher's backbone rested and it takes one view."""
        c, model = self.run.config, self.model.to(device)
        if not c.backbone.freeze or c.test_time != NONE:
            transform = build_transform(c.transform(), train=False)
            answer = partial(self._answer, device=device, is_map=False)
            return fill(rows, transform, workers, answer, part, place, places)
        backbone: Any = model.backbone
        use_engine(backbone, c, len(rows), device, say)
        maps, unreadable = stored_maps(rows, backbone, c, device, workers, say)
        source, bad = MapSource(maps, rows, dict(unreadable)), list[tuple[int, str]]()
        store = np.lib.format.open_memmap(part, mode="r+")
        for batch in source.batches([(0, own) for own in shares(len(rows), place, places)]):
            store[batch.index.numpy()] = (
                self._answer(batch.images, device, True).to(torch.float16).cpu().numpy()
            )
            refuse_failing_disk(batch.unreadable)
            bad += batch.unreadable
        store.flush()
        return bad

    @torch.no_grad()
    def _answer(self, images: Tensor, device: torch.device, is_map: bool) -> Tensor:
        """`[B, L, 1 + E]`: logits and, where they are learned, label features of length 1."""
        out = self.model(images.to(device), is_map=is_map)
        parts = [out.logits[:, :, None], *([unit(out.decoupled)] if self.settings.features else [])]
        found = torch.cat(parts, 2)
        if not found.isfinite().all():
            raise LabelwiseError(
                f"--teacher {self.run.path} with answers that are not finite",
                "numbers",
                "train the teacher anew",
            )
        return found


def _refuse_shared(model: LabelModel, whose: str) -> None:
    if isinstance(model.extractor, Pooled):
        raise LabelwiseError(
            f"teacher.features {whose} with one feature for all labels",
            "a feature of its own for each label, on both sides",
            "set teacher.features=0, or take a method such as dlfl",
        )


def _width(model: LabelModel) -> int:
    extractor: Any = model.extractor
    return int(extractor.dim)


def _digest(run: Run) -> str:
    """Of all that its answers follow from: labels, parts, what is done with photographs, weights."""
    c, t = run.config, run.config.transform()
    size = t.model_dump(mode="json", include={"image_size", "resize"})
    told = [
        run.labels.names,
        c.test_time,
        c.method,
        c.backbone.name,
        c.backbone.stage,
        c.extractor,
        c.relation,
        c.classifier,
    ]
    found = hashlib.sha256(json.dumps([*told, size, t.bits if t.bits != BITS else 0]).encode())
    found.update((run.path / WEIGHTS).read_bytes())
    return found.hexdigest()[:32]


@dataclass(frozen=True)
class Answers:
    """What a teacher says of each training photograph.

    Args:
        stored: `[N, L, 1 + E]` float16: logits, then label features of length 1 where they are learned.
        order: the teacher's columns in the student's order.
        unread: rows whose photograph it could not read.
    """

    stored: np.ndarray
    order: np.ndarray
    unread: frozenset[int]

    def of(self, batch: Batch) -> Batch:
        """The batch with its answers."""
        rows = batch.index.numpy()
        found = torch.from_numpy(self.stored[rows][:, self.order].astype(np.float32))
        left_out = self.unread | {
            row for row, _ in batch.unreadable
        }  # a filling has the number of an unreadable row
        seen = torch.tensor([row not in left_out for row in rows.tolist()])
        logits, features = found[:, :, 0], found[:, :, 1:] if found.shape[2] > 1 else None
        weights = presence(batch.targets, logits) * seen[:, None]
        return replace(batch, taught=Taught(logits, features, weights, seen))


class TaughtLoader(TrainLoader):
    """A loader whose batches carry a teacher's answers.

    Args:
        loader: gives the batches.
        answers: to the rows that they are of.
    """

    def __init__(self, loader: TrainLoader, answers: Answers) -> None:
        self._loader, self._answers, self.steps_per_epoch = loader, answers, loader.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """As `TrainLoader.epoch`."""
        return map(self._answers.of, self._loader.epoch(epoch, start_step))

    def close(self) -> None:
        """Ends the worker processes."""
        self._loader.close()
