"""Training and prediction by each library, in the ordinary way that its documentation shows.

`peers.py` runs each function in a process of its own. A function imports its library itself, so that the process loads
no other one.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BACKBONE = "tf_efficientnet_lite0"
WEIGHTS = "weights.pth"
"""ImageNet weights under timm's names, in the folder of a job."""
PLAIN = "resnet18"
"""Backbone beside LightlyTrain, without weights: with the other one LightlyTrain 0.18.0 stops in the first step, with
320 features for a layer that takes 1,280."""


@dataclass(frozen=True)
class Job:
    """The photographs of one training and prediction, and where its outputs go.

    Args:
        work: folder of `labels.csv` (image, split, a column of 0 and 1 per label), of its parts `train.csv` and
            `val.csv` (image_path, label), of `predicted.txt`, and of the weights.
        out: folder of the outputs.
        size: side of the images in pixels.
        batch: images in a batch.
    """

    work: Path
    out: Path
    size: int
    batch: int

    @property
    def labels(self) -> list[str]:
        """Names of the labels."""
        with open(self.work / "labels.csv", newline="", encoding="utf-8") as file:
            return next(csv.reader(file))[2:]

    @property
    def predicted(self) -> list[str]:
        """Paths of the photographs to predict."""
        return (self.work / "predicted.txt").read_text(encoding="utf-8").splitlines()

    def rows(self, split: str) -> list[tuple[str, list[float]]]:
        """Path and targets of each photograph of a split."""
        with open(self.work / "labels.csv", newline="", encoding="utf-8") as file:
            return [
                (row[0], [float(cell) for cell in row[2:]]) for row in csv.reader(file) if row[1] == split
            ]


@dataclass
class Clock:
    """The ends of training steps."""

    ends: list[float] = field(default_factory=list)

    def tick(self, *_: Any) -> None:
        """Note the end of a step."""
        self.ends.append(time.perf_counter())

    def rate(self, batch: int) -> float:
        """Images per second from the end of the first step to that of the last."""
        return batch * (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])


def timed_prediction(job: Job, predict: Callable[[Sequence[str]], Any]) -> float:
    """Images per second of all photographs, after a first batch that is not timed; the answers are written.

    Args:
        job: the photographs.
        predict: from paths to probabilities `[images, labels]`.
    """
    import numpy as np

    predict(job.predicted[: job.batch])
    started = time.perf_counter()
    answers = np.asarray(predict(job.predicted))
    rate = len(job.predicted) / (time.perf_counter() - started)
    if answers.shape != (len(job.predicted), len(job.labels)) or not ((answers >= 0) & (answers <= 1)).all():
        raise ValueError(f"answers of shape {answers.shape}, or no probabilities")
    np.savetxt(job.out / "answers.csv", answers, fmt="%.6f", delimiter=",")
    return rate


def predict_labelwise(job: Job) -> float:
    """`labelwise.load` and `predict`, with the defaults of the command."""
    import labelwise

    predictor, labels = labelwise.load(job.out / "run"), job.labels
    predictor.prepare(len(job.predicted))

    def predict(files: Sequence[str]) -> list[list[float]]:
        answers = predictor.predict(files, batch_size=job.batch, workers=1)
        return [[answer.scores[name] for name in labels] for answer in answers]

    return timed_prediction(job, predict)


class Photographs:
    """A data set for timm's loader: an image and its targets.

    Args:
        rows: path and targets of each.
    """

    def __init__(self, rows: Sequence[tuple[str, list[float]]]) -> None:
        self.rows = rows
        self.transform: Callable[[Any], Any] | None = None  # set by `create_loader`

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import numpy as np
        from PIL import Image

        path, targets = self.rows[index]
        image = Image.open(path).convert("RGB")
        assert self.transform is not None
        return self.transform(image), np.asarray(targets, np.float32)


def timm_network(job: Job, channels_last: bool, weights: Path | None) -> tuple[Any, Callable[..., Any]]:
    """The network with a head for the labels, and what makes a loader of rows for it."""
    import torch
    from timm import create_model
    from timm.data import create_loader, resolve_data_config

    own = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}} if weights else {}
    network = create_model(BACKBONE, num_classes=len(job.labels), **own)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    data = resolve_data_config({"input_size": (3, job.size, job.size)}, model=network)
    shared = {name: data[name] for name in ("input_size", "mean", "std")}
    shared |= {"batch_size": job.batch, "use_prefetcher": False, "device": torch.device("cpu")}
    of_training = {"is_training": True, "interpolation": "random"}
    of_evaluation = {name: data[name] for name in ("interpolation", "crop_pct")}

    def batches(rows: Sequence[tuple[str, list[float]]], training: bool = False) -> Iterator[Any]:
        own = of_training if training else of_evaluation
        for images, targets in create_loader(Photographs(rows), **shared, **own):
            yield images.contiguous(memory_format=layout), targets

    return network, batches


def train_timm(job: Job, channels_last: bool = False) -> float:
    """timm's data configuration, loader and optimizer, and the steps of its scripts: one epoch, then validation."""
    import torch
    from timm.optim import create_optimizer_v2

    network, batches = timm_network(job, channels_last, job.work / WEIGHTS)
    loss_of = torch.nn.BCEWithLogitsLoss()
    optimizer = create_optimizer_v2(network, "adamw", lr=1e-3, weight_decay=0.05)
    clock = Clock()
    network.train()
    for images, targets in batches(job.rows("train"), training=True):
        loss = loss_of(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clock.tick()
    network.eval()
    with torch.inference_mode():
        for images, targets in batches(job.rows("val")):
            loss_of(network(images), targets)
    torch.save(network.state_dict(), job.out / "model.pth")
    return clock.rate(job.batch)


def predict_timm(job: Job, channels_last: bool = False) -> float:
    """timm's evaluation loader and a step in inference mode."""
    import torch

    network, batches = timm_network(job, channels_last, None)
    network.load_state_dict(torch.load(job.out / "model.pth", weights_only=True))
    network.eval()

    def predict(files: Sequence[str]) -> Any:
        rows = [(file, [0.0]) for file in files]
        with torch.inference_mode():
            return torch.cat([network(images).sigmoid() for images, _ in batches(rows)])

    return timed_prediction(job, predict)


def train_fastai(job: Job) -> float:
    """A data block, `vision_learner` with all layers unfrozen, and one cycle of one epoch."""
    import pandas as pd
    from fastai.vision.all import (
        Callback,
        ColReader,
        ColSplitter,
        DataBlock,
        ImageBlock,
        MultiCategoryBlock,
        RandomResizedCrop,
        vision_learner,
    )

    clock, labels = Clock(), job.labels

    class Steps(Callback):
        def after_step(self) -> None:
            clock.tick()

    table = pd.read_csv(job.work / "labels.csv")
    table["is_valid"] = table["split"] == "val"
    block = DataBlock(
        blocks=(ImageBlock, MultiCategoryBlock(encoded=True, vocab=labels)),
        get_x=ColReader("image"),
        get_y=ColReader(labels),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(job.size, min_scale=0.35),
    )
    learner = vision_learner(
        block.dataloaders(table, bs=job.batch),
        BACKBONE,
        pretrained_cfg_overlay={"file": str(job.work / WEIGHTS)},
        path=job.out,
    )
    learner.unfreeze()
    with learner.no_bar():
        learner.fit_one_cycle(1, cbs=Steps())
    learner.export("model.pkl")
    return clock.rate(job.batch)


def predict_fastai(job: Job) -> float:
    """`load_learner`, `test_dl` and `get_preds`, in batches."""
    import pandas as pd
    from fastai.vision.all import load_learner

    learner = load_learner(job.out / "model.pkl")

    def predict(files: Sequence[str]) -> Any:
        batches = learner.dls.test_dl(pd.DataFrame({"image": list(files)}), bs=job.batch)
        with learner.no_bar():
            return learner.get_preds(dl=batches)[0]

    return timed_prediction(job, predict)


def train_lightly(job: Job, precision: str) -> float:
    """`train_image_classification` of several labels per image, for the steps of one epoch."""
    import lightly_train
    from torch.optim.optimizer import register_optimizer_step_post_hook

    clock = Clock()
    register_optimizer_step_post_hook(clock.tick)
    lightly_train.train_image_classification(
        out=job.out / "run",
        model=f"timm/{PLAIN}",
        classification_task="multilabel",
        data={
            "train": str(job.work / "train.csv"),
            "val": str(job.work / "val.csv"),
            "classes": dict(enumerate(job.labels)),
            "csv_label_type": "id",
        },
        steps=len(job.rows("train")) // job.batch,
        batch_size=job.batch,
        gradient_accumulation_steps=1,
        precision=precision,
        transform_args={"image_size": (job.size, job.size)},
    )
    return clock.rate(job.batch)


def predict_lightly(job: Job) -> float:
    """`load_model` and `predict_batch`, in batches."""
    import lightly_train

    model, names = lightly_train.load_model(job.out / "run/exported_models/exported_last.pt"), job.labels

    def answers(files: Sequence[str]) -> Iterator[list[float]]:
        for start in range(0, len(files), job.batch):
            for answer in model.predict_batch(list(files[start : start + job.batch]), threshold=0.0):
                scores = dict(zip(answer["labels"].tolist(), answer["scores"].tolist(), strict=True))
                yield [scores[label] for label in range(len(names))]

    return timed_prediction(job, lambda files: list(answers(files)))
