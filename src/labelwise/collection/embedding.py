"""Writes the label features of images to a collection; a stopped call is resumed by calling it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import torch

from labelwise.collection.backends import IMAGES, Address, Store, created, require_packages
from labelwise.collection.features import Embedder
from labelwise.collection.graphs import GraphEmbedder, embedder_of
from labelwise.collection.rows import Batch, PhotoDataset, of_batch, path_text
from labelwise.collection.schema import (
    LABEL,
    Identity,
    feature_schema,
    image_schema,
    stored_labels,
    weights_digest,
)
from labelwise.decisions import never_selected_note
from labelwise.errors import LabelwiseError
from labelwise.inference import on_ray
from labelwise.inference.folders import fingerprint_model
from labelwise.inference.loading import load

PART = 4096


@dataclass(frozen=True)
class Done:
    """Counts: images in the collection, images and features added by this call, and unreadable images among them.

    `path` is the collection, without passwords.
    """

    images: int
    added: int
    features: int
    unreadable: int
    path: Address = field(default="", compare=False)


def embed(
    run: str | Path,
    files: Sequence[str],
    out: Address,
    *,
    labels: Sequence[str] | None = None,
    every: bool = False,
    engine: str = "here",
    feature: str | None = None,
    workers: int = 0,
    batch_size: int = 32,
    part: int = PART,
    device: str | None = None,
    on_part: Callable[[int, int], None] = lambda done, of: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Done:
    """Adds images to a collection, each once: those whose path is in it already are left out.

    Args:
        run: a run, an export of its weights or with label features, or a hub id.
        files: paths of images.
        out: a new folder, `pgvector:DSN` or `qdrant:URL`; or a collection that was begun with the same run and options.
        labels: labels whose features are stored; `None` for all.
        every: store the features of these labels for every image, not only for images in which they are selected.
        engine: `here`, this process; `ray`, Ray Data, on this machine or on the cluster at RAY_ADDRESS.
        feature: kind of feature, see `FEATURES`; `None` for `joined`, of a graph for `label`.
        workers: decoding processes; with Ray, model replicas, each of which decodes, at least one.
        batch_size: images per batch.
        part: images that are added at once. The unfinished part of a stopped call is lost.
        device: device of the run; `None` uses a GPU if there is one.
        on_part: called after each part with the number of images done and of all images of this call.
        on_note: called with each note to the user.

    Raises:
        LabelwiseError: a missing package, a graph without label features, a label that the run does not have, a
            collection of another run, a folder that holds something else, or a server that does not answer; parts that
            were added before are kept.
    """
    require_packages(out)
    _check_engine(engine, workers)
    predictor = load(run, device)
    embedder = embedder_of(predictor, feature)
    if embedder.kind == LABEL:  # the appearance needs an early stage, which an engine's graph lacks
        predictor.prepare(len(files), on_note)
    names = predictor.labels.names
    identity = Identity(
        os.path.abspath(run) if Path(run).exists() else str(run),
        weights_digest(run),
        fingerprint_model(run),
        names,
        stored_labels(names, labels),
        every,
        embedder.dim,
        embedder.whole_dim,
        embedder.one_feature,
        embedder.kind,
        embedder.look_dim,
    )
    if embedder.one_feature:
        on_note(
            "this method has one feature for all labels of an image, so a search ranks alike by any of them"
        )
    if note := never_selected_note(predictor.never_selected):
        on_note(note)
    with created(out, identity) as store:
        stored = store.finished
        paths = _new_paths(files, store)
        done = added = unreadable = 0
        batches = _batches(len(paths), part, batch_size)
        if engine == "ray":
            from labelwise.collection.on_ray import described as on_workers

            row_batches = on_workers(identity, paths, batches, stored, workers)
        else:
            row_batches = _row_batches(embedder, identity, paths, batches, stored, workers)
        for rows in _parts(row_batches if paths else iter(()), batches, part, len(paths)):
            images = pa.Table.from_batches([i for i, _ in rows], image_schema(identity))
            features = pa.Table.from_batches([f for _, f in rows], feature_schema(identity))
            store.add(images, features.sort_by([("label", "ascending"), ("image", "ascending")]))
            done, added = done + len(images), added + len(features)
            unreadable += len(images) - images["error"].null_count
            on_part(done, len(paths))
        store.finish()
        return Done(stored + done, done, added, unreadable, store.path)


def _new_paths(files: Sequence[str], store: Store) -> list[str]:
    """The files that the collection lacks, each once."""
    stored = set(store.rows(IMAGES, ["path"])["path"].to_pylist())
    texts = {path_text(path): path for path in files}
    return [path for text, path in texts.items() if text not in stored]


def _check_engine(engine: str, workers: int) -> None:
    """Raises an error for an unknown engine, or one that cannot be used."""
    if engine not in ("here", "ray"):
        raise LabelwiseError(f"engine {engine!r}", "here or ray", "correct the name")
    if engine == "ray":
        on_ray.require_ray()
        if workers < 1:
            raise LabelwiseError("--engine ray with --workers 0", "at least one", "give --workers 1")


def _batches(count: int, part: int, batch_size: int) -> list[list[int]]:
    """Places of the images of each batch; no batch crosses the end of a part."""
    ranges = [range(i, min(i + part, count)) for i in range(0, count, part)]
    return [list(r[i : i + batch_size]) for r in ranges for i in range(0, len(r), batch_size)]


def _parts(
    row_batches: Iterator[Batch], batches: Sequence[Sequence[int]], part: int, count: int
) -> Iterator[list[Batch]]:
    """The batches of each part."""
    rows: list[Batch] = []
    for batch, numbers in zip(row_batches, batches, strict=True):
        rows.append(batch)
        if (numbers[-1] + 1) % part == 0 or numbers[-1] + 1 == count:
            yield rows
            rows = []


def _row_batches(
    embedder: Embedder | GraphEmbedder,
    identity: Identity,
    paths: Sequence[str],
    batches: list[list[int]],
    first: int,
    workers: int,
) -> Iterator[Batch]:
    """Rows of both tables, batch by batch; images are numbered from `first` on."""
    loader = torch.utils.data.DataLoader(
        PhotoDataset(paths, embedder.predictor.transform),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=list,
        generator=torch.Generator(),
        # LanceDB has threads, which do not survive a fork.
        multiprocessing_context="forkserver" if workers else None,
    )
    for batch, numbers in zip(loader, batches, strict=True):
        yield of_batch(embedder, identity, batch, first + numbers[0])
