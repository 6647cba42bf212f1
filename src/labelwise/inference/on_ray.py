"""A collection on Ray Data: decoders and models in separate actors, predictions in any order."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from labelwise.data.fixed import Transform
from labelwise.inference import folders as collection
from labelwise.inference.loading import load
from labelwise.inference.parts import PartPredictions
from labelwise.inference.predictor import Predictor
from labelwise.lazy import require_package
from labelwise.memory import keep_freed_memory

# Normal priority for Ray's workers, and no usage statistics.
_ENVIRONMENT = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
TASK = 4  # batches per task


def require_ray() -> None:
    """Raises `LabelwiseError` if Ray is not installed."""
    require_package("ray", "--engine ray without ray", "ray")


def answers(predictor: Predictor, work: collection.Work) -> Iterator[PartPredictions]:
    """Predictions in the cluster's order; Ray repeats the tasks of a worker that died."""
    with cluster(work.workers) as ray:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        pool = ray.data.ActorPoolStrategy
        images = ray.data.from_arrow(_tasks(work)).map_batches(
            Decode,
            fn_constructor_args=(predictor.transform,),
            compute=pool(min_size=work.workers),  # more if CPUs are free: a GPU is faster than one decoder
            batch_size=None,
            num_cpus=1,
        )
        predictions = images.map_batches(
            Network,
            fn_constructor_args=(work.model,),
            compute=pool(size=work.workers),
            batch_size=None,
            num_cpus=1,
            num_gpus=gpus,
        )
        for batch in predictions.iter_batches(batch_size=None, batch_format="numpy"):
            yield PartPredictions(batch["row"], batch["scores"], batch["chosen"], batch["error"].tolist())


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """Ray: the connected cluster, else the cluster at RAY_ADDRESS, else a new one on this machine."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    was_running = ray.is_initialized()
    if not was_running:
        # Each worker is a model and a decoder.
        options: dict[str, Any] = {"num_cpus": 2 * workers, "include_dashboard": False}
        options = {} if os.environ.get("RAY_ADDRESS") else options
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        if not was_running:
            ray.shutdown()


def _tasks(work: collection.Work) -> list[pa.Table]:
    """Tables of rows with their batch and path, one table per task."""
    tables, batches = [], collection.batches_within_parts(work)
    for first in range(0, len(batches), TASK):
        rows = [(row, i) for i, batch in enumerate(batches[first : first + TASK]) for row in batch]
        columns = {
            "row": pa.array([row for row, _ in rows], pa.int64()),
            "batch": pa.array([first + i for _, i in rows], pa.int64()),
            "path": pa.array([os.fsencode(work.files[row]) for row, _ in rows], pa.binary()),
        }
        tables.append(pa.table(columns))
    return tables


class Decode:
    """Decodes paths to images, one batch at a time; an unreadable image becomes black, with its error."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def __call__(self, task: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        black = torch.zeros(3, *self._transform.config.input_size, dtype=torch.uint8)
        for batch in np.unique(task["batch"]):
            mask = task["batch"] == batch
            inputs = [
                collection.decode_input(self._transform, os.fsdecode(path)) for path in task["path"][mask]
            ]
            images = np.stack([(black if image is None else image).numpy() for image, _ in inputs])
            errors = np.array([error for _, error in inputs], object)
            yield {"row": task["row"][mask], "batch": task["batch"][mask], "error": errors, "image": images}


class Network:
    """Computes predictions in the same batches as a single machine."""

    def __init__(self, model: str) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        self._predictor = load(model)

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        predictions = []
        for batch in np.unique(block["batch"]):
            mask = block["batch"] == batch
            errors = block["error"][mask].tolist()
            images = torch.from_numpy(block["image"][mask])
            readable = [None if error else image for image, error in zip(images, errors, strict=True)]
            predictions.append(collection.answer(self._predictor, block["row"][mask], readable, errors))
        return {
            "row": np.concatenate([part.rows for part in predictions]),
            "scores": np.concatenate([part.scores for part in predictions]),
            "chosen": np.concatenate([part.chosen for part in predictions]),
            "error": np.array([error for part in predictions for error in part.errors], object),
        }
