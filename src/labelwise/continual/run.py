"""From a stream's name to a finished run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.continual.judging import FIGURES, summary
from labelwise.continual.learner import Learner
from labelwise.continual.published import STREAMS, published_stream
from labelwise.continual.streams import Stream, make_stream
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.data.splits import ensure_splits
from labelwise.engines.frozen_engine import use_engine
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config, DataSettings
from labelwise.runs.files import read_json, write_json
from labelwise.runs.run import WEIGHTS, Run
from labelwise.runs.sealed import is_whole
from labelwise.runs.test_time import NONE
from labelwise.training.checkpoint import settle_state
from labelwise.training.maps import MapSource, stored_maps
from labelwise.training.progress import ProgressBar
from labelwise.training.resuming import claim, record_of
from labelwise.training.sizes import fitted
from labelwise.training.stopping import StopRequest

RESULT = "continual.json"


def open_stream(source: str, config: Config, data: Dataset | None = None) -> Stream:
    """A published stream (`cocoseq:DIR`, `nuswideseq:DIR`), or one made of any SOURCE.

    Raises:
        LabelwiseError: an unreadable source, or settings that do not fit it.
    """
    name, _, folder = source.partition(":")
    settings = config.continual
    if name not in STREAMS:
        rows = data if data is not None else read(source)
        return make_stream(ensure_splits(rows, seed=config.seed), settings.setting, settings.tasks)
    if settings.setting != "online" or settings.tasks:
        raise LabelwiseError(
            f"{name} with other tasks or another setting", "the published tasks", "leave them out"
        )
    return published_stream(name, Path(folder))


def _refuse_sampling(config: Config) -> None:
    """Refuse settings of subsets, known labels and sampling, since the stream defines them."""
    defaults = DataSettings(source="")
    if config.sampling != "shuffle":
        raise LabelwiseError(
            f"sampling={config.sampling} with a stream", "images in the stream's order", "leave it out"
        )
    if config.teacher.run:
        raise LabelwiseError(
            f"--teacher {config.teacher.run} with a stream", "a data set that is no stream", "leave it out"
        )
    if config.test_time != NONE:
        raise LabelwiseError(
            f"test_time={config.test_time} with a stream",
            "stored maps, which have one view",
            "leave it out",
        )
    for name in ("train_images", "long_tail", "known_proportion", "known", "mask_file"):
        value = getattr(config.data, name)
        if value != getattr(defaults, name):
            raise LabelwiseError(
                f"data.{name}={value} with a stream", "all images and labels of the tasks", "leave it out"
            )


def learn_stream(
    config: Config,
    out: Path,
    data: Dataset | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Train on a stream by the strategy of the settings; writes a run and `continual.json`.

    Args:
        config: `data.source` is the stream, `continual` holds its settings.
        out: the run's folder.
        data: the data set of `data.source`, if it is already read.
        resume: go on from the state in `out`, or return a finished result.
        stop: a request to stop at the next step; `None` leaves signal handlers unchanged.

    Returns:
        The content of `continual.json`.

    Raises:
        LabelwiseError: wrong settings or data, or a folder that holds another run.
        Stopped: after a request to stop, with the state saved.
    """
    _refuse_sampling(config)
    method = "dlfl" if config.method == "auto" else config.method
    frozen = config.backbone.model_copy(update={"freeze": True})
    config = config.model_copy(update={"method": method, "backbone": frozen})
    watch, started = ProgressBar(quiet), time.perf_counter()
    config = fitted(config, watch.say)
    stream = open_stream(config.data.source, config, data)
    run, record = Run(out, config, stream.train.labels), record_of(config, stream.train)
    if resume:
        settle_state(out, watch.say)
    claim(run, resume, record)
    finished = _finished(run) if resume else None
    if finished is not None:
        return finished
    run.save()
    learner = _learner(run, stream, watch, stop, record)
    for note in learner.stream.notes:
        watch.say(f"note: {note}")
    if resume:
        learner.resume()
    earlier_seconds = learner.progress.seconds
    watch.say(_start_message(learner))
    history = learner.learn(watch.say)
    run.save_weights(learner.method.model)
    seconds = round(earlier_seconds + time.perf_counter() - started, 1)
    result = _result(learner, history, seconds)
    write_json(out / RESULT, result)
    return result


def _finished(run: Run) -> dict[str, Any] | None:
    """The result of a finished stream; `None` if it is absent or damaged."""
    if not (run.path / RESULT).is_file() or not is_whole(run.path / WEIGHTS):
        return None
    try:
        return read_json(run.path / RESULT)
    except LabelwiseError:  # truncated; it is computed again from the state
        return None


def _learner(
    run: Run, stream: Stream, watch: ProgressBar, stop: StopRequest | None, record: dict[str, Any]
) -> Learner:
    """The learner on stored maps; unreadable images are left out of every task."""
    device = torch.device("cpu")
    torch.manual_seed(run.config.seed)
    backbone: Any = run.build().model.backbone
    use_engine(backbone, run.config, len(stream.train) + len(stream.test), device, watch.say)
    sources, unread = [], []
    for rows in (stream.train, stream.test):
        maps, unreadable = stored_maps(rows, backbone, run.config, device, 0, watch.say)
        sources.append(MapSource(maps, rows))
        unread.append(np.array([row for row, _ in unreadable], np.int64))
    if len(unread[0]) or len(unread[1]):
        tasks = tuple(
            replace(t, train=np.setdiff1d(t.train, unread[0]), test=np.setdiff1d(t.test, unread[1]))
            for t in stream.tasks
        )
        for whole, task in zip(stream.tasks, tasks, strict=True):
            if (len(whole.train) and not len(task.train)) or (len(whole.test) and not len(task.test)):
                name = task.folder or ", ".join(stream.train.labels.names[j] for j in task.labels)
                raise LabelwiseError(
                    f"the task {name}, whose images of train or of test cannot be read",
                    "a readable one of both",
                    "see labelwise data check, and repair them or leave the task out",
                )
        note = f"{len(unread[0])} training and {len(unread[1])} test images cannot be read and are left out."
        stream = replace(stream, tasks=tasks, notes=(*stream.notes, note))
    return Learner(stream, run.config, backbone, sources[0], sources[1], run.path, stop, record)


def _start_message(learner: Learner) -> str:
    """The line printed before the first step: strategy, stream and tasks."""
    settings, config = learner.settings, learner.config
    sizes = ", ".join(
        f"{t.folder or f'{len(t.labels)} labels'} {len(t.train):,} images" for t in learner.stream.tasks
    )
    return f"{settings.strategy} with {config.method} on {learner.stream.name}, {settings.setting}; tasks: {sizes}"


def _result(learner: Learner, history: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The record of the stream: settings, conditions, memory, figures and their history."""
    stream, config = learner.stream, learner.config
    names = stream.train.labels.names
    return {
        "format": 1,
        "stream": stream.name,
        "notes": list(stream.notes),
        "strategy": config.continual.strategy,
        "method": config.method,
        **({"controls": config.controls} if config.controls else {}),
        "seed": config.seed,
        "settings": config.continual.model_dump(),
        "conditions": {
            "backbone": config.backbone.name,
            "weights": config.backbone.weights,
            "frozen": True,
            "image_size": config.image_size,
            "optimizer": config.optim.model_dump(include={"name", "lr", "weight_decay", "clip_norm"}),
            "loss": config.loss,
            "steps": learner.progress.step,
            "seconds": seconds,
            "threshold": "p > 0.5; `fitted`: one threshold for all labels, best for F1 on the images in memory",
            "judged": "each task on its own labels, whole test split"
            if stream.grows
            else "each task on its own test images, all labels of the stream",
        },
        "tasks": [
            {
                **({"folder": t.folder} if t.folder else {}),
                "labels": [names[j] for j in t.labels],
                "train": len(t.train),
                "test": len(t.test),
            }
            for t in stream.tasks
        ],
        "memory": None
        if learner.memory is None
        else {
            "images": len(learner.memory),
            "distance": learner.memory.distance(),
            "histogram": dict(zip(names, learner.memory.histogram().tolist(), strict=True)),
        },
        "result": summary(history, len(stream.tasks)),
        "history": history,
    }


def spread(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and sample standard deviation over seeds of the pooled figures and of forgetting; NaN for one seed."""
    spreads: dict[str, dict[str, tuple[float, float]]] = {}
    for group in ("pooled", "task_mean", "fitted", "forgetting"):
        figures = [r["result"][group] for r in results]
        if all(figures):
            spreads[group] = {name: _mean_sd([values[name] for values in figures]) for name in FIGURES}
    return spreads


def _mean_sd(values: list[float | None]) -> tuple[float, float]:
    numbers = np.array(values, np.float64)
    return float(numbers.mean()), float(numbers.std(ddof=1)) if len(values) > 1 else float("nan")
