"""A data set under the labels of a run."""

from __future__ import annotations

from labelwise.data.dataset import Dataset
from labelwise.data.implied import with_rules
from labelwise.errors import LabelwiseError
from labelwise.labels import LabelSet, lacking_and_extra


def same_labels(data: Dataset, names: tuple[str, ...], whole: bool = False) -> Dataset:
    """The data set with its label columns in the order of `names`; matched by name, never by position.

    A label that the data lack is unknown in every row, as in training, and one that the run lacks is left out; notes
    list both. If both happen, they may be one label under two names, and the data are refused.

    Args:
        data: rows with labels in any order.
        names: the run's labels.
        whole: refuse every difference, as a named protocol does.

    Raises:
        LabelwiseError: both the run and the data lack labels of the other; with `whole`, one of them does.
    """
    if data.labels.names == names:
        return data
    lacking = [n for n in names if n not in data.labels.names]
    extra = [n for n in data.labels.names if n not in names]
    if (lacking and extra) or (whole and (lacking or extra)):
        raise LabelwiseError(
            f"labels of {data.source} ({lacking_and_extra(data.labels.names, names)})",
            f"the run's {len(names)} labels",
            "rename the columns, or use its own data",
        )
    if lacking:
        data = data.with_unknown_labels(lacking)
    if extra:
        data = data.with_notes(f"left out, for the run does not know them: {', '.join(extra)}.")
    return data.with_labels(names)


def under_rules(data: Dataset, labels: LabelSet) -> Dataset:
    """The data set with a run's rules and the cells that they imply; unchanged if it already has rules.

    Args:
        data: rows with the run's labels.
        labels: the run's.
    """
    if data.labels.rules or not labels.rules:
        return data
    return with_rules(data, labels.rules, "the rules of the run")


def unlike(data: Dataset, under: Dataset) -> tuple[str, ...]:
    """The notes that `same_labels` added to `data`."""
    return under.notes[len(data.notes) :]
