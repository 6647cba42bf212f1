"""The splits of a run's data: training, validation and test."""

from __future__ import annotations

from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.data.long_tail import long_tailed
from labelwise.data.readers import labels_without_training
from labelwise.data.splits import ensure_splits, fewer_rows
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config
from labelwise.runs.data_settings import DataSettings


def with_splits(config: Config, data: Dataset | None) -> Dataset:
    """The data set with splits, the sampled training images of the settings, and the labels of `init_from`.

    Raises:
        LabelwiseError: a label is evaluated but cannot be learned, so its figures would be meaningless.
    """
    rows = data if data is not None else read(config.data.source)
    dataset = ensure_splits(rows, seed=config.seed)
    fewer, d = config.data.train_images, config.data
    _refuse_both(d)
    if fewer:
        dataset = fewer_rows(dataset, "train", fewer, config.seed)
    if d.long_tail != "none":
        dataset = long_tailed(dataset, "train", d.long_tail, d.long_tail_most, d.long_tail_least, config.seed)
    if config.init_from:
        from labelwise.training.grown import with_labels_of  # loads the networks' libraries

        dataset = with_labels_of(dataset, config.init_from)
    names = labels_without_training(dataset) if fewer or d.long_tail != "none" or rows.splits() else []
    if names and not config.data.untrained_labels:
        raise LabelwiseError(
            f"{len(names)} labels with positives in other splits but none in train: {', '.join(names[:5])}",
            "a known positive of every label in the training split",
            "raise data.train_images, or train the rest with --set data.untrained_labels=true"
            if fewer
            else "split again with `labelwise data split`, or train the rest with --set data.untrained_labels=true",
        )
    return dataset


def _refuse_both(settings: DataSettings) -> None:
    """Refuse two samplings of the training images, and sizes of a long tail without `long_tail`."""
    tail = settings.long_tail != "none"
    if tail and settings.train_images:
        raise LabelwiseError(
            f"data.train_images={settings.train_images} beside data.long_tail={settings.long_tail}",
            "one sampling of the training images",
            "leave one out; data.long_tail_most makes a long tail smaller",
        )
    for name in ("long_tail_most", "long_tail_least"):
        value = getattr(settings, name)
        if not tail and value != DataSettings.model_fields[name].default:
            raise LabelwiseError(
                f"data.{name}={value} without data.long_tail",
                "data.long_tail=exponential or pareto",
                "name the rule, or leave it out",
            )
