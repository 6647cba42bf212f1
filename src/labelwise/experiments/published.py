"""Figures that papers and their authors' code state, carried as data beside ours and never among them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from labelwise.errors import LabelwiseError

TITLE = "published, other conditions; not comparable unless stated"


@dataclass(frozen=True)
class Published:
    """One published figure.

    Args:
        method: as its authors call it.
        backbone, pretraining, resolution: as stated; empty where they are not.
        dataset: `coco2014`, `voc2007` and so on.
        protocol: `full` (all labels known), or in words what was hidden or how it was judged.
        metric: `mAP`, `CF1`, `mA` and so on.
        value: in percent, as printed.
        mark: `paper`: stated in the paper or in its authors' released code.
        provenance: where it was read, with what should be known of it.
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
def _all() -> tuple[Published, ...]:
    text = (files("labelwise.experiments") / "published.csv").read_text(encoding="utf-8")
    return tuple(Published(**row) for row in csv.DictReader(text.splitlines()))


def rows(dataset: str | None = None, protocol: str | None = None) -> list[Published]:
    """Published figures of a data set and a protocol, or of all where none is named.

    Args:
        dataset: name in any case.
        protocol: as in the data.

    Raises:
        LabelwiseError: no figure of such a data set or protocol is carried.

    >>> [(row.backbone, row.value) for row in rows("vg-500")], {row.mark for row in rows()}
    ([('', '36.6')], {'paper'})
    """
    found = list(_all())
    for name, asked in (("dataset", dataset), ("protocol", protocol)):
        if asked is None:
            continue
        carried = sorted({getattr(row, name) for row in found})
        found = [row for row in found if getattr(row, name) == asked.lower()]
        if not found:
            raise LabelwiseError(
                f"published figures of {name} {asked!r}", f"one of {', '.join(carried)}", "choose another"
            )
    return found


def table(dataset: str | None = None, protocol: str | None = None) -> str:
    """The figures as a block of text under its own title; arguments as in `rows`."""
    lines = [
        TITLE,
        f"{'method':22} {'backbone':16} {'px':>8} {'metric':>9} {'value':>6}  data, protocol, source",
    ]
    for row in rows(dataset, protocol):
        where = "; ".join(w for w in (f"{row.dataset}, {row.protocol}", row.pretraining, row.provenance) if w)
        network = f"{row.backbone or '-':16} {row.resolution or '-':>8}"
        lines.append(f"{row.method:22} {network} {row.metric:>9} {row.value:>6}  {where}")
    return "\n".join(lines)
