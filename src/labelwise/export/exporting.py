"""Exports a run to an artefact and checks it against the run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from labelwise.engines.runtimes import Engine
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import (
    FOR_PHONES,
    PRECISIONS,
    Artefact,
    seal,
)
from labelwise.export.bench import Bench, Compared
from labelwise.export.engines import fastest
from labelwise.export.graph import FILES, require
from labelwise.export.phones import Structure
from labelwise.export.precision import OFFERED, require_precision
from labelwise.export.tagger import write_tagger
from labelwise.export.timm_layout import write_timm
from labelwise.export.triton import model_name, require_lines, to_repository
from labelwise.export.web import RUNTIME, compared_in_node, require_web, write_web
from labelwise.export.web_runtime import copy_runtime
from labelwise.runs.files import new_folder
from labelwise.runs.run import Run

AUTO, WEB, TRITON = "auto", "web", "triton"


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Args:
        artefact: the folder.
        parity: comparison with the run: by outputs in fp32, by mAP in a lower precision, by structure for Core ML.
        seconds: with `auto`, seconds per image of each engine that passed, and of the run's own.
        refused: with `auto`, the reason for each rejected candidate.
    """

    artefact: Artefact
    parity: Compared
    seconds: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The comparison with the run in words."""
        compared = "" if isinstance(self.parity, Structure) else "compared with the run on "
        return f"{compared}{self.parity}"


def export_run(
    run: Run | str | Path,
    out: str | Path,
    format: str = "onnx",
    *,
    precision: str = "fp32",
    data: str | None = None,
    images: int | None = None,
    maps: bool = True,
    features: bool = False,
    tagger: bool = False,
    transformers: bool = False,
    runtime: Path | None = None,
    decide: bool = False,
) -> Export:
    """Writes a run as an artefact, after its outputs on real images were compared with the run's.

    Args:
        run: a finished run or its folder.
        out: a new or empty folder.
        format: `onnx`, `openvino`, `torch`, or `auto`, the fastest of these on this machine; `web` for browsers;
            `triton`, a repository of Triton with `onnx` and the decisions in the graph; for phones `executorch`,
            `litert` or `coreml`.
        precision: `fp32`; `bf16` or `int8`, which must keep the run's average precision within the bounds of
            `export.accuracy`; or `auto`, the fastest.
        data: SOURCE of the images for the comparison and the int8 calibration; `None` uses the run's own.
        images: number of images to compare; `None` uses 64 in fp32, up to 2,000 in a lower precision.
        maps: whether the graph also returns the evidence maps.
        features: whether it also returns label features, so that `embed` and `search` accept it; in fp32, with maps.
        tagger: also write the layout of community taggers, as `tagger/`.
        transformers: also write the layout that timm and transformers load, as `transformers/`.
        runtime: for `web`, the folder of the package onnxruntime-web, see `copy_runtime`.
        decide: whether the graph also returns probabilities and selected labels, see `labelwise.export.decide`.

    Raises:
        LabelwiseError: no images to compare on, a model that the format cannot express, or different outputs.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    out = Path(out)
    if decide and format in (WEB, *FOR_PHONES):
        raise LabelwiseError(
            f"--decide with --format {format}",
            "onnx, openvino, torch or triton; a page or an app decides by artefact.json",
            "leave --decide out",
        )
    is_web, triton_name = format == WEB, None
    if is_web:
        require_web(precision, run.config.transform().bits, run.decisions(), run.labels)
    if format == TRITON:
        triton_name, decide = model_name(run.path), True
        require_lines(run.labels.names)
    candidates = wanted("onnx" if format in (WEB, TRITON) else format, precision)
    if features and (precision != "fp32" or not maps):
        raise LabelwiseError(
            f"label features {'without maps' if not maps else 'in another precision'}",
            "maps, for the boxes of a collection, and fp32, in which features are compared",
            "leave out --no-maps and --precision",
        )
    new_folder(out).parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        if is_web:  # before anything is computed, since it may be missing
            copy_runtime(draft / RUNTIME, runtime)
        bench = Bench(run, draft, data, images, maps, features, decide)
        best = _best(bench, candidates, timed=AUTO in (format, precision))
        if is_web:
            write_web(best.artefact, bench.eager, draft / RUNTIME)
            best = replace(
                best, parity=compared_in_node(best.artefact, bench.eager, bench.photos, best.parity)
            )
        if tagger:
            write_tagger(run, best.artefact.path / "tagger", bench.photos)
        if transformers:
            write_timm(run, best.artefact.path / "transformers", bench.photos)
        if tagger or transformers:
            seal(best.artefact.path)
        if triton_name is not None:
            to_repository(best.artefact, triton_name)
        os.replace(best.artefact.path, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Export(Artefact.open(out), best.parity, best.seconds, best.refused)


def wanted(format: str, precision: str) -> list[tuple[str, str]]:
    """Candidate formats with their precisions, fp32 first; an explicit but unavailable one raises an error."""
    if format != AUTO:
        require(format)
    if precision != AUTO:
        require_precision(precision, None if format == AUTO else format)
    kinds = FILES if format == AUTO else (format,)
    precisions = PRECISIONS if precision == AUTO else (precision,)
    return [(kind, p) for p in precisions for kind in kinds if kind in OFFERED[p]]


def _best(bench: Bench, candidates: Sequence[tuple[str, str]], timed: bool) -> Export:
    """The fastest candidate that agrees with the run; if none does, the first error is raised."""
    passed: dict[str, tuple[Artefact, Compared]] = {}
    engines: list[Engine] = []
    refused: dict[str, LabelwiseError] = {}
    for kind, precision in candidates:
        try:
            artefact, engine = bench.make(kind, precision)
            passed[engine.name] = artefact, bench.judge(artefact, engine)
            engines.append(engine)
        except LabelwiseError as error:
            refused[f"{kind} in {precision}"] = error
    if not engines:
        raise next(iter(refused.values()))
    winner = engines[0]
    seconds: dict[str, float] = {}
    if timed:
        batch = torch.stack([image for _, image in bench.photos[:8]])
        winner, seconds = fastest(engines, batch)
        seconds |= fastest([bench.eager], batch)[1]
    artefact, parity = passed[winner.name]
    artefact.card.update(_card_entries(winner, parity, seconds))
    artefact.save()
    return Export(artefact, parity, seconds, {name: error.given for name, error in refused.items()})


def _card_entries(engine: Engine, parity: Compared, seconds: dict[str, float]) -> dict[str, Any]:
    """What the export adds to the card."""
    entries: dict[str, Any] = {"export": {"engine": engine.name, "torch": torch.__version__}}
    entries["parity"] = parity.to_json()
    return entries | ({"seconds_per_image": seconds} if seconds else {})
