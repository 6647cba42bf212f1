"""The data of a training, read, split and looked through before the networks' libraries are loaded.

Reading a large table takes about as much memory for a while as those libraries take for good. One after the other, a
process holds the larger of the two and what stays of the data, not their sum. So nothing here imports torch, except
for a run to go on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.memory import give_back_freed_memory
from labelwise.training.config import Config
from labelwise.training.mistakes import warn_of_mistakes
from labelwise.training.splitting import with_splits


@dataclass(frozen=True)
class Opened:
    """Data that are ready to be learned.

    Args:
        dataset: all rows, ordered by their splits.
        overlaps: what a result of each other split says of images that train shares with it.
        warnings: sentences for the person, ready to be said.
    """

    dataset: Dataset
    overlaps: Mapping[str, dict[str, Any]]
    warnings: tuple[str, ...]


def open_data(config: Config, data: Dataset | None = None) -> Opened:
    """Read and split the data of a configuration, and look for what a person may have got wrong.

    Args:
        config: all settings.
        data: the rows, where they are read already.

    Raises:
        LabelwiseError: data that cannot be read, split or learned; see `with_splits`.
    """
    dataset = with_splits(config, data).by_split()
    warnings: list[str] = []
    overlaps = warn_of_mistakes(dataset, config, warnings.append)
    give_back_freed_memory()
    return Opened(dataset, overlaps, tuple(warnings))
