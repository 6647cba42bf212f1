"""Many photographs at once: on this machine, or on a cluster by Ray Data; a stopped run goes on where it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from labelwise.data.decode import UnreadableImage, evenly, first_dark
from labelwise.data.pixels import BITS
from labelwise.data.transforms import ImageTransform
from labelwise.decisions import never_selected_note
from labelwise.errors import LabelwiseError
from labelwise.export.hub import fetch
from labelwise.serving.parts import Answers, Parts
from labelwise.serving.predictor import Predictor, load
from labelwise.training.run import folder_of

PART = 4096
_TELL_APART = ("checksums.json", "config.yaml", "labels.json", "model.safetensors")


@dataclass(frozen=True)
class Work:
    """What a collection asks of an engine.

    Args:
        model: a run, an exported folder, or a hub id.
        files: every image of the collection.
        rows: places in `files` of those to answer, a range for each part.
        batch_size: images at once.
        workers: processes.
    """

    model: str
    files: Sequence[str]
    rows: Sequence[range]
    batch_size: int
    workers: int


@dataclass(frozen=True)
class Done:
    """What became of a collection: `images` in all, of them `answered` by this call, and `unreadable` ones."""

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
    on_part: Callable[[int, int], None] = lambda done, of: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Done:
    """Answer every image into a folder of parquet files, each written once; parts that are there are kept.

    Args:
        model: a run, an exported folder, or a hub id.
        files: paths of images, which every worker can read.
        out: a new folder, or the one of a stopped call with the same model, files and `part`.
        engine: `here`, this process; `ray`, Ray Data, on this machine or on the cluster that RAY_ADDRESS names.
        workers: here, decoding processes; with Ray, networks, each with a decoding process beside it.
        batch_size: images that a network gets at once.
        part: images in a file. A stop loses the parts that were not finished.
        bits: that 16-bit grey uses, see `decode_image`; `None` for what the model was trained with.
        on_part: told after each part how many are finished, and of how many.
        on_note: told beforehand what a person should know, in sentences: labels that are never selected, and files
            that come out nearly black, by a look at 200 of them.

    Raises:
        LabelwiseError: a folder of another collection, or an engine that is not installed.
    """
    from labelwise.serving import on_ray

    engines = {"here": here, "ray": on_ray.answers}
    if engine not in engines:
        raise LabelwiseError(f"engine {engine!r}", f"one of {', '.join(engines)}", "correct the name")
    if engine == "ray":
        on_ray.require()
    predictor, known = load(model), fingerprint(model)
    if bits is not None and bits != predictor.transform.config.bits:
        predictor, known = predictor.with_bits(bits), f"{known} {bits} bits"
    parts = Parts(Path(out), files, predictor.labels.names, known, part)
    if never := never_selected_note(predictor.never_selected):
        on_note(never)
    if predictor.transform.config.bits == BITS and (dark := first_dark(files[i] for i in evenly(len(files)))):
        on_note(dark)
    missing = parts.missing()
    work = Work(str(model), files, [parts.rows(i) for i in missing], batch_size, workers)
    finished = parts.count - len(missing)
    for answers in engines[engine](predictor, work) if missing else ():
        for _ in parts.add(answers):
            finished += 1
            on_part(finished, parts.count)
    return Done(len(files), sum(map(len, work.rows)), parts.unreadable())


def here(predictor: Predictor, work: Work) -> Iterator[Answers]:
    """Answers by this process, decoding in `workers` others."""
    loader = torch.utils.data.DataLoader(
        _Decoded(work.files, predictor.transform),
        batch_sampler=batches(work),
        num_workers=work.workers,
        collate_fn=list,
        generator=torch.Generator(),
    )
    for batch in loader:
        rows, images, errors = zip(*batch, strict=True)
        yield answer(predictor, np.array(rows), images, list(errors))


def batches(work: Work) -> list[list[int]]:
    """Places of the images of each batch; none reaches over the end of a part."""
    size = work.batch_size
    return [list(part[i : i + size]) for part in work.rows for i in range(0, len(part), size)]


def answer(
    predictor: Predictor, rows: np.ndarray, images: Sequence[Tensor | None], errors: list[str]
) -> Answers:
    """The answers to a batch; `None` for an image that could not be read, whose error says why."""
    shape = len(rows), len(predictor.labels)
    scores, chosen = np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
    readable = [i for i, image in enumerate(images) if image is not None]
    if readable:
        batch = torch.stack([image for image in images if image is not None])
        p = predictor.decisions.probabilities(predictor.engine(batch)[0])
        scores[readable], chosen[readable] = p, predictor.decisions.select(p)
    return Answers(rows, scores, chosen, errors)


def decoded(transform: ImageTransform, source: str | bytes) -> tuple[Tensor | None, str]:
    """An image as the network takes it, uint8 `[3, H, W]`, and ""; or `None` and the reason."""
    try:
        return transform(transform.decode(source)), ""
    except UnreadableImage as error:
        return None, str(error)


def fingerprint(model: str | Path) -> str:
    """A text that changes with whatever a model answers by: weights, settings, labels, thresholds."""
    folder, digest = folder_of(fetch(model)), hashlib.sha256()
    for name in _TELL_APART:
        file = folder / name
        if file.is_file():
            digest.update(name.encode() + file.read_bytes())
    return digest.hexdigest()


class _Decoded(torch.utils.data.Dataset):
    """Images by their place in the list; an array, since workers would copy a list as they read it."""

    def __init__(self, files: Sequence[str], transform: ImageTransform) -> None:
        self._files = pa.array([os.fsencode(file) for file in files], pa.large_binary())
        self._transform = transform

    def __getitem__(self, row: int) -> tuple[int, Tensor | None, str]:
        return row, *decoded(self._transform, os.fsdecode(self._files[row].as_py()))
