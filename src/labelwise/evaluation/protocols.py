"""Named protocols: the data, split, conventions and metrics of a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.readers import resolve
from labelwise.data.source import Source, parse
from labelwise.errors import LabelwiseError
from labelwise.evaluation.scores import Scores, StoredScores
from labelwise.metrics import functional as F
from labelwise.metrics.arrays import one_of

BASE = "labelwise.v1"

RULES: Mapping[str, str] = {
    "name": BASE,
    "AP": "raw (mAP), envelope (mAP_envelope)",
    "labels_without_positives": "skipped",
    "unknown": "left out",
    "threshold": "logit >= 0; `tuned`: the run's own decisions, see decisions_from",
    "tuned_without_rules": "`tuned` by thresholds alone, where the labels have rules or exclusive groups",
    "tuned": "on val when training or tuning: each fifth of the images decided by a fit on the other four",
    "calibration": "ECE in 15 bins of equal width, mean over labels; before: the plain sigmoid",
    "intervals": "95 % over 1,000 draws with replacement of the images, or of their groups where the data declare "
    "them; CF1_macro: mean F1 over labels",
    "CF1": "harmonic mean of CP and CR",
    "top3": "among the 3 highest and logit >= 0",
    "pointing": "peak of the label's map inside one of its boxes, mean over labels",
    "energy": "share of the map's mass inside the label's boxes, mean over labels",
    "hard": "boxes of the label under 25 % of the image, and another label with boxes in it",
    "attention": "entropy of true labels' maps over log P; overlap of pairs of them, sum of the minimum",
}
"""The rules of every result; a named protocol adds its own."""

ATTRIBUTE_CONVENTIONS: Mapping[str, tuple[float, str]] = {
    "par-mean.v1": (0.5, "of-means"),
    "par-inst.v1": (0.45, "mean-instance"),
}
"""Threshold (strict) and kind of F1 of the two conventions of pedestrian attributes; they are never mixed."""


@dataclass(frozen=True)
class Protocol:
    """A named protocol.

    Args:
        name: with its version.
        kind: of SOURCE.
        labels: number of labels.
        images: number of test images as published; a difference is noted in the result, not refused.
        options: SOURCE options of the convention, each with its required value.
        defaults: the value of each of those options if the SOURCE leaves it out.
        labelled_only: whether images without a positive are left out.
        attributes: whether mean accuracy and the metrics over images are the headline.
    """

    name: str
    kind: str
    labels: int
    images: int
    options: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    labelled_only: bool = False
    attributes: bool = False

    def rows(self, run_source: str, data: Dataset, split: str) -> Dataset:
        """The images to evaluate, after checking that data and run follow the protocol's conventions.

        Raises:
            LabelwiseError: another kind of data or number of labels, another split, or an option of the data or of
                the run's own training that belongs to another convention.
        """
        if split != "test":
            raise LabelwiseError(
                f"split {split!r} under {self.name}", "its split test", "leave --split or --protocol out"
            )
        self._check(parse(data.source), "data")
        source = _training_source(run_source)
        if source is not None:
            self._check(source, "a run trained on")
        if len(data.labels) != self.labels:
            raise LabelwiseError(
                f"{len(data.labels)} labels under {self.name}", f"its {self.labels}", "name another protocol"
            )
        rows = data.split("test")
        return rows.take(np.asarray(rows.positive.any(1))) if self.labelled_only else rows

    def _check(self, source: Source, what: str) -> None:
        """Raise `LabelwiseError` if the data, or an option of theirs, follow another convention."""
        if source.kind != self.kind:
            raise LabelwiseError(
                f"{what} {source.kind}: under {self.name}", f"{self.kind}:", "name the protocol of the data"
            )
        for option, value in self.options.items():
            actual = source.options.get(option, self.defaults.get(option, ""))
            if actual != value:
                raise LabelwiseError(
                    f"{what} {source.kind}: with {option}={actual or 'its default'} under {self.name}",
                    f"{option}={value}, for conventions are not mixed",
                    f"write ?{option}={value}, or name another protocol",
                )

    def conditions(self, run_source: str, data: Dataset, rows: Dataset) -> dict[str, Any]:
        """The protocol's entries in a result: its name, its rules, and differences from the published files."""
        skipped = any("image file is missing were left out" in note for note in data.notes)
        source, name = _training_source(run_source), self.name
        if self.attributes and source is not None and source.options.get("val_as") == "train":
            stem, _, version = name.rpartition(".")
            name = f"{stem}-trainval.{version}"
        return {
            "name": name + ("+partial-files" if skipped else ""),
            "split": "test",
            "images_judged": "those with a positive" if self.labelled_only else "all",
            "conventions": {**self.options},
            "run_trained_on": run_source,
            "test_chose": "nothing",
            "differs": self.differences(rows),
            **({"attributes": _conventions()} if self.attributes else {}),
        }

    def differences(self, rows: Dataset) -> list[str]:
        """A sentence if the number of images differs from the published number."""
        if len(rows) == self.images:
            return []
        return [f"test: {len(rows):,} images, published {self.images:,}"]

    def figures(self, scores: Scores | StoredScores) -> dict[str, Any]:
        """The metrics that the protocol adds to those of every result."""
        if not self.attributes:
            return {}
        headline = attribute_figures(scores, "par-mean.v1")
        by_convention = {name: attribute_figures(scores, name) for name in ATTRIBUTE_CONVENTIONS}
        y = (scores.values >= 0.5).astype(np.uint8)
        never, always = F.one_sided(y, scores.known)
        return {**headline, **by_convention, "labels_one_sided": float(len(never) + len(always))}


def attribute_figures(scores: Scores | StoredScores, convention: str) -> dict[str, float]:
    """`mA, accuracy, precision, recall, F1` under a named convention; threshold and kind of F1 come together.

    Raises:
        LabelwiseError: unknown convention.
    """
    one_of("convention", convention, tuple(ATTRIBUTE_CONVENTIONS))
    threshold, f1 = ATTRIBUTE_CONVENTIONS[convention]
    p = 1 / (1 + np.exp(-scores.logits.astype(np.float64)))
    y = (scores.values >= 0.5).astype(np.uint8)
    return F.attribute_metrics(p, y, scores.known, threshold=threshold, f1=f1)


def protocol(name: str) -> Protocol:
    """A protocol by its name, with or without its version.

    Raises:
        LabelwiseError: no such protocol.
    """
    match = PROTOCOLS.get(name.lower()) or _BY_VERSION.get(name)
    if match is None:
        raise LabelwiseError(f"protocol {name!r}", f"one of {', '.join(PROTOCOLS)}", "correct --protocol")
    return match


def _training_source(run_source: str) -> Source | None:
    """The SOURCE that a run was trained on; `None` if its kind cannot be determined on this machine."""
    source = parse(run_source)
    if source.kind:
        return source
    try:
        return resolve(source)
    except LabelwiseError:
        return None


def _conventions() -> dict[str, str]:
    return {
        name: f"p > {threshold} strict, F1 {f1}" for name, (threshold, f1) in ATTRIBUTE_CONVENTIONS.items()
    }


_VOC: dict[str, Any] = {"kind": "voc", "labels": 20, "defaults": {"difficult": "ignore", "val_as": "keep"}}
_RAP: dict[str, Any] = {"defaults": {"unknown": "mask", "split": "official"}, "attributes": True}
_PETA: dict[str, Any] = {"kind": "peta", "labels": 35, "defaults": {"split": "official"}, "attributes": True}

PROTOCOLS: Mapping[str, Protocol] = {
    "voc2007": Protocol("voc07.v1", images=4952, options={"difficult": "ignore"}, **_VOC),
    "voc2007-diffneg": Protocol("voc07-diffneg.v1", images=4952, options={"difficult": "negative"}, **_VOC),
    "voc2012": Protocol(
        "voc12-val.v1", images=5823, options={"difficult": "ignore", "val_as": "test"}, **_VOC
    ),
    "coco2014": Protocol("coco14-ml.v1", "coco", 80, 40137, labelled_only=True),
    "coco2014-all": Protocol("coco14-all.v1", "coco", 80, 40504),
    "nuswide": Protocol("nuswide81.v1", "nuswide", 81, 107859),
    "vg500": Protocol("vg500.v1", "vg", 500, 10000),
    "vg200": Protocol("vg200.v1", "vg", 200, 10000),
    "peta": Protocol("peta35.v1", images=7600, options={"split": "official"}, **_PETA),
    "peta-zs": Protocol("petazs35.v1", images=3933, options={"split": "zs"}, **_PETA),
    "pa100k": Protocol("pa100k26.v1", "pa100k", 26, 10000, attributes=True),
    "rapv1": Protocol("rapv1-51.v1", "rapv1", 51, 8317, {"unknown": "mask"}, **_RAP),
    "rapv2": Protocol(
        "rapv2-54.v1",
        "rapv2",
        54,
        16985,
        {"unknown": "mask", "split": "official"},
        **_RAP,
    ),
    "rapv2-zs": Protocol("rapzs53.v1", "rapv2", 53, 4928, {"unknown": "mask", "split": "zs"}, **_RAP),
}
"""Short name on the command line -> protocol."""

_BY_VERSION = {item.name: item for item in PROTOCOLS.values()}
