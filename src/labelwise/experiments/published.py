"""Published results of papers and their authors' code, kept as data apart from our own results."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from labelwise.errors import LabelwiseError

TITLE = "published, other conditions; not comparable unless stated"


@dataclass(frozen=True)
class PublishedResult:
    """One published result.

    Args:
        method: name used by its authors.
        backbone, pretraining, resolution: as stated; empty if not stated.
        dataset: `coco2014`, `voc2007` and so on.
        protocol: `full` (all labels known), or a description of the hidden labels or the evaluation.
        metric: `mAP`, `CF1`, `mA` and so on.
        value: in percent, as printed.
        mark: `paper`: stated in the paper or in its authors' released code.
        provenance: source of the value, with remarks.
    """

    method: str
    backbone: str
    pretraining: str
    resolution: str
    dataset: str
    protocol: str
    metric: str
    value: str
    mark: str
    provenance: str


@cache
def _all_results() -> tuple[PublishedResult, ...]:
    text = (files("labelwise.experiments") / "published.csv").read_text(encoding="utf-8")
    return tuple(PublishedResult(**row) for row in csv.DictReader(text.splitlines()))


def published_results(dataset: str | None = None, protocol: str | None = None) -> list[PublishedResult]:
    """Published results of a data set and a protocol; all of them for `None`.

    Raises:
        LabelwiseError: there is no result of this data set or protocol.

    >>> [(row.backbone, row.value) for row in published_results("vg-500")], {row.mark for row in published_results()}
    ([('', '36.6')], {'paper'})
    """
    matches = list(_all_results())
    for name, value in (("dataset", dataset), ("protocol", protocol)):
        if value is None:
            continue
        available = sorted({getattr(row, name) for row in matches})
        matches = [row for row in matches if getattr(row, name) == value.lower()]
        if not matches:
            raise LabelwiseError(
                f"published figures of {name} {value!r}", f"one of {', '.join(available)}", "choose another"
            )
    return matches


def table_of_published(dataset: str | None = None, protocol: str | None = None) -> str:
    """The results as text under their own title; arguments as in `published_results`."""
    lines = [
        TITLE,
        f"{'method':22} {'backbone':16} {'px':>8} {'metric':>9} {'value':>6}  data, protocol, source",
    ]
    for row in published_results(dataset, protocol):
        details = (f"{row.dataset}, {row.protocol}", row.pretraining, row.provenance)
        network = f"{row.backbone or '-':16} {row.resolution or '-':>8}"
        lines.append(
            f"{row.method:22} {network} {row.metric:>9} {row.value:>6}  {'; '.join(filter(None, details))}"
        )
    return "\n".join(lines)
