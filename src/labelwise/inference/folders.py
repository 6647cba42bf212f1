"""Predictions of large collections, on this machine or on a cluster by Ray Data; a stopped call can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labelwise.data.decode import UnreadableImage, evenly, first_dark
from labelwise.data.fixed import Transform
from labelwise.data.pixels import BITS
from labelwise.decisions import never_selected_note
from labelwise.errors import LabelwiseError
from labelwise.export.hub import fetch
from labelwise.inference.loading import load
from labelwise.inference.parts import PartPredictions, Parts
from labelwise.inference.predictor import Predictor, batch_of_inputs
from labelwise.inference.shared import shared
from labelwise.runs.run import folder_of

PART = 4096
_FINGERPRINT_FILES = ("checksums.json", "config.yaml", "labels.json", "model.safetensors")


@dataclass(frozen=True)
class Work:
    """The work of an engine on a collection.

    Args:
        model: a run, an exported folder, or a hub id.
        files: every image of the collection.
        rows: indices in `files` of the images to predict, a range for each part.
        batch_size: images per batch.
        workers: processes.
    """

    model: str
    files: Sequence[str]
    rows: Sequence[range]
    batch_size: int
    workers: int


@dataclass(frozen=True)
class FolderCounts:
    """Counts of a collection: all `images`, those `answered` by this call, and the `unreadable` ones."""

    images: int
    answered: int
    unreadable: int


def predict_collection(
    model: str | Path,
    files: Sequence[str],
    out: str | Path,
    *,
    engine: str = "here",
    workers: int = 1,
    batch_size: int = 32,
    part: int = PART,
    bits: int | None = None,
    device: str | None = None,
    on_part: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> FolderCounts:
    """Writes the predictions of every image to a folder of parquet files, each written once; existing parts are kept.

    Args:
        model: a run, an exported folder, or a hub id.
        files: paths of images that every worker can read.
        out: a new folder, or the one of a stopped call with the same model, files and `part`.
        engine: `here`, this process; `ray`, Ray Data, on this machine or on the cluster at RAY_ADDRESS.
        workers: decoding processes; with Ray, model replicas, each with a decoding process.
        batch_size: images per batch.
        part: images per file. Unfinished parts of a stopped call are lost.
        bits: bits used by 16-bit grey images, see `decode_image`; `None` for those of the training.
        device: of this process, see `load`.
        on_part: called after each part with the number of finished parts and of all parts.
        on_note: called at the start with each note to the user: labels that are never selected, and files that decode
            to nearly black, in a sample of 200.

    Raises:
        LabelwiseError: a folder of another collection, or an engine that is not installed.
    """
    from labelwise.inference import on_ray

    engines = {"here": local_answers, "ray": on_ray.answers}
    if engine not in engines:
        raise LabelwiseError(f"engine {engine!r}", f"one of {', '.join(engines)}", "correct the name")
    if engine == "ray":
        on_ray.require_ray()
    predictor, fingerprint = load(model, device), fingerprint_model(model)
    if bits is not None and bits != predictor.transform.config.bits:
        predictor, fingerprint = predictor.with_bits(bits), f"{fingerprint} {bits} bits"
    parts = Parts(Path(out), files, predictor.labels.names, fingerprint, part)
    if never := never_selected_note(predictor.never_selected):
        on_note(never)
    if predictor.transform.config.bits == BITS and (dark := first_dark(files[i] for i in evenly(len(files)))):
        on_note(dark)
    missing = parts.missing()
    work = Work(str(model), files, [parts.rows(i) for i in missing], batch_size, workers)
    finished = parts.count - len(missing)
    if engine == "here":
        predictor.prepare(sum(map(len, work.rows)), on_note)
    for answers in engines[engine](predictor, work) if missing else ():
        for _ in parts.add(answers):
            finished += 1
            on_part(finished, parts.count)
    return FolderCounts(len(files), sum(map(len, work.rows)), parts.unreadable())


def local_answers(predictor: Predictor, work: Work) -> Iterator[PartPredictions]:
    """Predictions by this process, decoding in `workers` other processes."""
    loader = torch.utils.data.DataLoader(
        _DecodedImages(work.files, predictor.transform),
        batch_sampler=batches_within_parts(work),
        num_workers=work.workers,
        collate_fn=list,
        generator=torch.Generator(),
    )
    for batch in loader:
        rows, images, errors = zip(*batch, strict=True)
        yield answer(predictor, np.array(rows), images, list(errors))


def batches_within_parts(work: Work) -> list[list[int]]:
    """Indices of the images of each batch; no batch crosses the end of a part."""
    size = work.batch_size
    return [list(part[i : i + size]) for part in work.rows for i in range(0, len(part), size)]


def answer(
    predictor: Predictor, rows: np.ndarray, images: Sequence[Tensor | None], errors: list[str]
) -> PartPredictions:
    """The predictions of a batch; an unreadable image is `None` in `images` and has its reason in `errors`."""
    shape = len(rows), len(predictor.labels)
    scores, chosen = np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
    readable = [i for i, image in enumerate(images) if image is not None]
    if readable:
        batch = batch_of_inputs([image for image in images if image is not None])
        p = predictor.decisions.probabilities(predictor.engine(batch)[0])
        scores[readable], chosen[readable] = p, predictor.decisions.select(p)
    return PartPredictions(rows, scores, chosen, errors)


def decode_input(transform: Transform, source: str | bytes) -> tuple[Tensor | None, str]:
    """The model's input, uint8 `[3, H, W]`, and ""; or `None` and the reason for an unreadable image."""
    try:
        return transform(transform.decode(source)), ""
    except UnreadableImage as error:
        return None, str(error)


def fingerprint_model(model: str | Path) -> str:
    """A hash of everything that determines a model's predictions: weights, settings, labels, thresholds."""
    folder, digest = folder_of(fetch(model)), hashlib.sha256()
    for name in _FINGERPRINT_FILES:
        file = folder / name
        if file.is_file():
            digest.update(name.encode() + file.read_bytes())
    return digest.hexdigest()


class _DecodedImages(torch.utils.data.Dataset):
    """Images by index."""

    def __init__(self, files: Sequence[str], transform: Transform) -> None:
        self._files, self._transform = shared(files), transform

    def __getitem__(self, row: int) -> tuple[int, Tensor | None, str]:
        return row, *decode_input(self._transform, self._files[row])
