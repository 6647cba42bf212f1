"""A new label that is taught from the photographs of a search."""

from __future__ import annotations

import itertools
import re
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from labelwise.serving.searching import Searches

_ONE_AT_A_TIME = threading.Lock()


def teach_label(
    searches: Searches, name: str, positives: Sequence[str], negatives: Sequence[str]
) -> dict[str, Any]:
    """Writes a run with a new label next to the served run, in a folder named after both.

    Args:
        searches: the collection and its run.
        name: of the label.
        positives: ids of photographs that have it.
        negatives: ids of photographs that do not.

    Raises:
        Refused: 404, an unknown photograph.
        LabelwiseError: see `labelwise.collection.teaching.teach`.
    """
    from labelwise.collection.teaching import teach

    collection, photographs, run = searches.collection, searches.photographs, Path(searches.run).resolve()
    base = f"{run.name}-{re.sub(r'[^a-zA-Z0-9]+', '-', name).strip('-')[:40] or 'label'}"
    with _ONE_AT_A_TIME, TemporaryDirectory() as folder:
        candidates = (run.with_name(f"{base}-{i}" if i > 1 else base) for i in itertools.count(1))
        out = next(path for path in candidates if not path.exists())
        positive_files, negative_files = (
            [photographs.file(photographs.find(collection, i), Path(folder)) for i in side]
            for side in (positives, negatives)
        )
        taught = teach(run, collection, name, positive_files, negative_files, out)
    return {
        "run": str(out),
        "learned": taught.learned,
        "sentence": taught.sentence(),
        "command": f"labelwise predict {shlex.quote(str(out))} photos/",
    }
