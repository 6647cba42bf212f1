"""Reads, splits and checks the data of a training before the networks' libraries are loaded.

Reading a large table temporarily takes about as much memory as those libraries take permanently. One after the other,
the peak is the larger of the two and not their sum. So this module does not import torch, except for `init_from`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.memory import give_back_freed_memory
from labelwise.runs.config import Config
from labelwise.runs.mistakes import warn_of_mistakes
from labelwise.training.splitting import with_splits


@dataclass(frozen=True)
class TrainingData:
    """Data ready for training.

    Args:
        dataset: all rows, ordered by split.
        overlaps: for each other split, the conditions of its result about images shared with train.
        messages: lines to print: notes of the data and warnings.
    """

    dataset: Dataset
    overlaps: Mapping[str, dict[str, Any]]
    messages: tuple[str, ...]


def open_data(config: Config, data: Dataset | None = None) -> TrainingData:
    """Read and split the data of a configuration, and collect its notes and warnings about likely mistakes.

    Args:
        config: all settings.
        data: the rows, if they are already read.

    Raises:
        LabelwiseError: the data cannot be read, split or learned; see `with_splits`.
    """
    dataset = with_splits(config, data).by_split()
    messages = [f"note: {note}" for note in dataset.notes]
    overlaps = warn_of_mistakes(dataset, config, messages.append)
    give_back_freed_memory()
    return TrainingData(dataset, overlaps, tuple(messages))
