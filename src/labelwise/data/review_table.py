"""The corrected table of a review, ready to train on, with the provenance of every changed cell."""

from __future__ import annotations

import shlex
from typing import Any

from labelwise.data.complete import STATES, Correction, apply_corrections, write_corrected
from labelwise.data.review import Review
from labelwise.errors import LabelwiseError


def export_table(review: Review) -> dict[str, Any]:
    """Writes `NAME.corrected.parquet` and `NAME.corrected.changes.csv` next to the audit's file.

    Returns:
        The two paths, the number of decided items and of changed cells, and the command that trains on the table.

    Raises:
        LabelwiseError: a review without data, or data that were not audited.
    """
    if review.data is None:
        raise LabelwiseError(
            "a review without data", "the data that were audited", "start with --data SOURCE"
        )
    decided = review.corrections()
    corrections = [
        Correction(item.image, item.label, STATES[item.current], STATES[after], "review", float(item.score))
        for item, after in decided
    ]
    corrected, changes = apply_corrections(review.data, corrections)
    table = review.audit.with_name(f"{review.audit.stem}.corrected.parquet")
    changes_file = write_corrected(corrected, changes, table)
    return {
        "table": str(table),
        "changes": str(changes_file),
        "decided": len(decided),
        "changed": len(changes),
        "command": f"labelwise train --data {shlex.quote(f'parquet:{table}')} --out runs/corrected",
    }
