"""Names of columns that are likely not labels, though their cells may look like label states."""

from __future__ import annotations

import re

_METADATA = (
    "id index idx fold confidence score weight width height verified reviewed checked valid year month "
    "difficult truncated occluded flagged quality isvalid istrain istest isval istraining isvalidation "
    "istrainingimage labeled labelled annotated islabeled islabelled isannotated done completed skipped duplicate "
    "isduplicate split subset partition phase usage dataset lat lon latitude longitude age probability prob certainty"
)
METADATA = frozenset(_METADATA.split())
"""Names, without case and marks, of columns with numbers from 0 to 1 that are rarely labels."""
OF_NAMES = frozenset({"confidence", "score", "probability", "prob", "certainty"})
"""Those of columns that may hold the confidence of the label name beside them."""
_ENDS = "id idx index fold conf confidence prob probability score weight count pred prediction logit"
_STARTS = "num n count prob conf score fold id pred predicted"
_LAST, _FIRST = frozenset(_ENDS.split()), frozenset(_STARTS.split())


def is_metadata(name: str) -> bool:
    """Whether a column is likely not a label, by its name.

    >>> [is_metadata(name) for name in ("row_id", "kfold", "imageId", "cat_conf", "num labels", "Is Valid", "cat")]
    [True, True, True, True, True, True, False]
    """
    parts = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold())
    if not parts:
        return False
    has_end = len(parts) > 1 and (parts[-1] in _LAST or parts[0] in _FIRST)
    return has_end or "".join(parts) in METADATA or "".join(parts) in ("kfold", "imageid", "imgid", "rowid")
