"""Writes the label features of images to a collection; a stopped call is resumed by calling it again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from labelwise.collection.features import Embedder, Part, evidence_box
from labelwise.collection.schema import (
    JOINED,
    Identity,
    feature_schema,
    image_schema,
    stored_labels,
    weights_digest,
)
from labelwise.collection.store import Tables, engine, writing
from labelwise.data.decode import UnreadableImage, image_size
from labelwise.data.transforms import ImageTransform, shown_part
from labelwise.decisions import never_selected_note
from labelwise.serving.collection import fingerprint
from labelwise.serving.inputs import shared
from labelwise.serving.predictor import load

PART = 4096


@dataclass(frozen=True)
class Done:
    """Counts: images in the collection, images and features added by this call, and unreadable images among them."""

    images: int
    added: int
    features: int
    unreadable: int


def embed(
    run: str | Path,
    files: Sequence[str],
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    every: bool = False,
    feature: str = JOINED,
    workers: int = 0,
    batch_size: int = 32,
    part: int = PART,
    device: str | None = None,
    on_part: Callable[[int, int], None] = lambda done, of: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Done:
    """Adds images to a collection, each once: those whose path is in it already are left out.

    Args:
        run: a run, an export of its weights, or a hub id.
        files: paths of images.
        out: a new folder, or a collection that was begun with the same run and options.
        labels: labels whose features are stored; `None` for all.
        every: store the features of these labels for every image, not only for images in which they are selected.
        feature: kind of feature, see `FEATURES`.
        workers: decoding processes.
        batch_size: images per batch.
        part: images that are added at once. The unfinished part of a stopped call is lost.
        device: device of the run; `None` uses a GPU if there is one.
        on_part: called after each part with the number of images done and of all images of this call.
        on_note: called with each note to the user.

    Raises:
        LabelwiseError: no lancedb, a graph instead of a run, a label that the run does not have, a folder of another
            run, or one that holds something else.
    """
    engine()
    predictor = load(run, device)
    embedder = Embedder(predictor, feature)
    names = predictor.labels.names
    identity = Identity(
        os.path.abspath(run) if Path(run).exists() else str(run),
        weights_digest(run),
        fingerprint(run),
        names,
        stored_labels(names, labels),
        every,
        embedder.dim,
        embedder.whole_dim,
        embedder.one_feature,
        feature,
        embedder.look_dim,
    )
    if embedder.one_feature:
        on_note(
            "this method has one feature for all labels of an image, so a search ranks alike by any of them"
        )
    if note := never_selected_note(predictor.never_selected):
        on_note(note)
    with writing(Path(out)):
        tables = Tables.create(Path(out), identity)
        held = tables.images.count_rows()
        paths = _new_paths(files, tables)
        done = added = unreadable = 0
        for rows in _parts(embedder, identity, paths, held, part, batch_size, workers):
            images = pa.Table.from_batches([i for i, _ in rows], image_schema(identity))
            features = pa.Table.from_batches([f for _, f in rows], feature_schema(identity))
            tables.add(images, features.sort_by([("label", "ascending"), ("image", "ascending")]))
            done, added = done + len(images), added + len(features)
            unreadable += len(images) - images["error"].null_count
            on_part(done, len(paths))
        tables.finish()
        return Done(held + done, done, added, unreadable)


def path_text(path: str) -> str:
    """An absolute path as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")


def _new_paths(files: Sequence[str], tables: Tables) -> list[str]:
    held = set(tables.images.search().select(["path"]).to_arrow()["path"].to_pylist())
    texts = {path_text(path): path for path in files}
    return [path for text, path in texts.items() if text not in held]


def _parts(
    embedder: Embedder,
    identity: Identity,
    paths: Sequence[str],
    first: int,
    part: int,
    batch_size: int,
    workers: int,
) -> Iterator[list[tuple[pa.RecordBatch, pa.RecordBatch]]]:
    """Rows of both tables, part by part and batch by batch; images are numbered from `first` on."""
    ranges = [range(i, min(i + part, len(paths))) for i in range(0, len(paths), part)]
    batches = [list(r[i : i + batch_size]) for r in ranges for i in range(0, len(r), batch_size)]
    loader = torch.utils.data.DataLoader(
        _Opened(paths, embedder.predictor.transform),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=list,
        generator=torch.Generator(),
        # LanceDB has threads, which do not survive a fork.
        multiprocessing_context="forkserver" if workers else None,
    )
    rows: list[tuple[pa.RecordBatch, pa.RecordBatch]] = []
    for batch, numbers in zip(loader, batches, strict=True):
        rows.append(_of_batch(embedder, identity, batch, first + numbers[0]))
        if (numbers[-1] + 1) % part == 0 or numbers[-1] + 1 == len(paths):
            yield rows
            rows = []


class _Photo(NamedTuple):
    path: str
    pixels: Tensor | None
    error: str | None
    size: tuple[int, int]
    digest: str
    shown: Part


class _Opened(torch.utils.data.Dataset):
    """Images with the size and digest of their files."""

    def __init__(self, paths: Sequence[str], transform: ImageTransform) -> None:
        self._paths, self._transform = shared(paths), transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> _Photo:
        path = str(self._paths[i])
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            return _Photo(path, None, f"{path} ({error.strerror})", (0, 0), "", (0.0, 0.0, 1.0, 1.0))
        return photo_of(path, content, self._transform)


def photo_of(path: str, content: bytes, transform: ImageTransform) -> _Photo:
    """The model's input for an image file, or the reason why it cannot be read."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        width, height = image_size(content)
        pixels = transform(transform.decode(content))
    except UnreadableImage as error:
        return _Photo(path, None, str(error), (0, 0), digest, (0.0, 0.0, 1.0, 1.0))
    return _Photo(path, pixels, None, (width, height), digest, shown_part(transform.config, height, width))


def _of_batch(
    embedder: Embedder, identity: Identity, batch: Sequence[_Photo], first: int
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    names, stored = identity.labels, [identity.labels.index(name) for name in identity.stored]
    scores = np.zeros((len(batch), len(names)), np.float16)
    whole = np.zeros((len(batch), identity.whole_dim), np.float16)
    selected: list[list[str]] = [[] for _ in batch]
    of: list[tuple[int, int, float, bool, Part]] = []  # image, label, score, selected, box
    features: list[np.ndarray] = []
    readable = [i for i, photo in enumerate(batch) if photo.pixels is not None]
    if readable:
        result = embedder(torch.stack([pixels for photo in batch if (pixels := photo.pixels) is not None]))
        assert result.maps is not None, "label features need maps for their boxes"
        for row, i in enumerate(readable):
            p, chosen = result.scores[row], result.chosen[row]
            scores[i], whole[i] = p, result.whole[row]
            selected[i] = [names[j] for j in np.argsort(-p, kind="stable") if chosen[j]]
            for j in stored:
                if identity.every or chosen[j]:
                    box = evidence_box(result.maps[row, j], batch[i].shown)
                    of.append((i, j, float(p[j]), bool(chosen[j]), box))
                    features.append(result.features[row, j])
    base = {
        "image": np.arange(first, first + len(batch)),
        "path": [path_text(photo.path) for photo in batch],
        "width": [photo.size[0] for photo in batch],
        "height": [photo.size[1] for photo in batch],
        "digest": [photo.digest for photo in batch],
        "labels": selected,
        "scores": _column(scores),
    }
    images = _batch(
        {**base, "error": [photo.error for photo in batch], "whole": _column(whole)}, image_schema(identity)
    )
    rows = pa.array([i for i, *_ in of], pa.int64())
    repeated = images.select(list(base)).take(rows)
    own = {
        "label": [names[j] for _, j, *_ in of],
        "score": [score for _, _, score, _, _ in of],
        "selected": [chosen for *_, chosen, _ in of],
        "box": _column(np.array([box for *_, box in of], np.float32).reshape(len(of), 4)),
        "feature": _column(np.array(features, np.float16).reshape(len(of), identity.dim)),
    }
    columns = dict(zip(base, repeated.columns, strict=True)) | own
    return images, _batch(columns, feature_schema(identity))


def _column(values: np.ndarray) -> pa.Array:
    """`[n, d]` as a column of vectors."""
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1]
    )


def _batch(columns: dict[str, object], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, schema.field(name).type)
        for name, value in columns.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
