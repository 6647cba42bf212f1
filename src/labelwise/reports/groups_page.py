"""The page of the kinds within a label, which are clusters of its features."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from labelwise.collection.groups import COPY_COSINE, ONE_KIND_BELOW, Groups
from labelwise.reports.report import page, write_page
from labelwise.reports.tiles import result_tile


def write_groups(out: Path, groups: Groups, collection: str | Path) -> None:
    """Writes the kinds, the images unlike the others and near copies as one HTML file without a script.

    Args:
        out: the file.
        groups: of a label.
        collection: path of the collection, without passwords.
    """
    label, sections = groups.label, []
    for number, kind in enumerate(groups.kinds, 1):
        tiles = [result_tile(row, label) for row in kind["examples"]]
        summary = f"{kind['size']:,} of {groups.grouped:,} images; those nearest the centre."
        sections.append((f"Kind {number}", summary, tiles))
    unlike = [
        {**tile, "lines": [f"mean similarity of neighbours {row['neighbours']:.3f}", *tile["lines"]]}
        for row in groups.apart
        for tile in [result_tile(row, label)]
    ]
    sections.append(("Unlike the others", "Far from their nearest neighbours, the farthest first.", unlike))
    copy_tiles: list[dict[str, Any]] = []
    for pair in groups.copies:
        title = "the same file" if pair["same"] else f"similarity {pair['similarity']:.3f}"
        copy_tiles += [{**result_tile(row, label), "title": title} for row in pair["images"]]
    summary = f"Pairs with a similarity of at least {COPY_COSINE}, one after the other."
    sections.append(("Near copies", summary, copy_tiles))
    best = max(groups.silhouettes.values(), default=0.0)
    rule = f"largest mean silhouette, {best:.2f}"
    if len(groups.kinds) == 1:
        rule += f", under {ONE_KIND_BELOW}: no separate kinds"
    text = page(
        "groups.html.j2",
        title=f"Kinds of {label}",
        collection=os.fspath(collection),
        label=label,
        facts=[("Images with it", f"{groups.count:,}"), ("Kinds", str(len(groups.kinds))), ("Rule", rule)],
        sections=sections,
    )
    write_page(out, text)
