"""The validation rows by which the epoch is chosen, if their mAP is defined."""

from __future__ import annotations

from collections.abc import Iterator

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.metrics import functional as F
from labelwise.runs.config import Config

SHOWN = 10


def rows_to_choose_by(dataset: Dataset, config: Config) -> Dataset | None:
    """The rows of `val`; `None` without `val`, or if no label can be evaluated and settings allow it.

    Raises:
        LabelwiseError: no label of `val` has both a known positive and a known negative, so that every model would
            have the same figures, or none; or the learning rate follows validation figures that do not exist.
    """
    rows = dataset.split("val") if dataset.splits().get("val") else None
    if rows is not None and len(F.without_average_precision(rows.positive, rows.known)) < len(rows.labels):
        return rows
    if config.optim.schedule == "plateau":
        raise LabelwiseError(
            "optim.schedule = plateau, and no val images to judge an epoch by",
            "a val split with a known positive and a known negative of a label, since the rate follows its mAP",
            "add one, or set optim.schedule=cosine",
        )
    if rows is None or config.data.unjudged_validation:
        return None
    raise LabelwiseError(
        f"{len(rows):,} val images in which no label has both a known positive and a known negative",
        "at least one such label, since it decides epochs and thresholds",
        "write 0 where a label is absent from a val image, give val more images, or keep the last epoch unjudged with "
        "--set data.unjudged_validation=true",
    )


def cannot_judge(dataset: Dataset, rows: Dataset | None) -> Iterator[str]:
    """Log lines before training about labels that validation cannot evaluate.

    Args:
        dataset: with its splits.
        rows: result of `rows_to_choose_by`.
    """
    if rows is None:
        if dataset.splits().get("val"):
            yield (
                "warning: no label of val has both a known positive and a known negative: nothing is chosen, "
                "the last epoch is kept"
            )
        return
    lacking = F.without_average_precision(rows.positive, rows.known)
    named = [f"{rows.labels.names[j]} ({why})" for j, why in lacking.items()]
    if named:
        more = f" and {len(named) - SHOWN:,} more" if len(named) > SHOWN else ""
        yield f"note: val cannot judge, and its mAP leaves out: {', '.join(named[:SHOWN])}{more}"
