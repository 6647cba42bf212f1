"""The page of an audit: photographs with evidence, current labels and proposed labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from labelwise.audit.audit import Audit
from labelwise.data.decode import decode_image
from labelwise.decisions.audit import KINDS, Finding
from labelwise.errors import LabelwiseError
from labelwise.inference.overlays import overlay, tint
from labelwise.reports.pictures import LONGEST, EvidenceSource, data_uri, thumbnail
from labelwise.reports.report import page, write_page
from labelwise.runs.files import write_atomic

PICTURED = 40  # of each kind
TITLES = {
    "missing": ("Likely missing", "Not given as present, but scored high."),
    "wrong": ("Likely wrong", "Given as present, but scored low."),
    "duplicate": ("Copies that differ", "Images that look the same, with different labels."),
    "contradiction": ("Against a rule", "Labels that exclude each other, or nearly always occur together."),
}
STATES = {1: "present", 0: "absent", None: "unknown"}


@dataclass(frozen=True)
class Picture:
    """A finding's photograph and evidence.

    Args:
        photo: at most 256 px.
        evidence: `[h, w]`.
    """

    photo: Image.Image
    evidence: np.ndarray


def pictures(audit: Audit, predictor: EvidenceSource) -> dict[int, Picture]:
    """Photograph and evidence of the first findings of each kind, by index of the finding."""
    chosen = []
    for kind in KINDS:
        chosen += [index for index, finding in enumerate(audit.findings) if finding.kind == kind][:PICTURED]
    photos: dict[int, Image.Image] = {}
    for index in sorted(chosen):
        try:
            image = decode_image(audit.rows.encoded(audit.findings[index].row), shrink_to=LONGEST)
        except LabelwiseError:
            continue
        photos[index] = thumbnail(image)
    findings = [audit.findings[index] for index in photos]
    images = [audit.rows.encoded(finding.row) for finding in findings]
    maps = predictor.evidence(images, [finding.label for finding in findings]) if findings else []
    return {
        index: Picture(photo, np.asarray(evidence, np.float32))
        for (index, photo), evidence in zip(photos.items(), maps, strict=True)
    }


def write_evidence(shown: Mapping[int, Picture], folder: Path) -> dict[int, str]:
    """Writes each picture with its map overlaid as `FOLDER/RANK.png`; returns names relative to the folder's parent."""
    names = {}
    for index, picture in shown.items():
        pixels = torch.from_numpy(np.array(picture.photo)).permute(2, 0, 1)
        file = folder / f"{index + 1:05}.png"
        write_atomic(file, partial(overlay(pixels, picture.evidence).save, format="PNG"))
        names[index] = f"{folder.name}/{file.name}"
    return names


def write_audit_page(audit: Audit, shown: Mapping[int, Picture], file: Path, run: str) -> None:
    """Writes the page: one file without external resources and without a script."""
    text = page(
        "audit.html.j2",
        run=run,
        source=audit.rows.source or "the data",
        total=len(audit.findings),
        groups=[_group(audit, shown, kind) for kind in KINDS],
        facts=_facts(audit),
        estimate=estimate(audit),
        unjudged=_unjudged(audit),
        labels=_labels(audit),
    )
    write_page(file, text)


def estimate(audit: Audit) -> str:
    """Sentences on the expected number of wrong annotations, and on the check by planted errors."""
    if audit.wrong is None or audit.check is None:
        return "No label is judged, so no number of wrong annotations is estimated."
    judged_count = int((~np.isnan(audit.wrong)).sum())
    return (
        f"By their probabilities, about {audit.expected.sum():,.0f} of {judged_count:,} judged annotations are wrong. "
        f"With {audit.check.planted:,} errors planted in a copy, the estimate rises by {audit.check.rise:,.0f}."
    )


def _unjudged(audit: Audit) -> list[dict[str, Any]]:
    """Labels that are not judged, with positives and reason."""
    positive = dict(zip(audit.rows.labels.names, audit.rows.positive.sum(0).tolist(), strict=True))
    return [
        {"name": name, "positive": positive[name], "reason": reason}
        for name, reason in audit.unjudged.items()
    ]


def _group(audit: Audit, shown: Mapping[int, Picture], kind: str) -> dict[str, Any]:
    """The section of one kind of finding."""
    title, meaning = TITLES[kind]
    indices = [index for index, finding in enumerate(audit.findings) if finding.kind == kind]
    tiles = [_tile(audit, index, shown[index]) for index in indices if index in shown]
    return {"kind": kind, "title": title, "meaning": meaning, "count": len(indices), "tiles": tiles}


def _tile(audit: Audit, index: int, picture: Picture) -> dict[str, Any]:
    """A finding beside its picture."""
    finding: Finding = audit.findings[index]
    names = audit.rows.labels.names
    others = [names[j] for j in np.flatnonzero(audit.rows.positive[finding.row]) if j != finding.label]
    return {
        "rank": index + 1,
        "image": os.path.basename(audit.rows.image_id(finding.row)),
        "label": names[finding.label],
        "current": STATES[finding.current],
        "proposed": STATES[finding.proposed],
        "score": finding.score,
        "reason": finding.reason,
        "others": others,
        "size": picture.photo.size,
        "photo": data_uri(picture.photo, "JPEG"),
        "overlay": data_uri(tint(picture.evidence), "PNG"),
    }


def _facts(audit: Audit) -> list[tuple[str, str]]:
    rows = audit.rows
    return [
        ("Images", f"{len(rows):,}"),
        ("Labels", f"{len(rows.labels):,}"),
        ("Known cells", f"{int(rows.known.sum()):,} of {rows.known.size:,}"),
        ("Scored by", audit.scored_by),
        ("Not readable", f"{int(np.isnan(audit.probabilities).any(axis=1).sum()):,}"),
    ]


def _labels(audit: Audit) -> list[dict[str, Any]]:
    """Findings of each label by kind, labels with most first; labels without any are left out."""
    counts = np.zeros((len(audit.rows.labels), len(KINDS)), int)
    for finding in audit.findings:
        counts[finding.label, KINDS.index(finding.kind)] += 1
    listed = [j for j in np.argsort(-counts.sum(1), kind="stable").tolist() if counts[j].any()]
    positive, unknown = audit.rows.positive.sum(0), (~audit.rows.known).sum(0)
    expected = audit.expected
    return [
        {
            "name": audit.rows.labels.names[j],
            "positive": int(positive[j]),
            "unknown": int(unknown[j]),
            "counts": counts[j].tolist(),
            "expected": float(expected[j]),
        }
        for j in listed
    ]
