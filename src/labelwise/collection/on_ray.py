"""Features of images on Ray Data: the rows of both tables, batch by batch, in the order of the images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch

from labelwise.collection.graphs import embedder_of
from labelwise.collection.rows import Batch, of_batch, photo_at
from labelwise.collection.schema import Identity
from labelwise.inference import on_ray
from labelwise.inference.loading import load
from labelwise.memory import keep_freed_memory


def described(
    identity: Identity,
    paths: Sequence[str],
    batches: Sequence[Sequence[int]],
    first: int,
    workers: int,
) -> Iterator[Batch]:
    """The rows of each batch; Ray repeats the tasks of a worker that died.

    Args:
        identity: of the collection; its run is under the same path on every machine.
        paths: images that every worker can read under the same absolute path.
        batches: places in `paths`, ascending.
        first: number of the first image.
        workers: actors, each of which decodes and computes.
    """
    tasks = []
    for start in range(0, len(batches), on_ray.TASK):
        group = batches[start : start + on_ray.TASK]
        columns = {
            "first": pa.array([first + batch[0] for batch in group], pa.int64()),
            "paths": pa.array(
                [[os.fsencode(os.path.abspath(paths[i])) for i in batch] for batch in group],
                pa.list_(pa.binary()),
            ),
        }
        tasks.append(pa.table(columns))
    with on_ray.cluster(workers) as ray:
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        rows = ray.data.from_arrow(tasks).map_batches(
            Describe,
            fn_constructor_args=(identity,),
            compute=ray.data.ActorPoolStrategy(size=workers),
            batch_size=None,
            num_cpus=1,
            num_gpus=1 if ray.cluster_resources().get("GPU") else 0,
        )
        for block in rows.iter_batches(batch_size=None, batch_format="numpy"):
            for images, features in zip(block["images"], block["features"], strict=True):
                yield _record_batch(images), _record_batch(features)


class Describe:
    """Decodes images and computes the rows of both tables, in the same batches as a single machine."""

    def __init__(self, identity: Identity) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        self._embedder, self._identity = embedder_of(load(identity.run), identity.feature), identity

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        transform, rows = self._embedder.predictor.transform, []
        for first, paths in zip(block["first"].tolist(), block["paths"], strict=True):
            photos = [photo_at(os.fsdecode(bytes(path)), transform) for path in paths]
            rows.append([_bytes_of(part) for part in of_batch(self._embedder, self._identity, photos, first)])
        # A batch is bytes: Ray's blocks do not keep vectors of float16.
        return {
            name: np.array([row[i] for row in rows], object) for i, name in enumerate(("images", "features"))
        }


def _bytes_of(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _record_batch(content: bytes) -> pa.RecordBatch:
    return pa.ipc.open_stream(bytes(content)).read_next_batch()
