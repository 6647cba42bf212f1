"""A teacher run: its outputs for the training images, computed once and looked up in each step."""

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

from labelwise.composition import Method
from labelwise.data.cache import cache_folder
from labelwise.data.dataset import Dataset
from labelwise.data.loading import TrainLoader
from labelwise.data.pixels import BITS
from labelwise.data.transforms import build_transform
from labelwise.engines.frozen_engine import use_engine
from labelwise.errors import LabelwiseError
from labelwise.extractors import Pooled
from labelwise.labels import LabelSet, lacking_and_extra
from labelwise.losses.contrast import bounded_unit
from labelwise.losses.distillation import presence
from labelwise.model import LabelModel
from labelwise.runs.disk import refuse_failing_disk
from labelwise.runs.run import WEIGHTS, Run
from labelwise.runs.sections import TeacherSettings
from labelwise.runs.stored import Rows, open_rows, stored
from labelwise.runs.test_time import NONE
from labelwise.taught import TeacherBatch
from labelwise.terms.teacher import TeacherTerm
from labelwise.training.checkpoint import recorded
from labelwise.training.maps import MapSource, fill, images_key, shares, stored_maps
from labelwise.types import Batch


@dataclass(frozen=True)
class Teacher:
    """A finished run that another run distils.

    Args:
        run: the teacher's run.
        model: its model, in evaluation mode.
        settings: weights of the distillation terms, with the teacher's digest.
        order: the teacher's columns in the order of the student's labels.
    """

    run: Run
    model: LabelModel
    settings: TeacherSettings
    order: tuple[int, ...]

    @classmethod
    def of(cls, settings: TeacherSettings, labels: LabelSet) -> Teacher | None:
        """The teacher that settings name, or `None` if they name none.

        Raises:
            LabelwiseError: the run is absent, damaged or unfinished, has other labels or no features per label, or
                differs from the digest in the settings.
        """
        if not settings.run:
            return None
        run = Run.open(settings.run)
        teacher_labels, student_labels = run.labels.names, labels.names
        if differences := lacking_and_extra(teacher_labels, student_labels):
            raise LabelwiseError(
                f"--teacher {run.path} with other labels ({differences})",
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
        order = tuple(teacher_labels.index(name) for name in student_labels)
        return cls(run, model, settings.model_copy(update={"digest": digest}), order)

    def teach(self, student: Method, method: str) -> None:
        """Add the distillation term of this teacher to a method.

        Args:
            student: the method, before its first step.
            method: its id.

        Raises:
            LabelwiseError: label features are to be distilled, but the method shares one feature among all labels.
        """
        s = self.settings
        if s.features:
            _refuse_shared(student.model, f"for {method}")
        student_width, teacher_width = _feature_width(student.model), _feature_width(self.model)
        student.terms["teacher"] = TeacherTerm(
            student_width, teacher_width, s.logits, s.features, s.temperature
        )

    def doubts(self, data: list[str]) -> Iterator[str]:
        """A note if the teacher was trained on other rows.

        Args:
            data: digests of the training and validation rows, see `record_of`.
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
    ) -> TeacherOutputs:
        """The teacher's outputs for images under the evaluation transform, computed unless they are stored.

        Args:
            rows: the images.
            device: where outputs are computed.
            workers: decoding processes.
            say: prints a line to the user.
            joined: all processes of a training call this together, see `stored`.
        """
        with_features = bool(self.settings.features)
        digest = hashlib.sha256(f"answers-1 {self.settings.digest} {with_features}".encode())
        path = cache_folder() / "teachers" / f"{images_key(rows, digest)}.npy"
        width = 1 + (_feature_width(self.model) if with_features else 0)
        shape = len(rows), len(self.run.labels), width
        compute = partial(self._compute, rows, device, workers, say)
        message = f"computing the teacher's answers to {len(rows):,} images once"
        array, unreadable = stored(path, lambda: shape, compute, message, say, joined)
        self.model.cpu()
        return TeacherOutputs(array, np.array(self.order), frozenset(row for row, _ in unreadable))

    def _compute(
        self,
        rows: Dataset,
        device: torch.device,
        workers: int,
        say: Callable[[str], None],
        file: Path,
        index: int = 0,
        processes: int = 1,
    ) -> list[tuple[int, str]]:
        """Write a share of the outputs; from stored maps if the teacher's backbone is frozen and it has one view."""
        config, model = self.run.config, self.model.to(device)
        if not config.backbone.freeze or config.test_time != NONE:
            transform = build_transform(config.transform(), train=False)
            answer = partial(self._outputs, device=device, is_map=False)
            return fill(rows, transform, workers, answer, file, index, processes)
        backbone: Any = model.backbone
        use_engine(backbone, config, len(rows), device, say)
        maps, unreadable = stored_maps(rows, backbone, config, device, workers, say)
        source, bad_rows = MapSource(maps, rows, dict(unreadable)), list[tuple[int, str]]()
        store = open_rows(file, writable=True)
        for batch in source.batches([(0, chunk) for chunk in shares(len(rows), index, processes)]):
            store[batch.index.numpy()] = (
                self._outputs(batch.images, device, True).to(torch.float16).cpu().numpy()
            )
            refuse_failing_disk(batch.unreadable)
            bad_rows += batch.unreadable
        store.flush()
        return bad_rows

    @torch.no_grad()
    def _outputs(self, images: Tensor, device: torch.device, is_map: bool) -> Tensor:
        """`[B, L, 1 + E]`: logits and, if features are distilled, label features of unit length."""
        out = self.model(images.to(device), is_map=is_map)
        parts = [out.logits[:, :, None], *([bounded_unit(out.decoupled)] if self.settings.features else [])]
        outputs = torch.cat(parts, 2)
        if not outputs.isfinite().all():
            raise LabelwiseError(
                f"--teacher {self.run.path} with answers that are not finite",
                "numbers",
                "train the teacher again",
            )
        return outputs


def _refuse_shared(model: LabelModel, owner: str) -> None:
    """Raise `LabelwiseError` for a model with one feature for all labels."""
    if isinstance(model.extractor, Pooled):
        raise LabelwiseError(
            f"teacher.features {owner} with pooled features",
            "a learned feature per label in both teacher and student",
            "set teacher.features=0, or take a method such as dlfl",
        )


def _feature_width(model: LabelModel) -> int:
    """Width of a model's label features before any relation."""
    extractor: Any = model.extractor
    return int(extractor.dim)


def _digest(run: Run) -> str:
    """Digest of all that determines the outputs: labels, parts, image transform, weights."""
    config, t = run.config, run.config.transform()
    size = t.model_dump(mode="json", include={"image_size", "resize"})
    parts = [
        run.labels.names,
        config.test_time,
        config.method,
        config.backbone.name,
        config.backbone.stage,
        config.extractor,
        config.relation,
        config.classifier,
        *([config.controls] if config.controls else []),
    ]
    digest = hashlib.sha256(json.dumps([*parts, size, t.bits if t.bits != BITS else 0]).encode())
    digest.update((run.path / WEIGHTS).read_bytes())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class TeacherOutputs:
    """A teacher's outputs for each training image.

    Args:
        stored: `[N, L, 1 + E]` float16: logits, then label features of unit length if they are distilled.
        order: the teacher's columns in the student's order.
        unread: rows of images that could not be read.
    """

    stored: Rows
    order: np.ndarray
    unread: frozenset[int]

    def of(self, batch: Batch) -> Batch:
        """The batch with the teacher's outputs."""
        rows = batch.index.numpy()
        outputs = torch.from_numpy(self.stored[rows][:, self.order]).float()
        # A filler row has the number of an unreadable row.
        left_out = self.unread | {row for row, _ in batch.unreadable}
        seen = torch.tensor([row not in left_out for row in rows.tolist()])
        logits, features = outputs[:, :, 0], outputs[:, :, 1:] if outputs.shape[2] > 1 else None
        weights = presence(batch.targets, logits) * seen[:, None]
        return replace(batch, taught=TeacherBatch(logits, features, weights, seen))


class TaughtLoader(TrainLoader):
    """A loader that adds a teacher's outputs to each batch.

    Args:
        loader: yields the batches.
        answers: outputs for the rows of the loader.
    """

    def __init__(self, loader: TrainLoader, answers: TeacherOutputs) -> None:
        self._loader, self._answers, self.steps_per_epoch = loader, answers, loader.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """As `TrainLoader.epoch`."""
        return map(self._answers.of, self._loader.epoch(epoch, start_step))

    def close(self) -> None:
        """Ends the worker processes."""
        self._loader.close()
