"""The page of images on which two models disagree, with the evidence of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelwise.data.dataset import Dataset
from labelwise.inference.disagreements import Disagreement, Disagreements
from labelwise.inference.predictor import Predictor
from labelwise.reports.report import page, write_page
from labelwise.reports.tiles import photo_tile

STATES = {True: "labelled present", False: "labelled absent", None: "label unknown"}


def write_disagreements(
    out: Path,
    differences: Disagreements,
    rows: Dataset,
    models: tuple[Predictor, Predictor],
    names: tuple[str, str],
    top: int = 60,
) -> None:
    """Writes the first differences with both evidence maps, and the counts of each label, without a script.

    Args:
        out: the file.
        differences: differences of the models on `rows`.
        rows: the images.
        models: A and B, with evidence maps.
        names: how the page calls them.
        top: most pictures.
    """
    cells = differences.cells[:top]
    sources = [rows.encoded(cell.row) for cell in cells]
    maps = [
        model.evidence(sources, [model.labels.index(cell.label) for cell in cells]) if cells else []
        for model in models
    ]
    tiles = [
        _tile(cell, source, [(name, evidence) for name, evidence in zip(names, evidences, strict=True)])
        for cell, source, *evidences in zip(cells, sources, *maps, strict=True)
    ]
    counts = sorted(differences.labels.items(), key=lambda item: -item[1]["only_a"] - item[1]["only_b"])
    only_lines = [
        f"Only {name} has: {', '.join(labels[:8])}"
        for name, labels in zip(names, differences.only_in, strict=True)
        if labels
    ]
    text = page(
        "disagreements.html.j2",
        title=f"{names[0]} and {names[1]}",
        names=names,
        source=rows.source or "the data",
        facts=[
            ("Images", f"{differences.images:,}"),
            ("Labels that differ", f"{len(differences.cells):,}"),
            ("Unreadable", f"{differences.unreadable:,}"),
        ],
        only=only_lines,
        tiles=tiles,
        total=len(differences.cells),
        counts=counts,
    )
    write_page(out, text)


def _tile(cell: Disagreement, source: Path | bytes, overlays: list[Any]) -> dict[str, Any]:
    scores = [
        f"{letter} {score:.2f} {'selected' if selected else 'not selected'}"
        for letter, score, selected in zip("AB", cell.scores, cell.selected, strict=True)
    ]
    lines = [", ".join(scores), STATES[cell.truth]]
    return photo_tile(cell.image, lines, title=cell.label, overlays=overlays, source=source)
