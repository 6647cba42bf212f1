"""Writes RUN/report.html: one file without external resources."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from labelwise.reports import sections
from labelwise.reports.conditions import conditions
from labelwise.reports.decided import decided, floors
from labelwise.reports.frequency import frequency
from labelwise.reports.ladder import ladder, name_of_run
from labelwise.reports.parts import failures
from labelwise.reports.pictures import EvidenceSource, ImageSource, make_tiles
from labelwise.reports.record import RunRecord, read_run
from labelwise.reports.tallies import confident_errors, typical_finds
from labelwise.runs.files import write_text

TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    run: str | Path,
    *,
    predictor: EvidenceSource | None = None,
    dataset: ImageSource | None = None,
    by: Sequence[str] = (),
    heights: Callable[[], np.ndarray] | None = None,
) -> Path:
    """Writes the report of a run into its folder, atomically.

    Args:
        run: folder with `labels.json` and `results.json`; `config.yaml`, `metrics.jsonl`, `scores/*.npz` and
            `bad_images.csv` are optional, and the report says which of them are missing.
        predictor: computes evidence maps for the gallery of errors.
        dataset: the split in the headline (test, else val), for the gallery's photographs.
        by: ways to divide the images, see `parts_of`, for the section on where the run fails.
        heights: returns the height of each scored image, for `height`.

    Returns:
        The path of `report.html`.

    Raises:
        LabelwiseError: a required file of the folder is missing or broken, the data set is not the split that was
            evaluated, or the page cannot be written.
    """
    record = read_run(Path(run))
    target = record.path / "report.html"
    write_page(target, render(record, gallery(record, predictor, dataset), failures(record, by, heights)))
    return target


def gallery(
    record: RunRecord, predictor: EvidenceSource | None, dataset: ImageSource | None
) -> dict[str, Any]:
    """The tiles of the most confident errors and of typical correct predictions, or the reason for their absence."""
    split = record.shown_split
    if split not in record.scores:
        return {"missing": f"no scores of the {split} split are stored in the run"}
    if dataset is None or predictor is None:
        absent = " and ".join(
            name for name, part in (("the photographs", dataset), ("the model", predictor)) if part is None
        )
        return {"missing": f"the report was written without {absent}"}
    scores, thresholds = record.scores[split], record.thresholds
    false_positives, missed = confident_errors(scores, thresholds)
    groups = (
        ("Predicted, not labelled", "invented", false_positives),
        ("Labelled, not predicted", "missed", missed),
        ("Right: typical finds", "found", typical_finds(scores, thresholds)),
    )
    return {
        "missing": None,
        "groups": [
            {"title": title, "kind": kind, "tiles": make_tiles(record, split, picks, predictor, dataset)}
            for title, kind, picks in groups
        ],
    }


def templates() -> Environment:
    """The templates of all pages. Every name is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": sections.percent,
        "plain": sections.format_probability,
        "count": sections.format_count,
    }
    return environment


def page(template: str, **content: Any) -> str:
    """Renders a template with the shared style of all pages."""
    return templates().get_template(template).render(style=asset("report.css"), **content)


def write_page(out: Path, html: str) -> None:
    """Writes a page atomically.

    A file name that is not valid UTF-8 holds lone surrogates; the page shows question marks instead.
    """
    write_text(out, html.encode("utf-8", errors="replace").decode("utf-8"))


def asset(name: str) -> Markup:
    """A file of the templates, unchanged."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8").strip())


def render(record: RunRecord, gallery: dict[str, Any], failures: Sequence[Mapping[str, Any]] = ()) -> str:
    """The report as HTML; the page's content security policy allows only its own script."""
    script = asset("report.js")
    return page(
        "report.html.j2",
        run=name_of_run(record),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        head=sections.headline(record),
        decided=decided(record),
        floors=floors(record),
        training=sections.training(record),
        ladder=ladder(record),
        labels=sections.rows_of_labels(record),
        frequency=frequency(record),
        curves=sections.curves(record),
        confusions=sections.confusions(record),
        failures=failures,
        gallery=gallery,
        conditions=conditions(record),
        bad_images=record.bad_images,
    )
