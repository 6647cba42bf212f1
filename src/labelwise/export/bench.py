"""Writes graphs of a run in each format and precision, and compares them with it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from labelwise.engines.runtimes import Engine
from labelwise.errors import LabelwiseError
from labelwise.evaluation.labels import same_labels
from labelwise.export.accuracy import Accuracy, measure_accuracy
from labelwise.export.artefact import (
    FOR_PHONES,
    WEIGHTS_DIGEST,
    Artefact,
    Preprocessing,
    sha256,
)
from labelwise.export.card import card_of, portable_decisions
from labelwise.export.decide import require_decidable
from labelwise.export.engines import Eager, installed_runtimes, open_engine
from labelwise.export.graph import FILES, graph_file, program, program_for_phones, require, write_graph
from labelwise.export.nncf_int8 import quantise_openvino
from labelwise.export.parity import Parity, batches_of, compare, compare_batches
from labelwise.export.phones import CoreML, Structure
from labelwise.export.photographs import batches, calibration_batches, judged_rows, readable, source_of
from labelwise.export.precision import quantise, require_precision
from labelwise.runs.run import WEIGHTS, Run

COMPARED, JUDGED, CALIBRATED = 64, 2_000, 128
Compared: TypeAlias = Parity | Accuracy | Structure
"""Result of a comparison with the run."""


@dataclass
class Bench:
    """Creates graphs of a run and compares them with it.

    Args:
        run: the run to export.
        part: working folder, created if needed.
        data: SOURCE of images; `None` for the run's own.
        images: number of images to compare; `None` for the default.
        maps: whether the graphs return maps.
        features: whether they return features.
        decide: whether they return probabilities and selected labels.

    Raises:
        LabelwiseError: no image to compare on, or decisions that a graph cannot make.
    """

    run: Run
    part: Path
    data: str | None
    images: int | None
    maps: bool
    features: bool = False
    decide: bool = False

    def __post_init__(self) -> None:
        if self.decide:
            require_decidable(self.run.decisions())
        self.source = source_of(self.run, self.data)
        rows = judged_rows(self.source)
        first = islice(readable(self.run, rows), self.images or COMPARED)
        self.photos = [(rows.image_id(i), image) for i, image in first]
        if not self.photos:
            raise LabelwiseError(
                f"{rows.source} without a readable image", "at least one", "give --data SOURCE"
            )
        self.decisions, self.eager = portable_decisions(self.run), Eager(self.run.model(), "cpu")

    def make(self, kind: str, precision: str) -> tuple[Artefact, Engine]:
        """Writes a graph to its own folder and opens it.

        Raises:
            LabelwiseError: the format is unavailable on this machine or for this model.
        """
        require(kind)
        require_precision(precision, kind)
        folder = self.part / f"{kind}-{precision}"
        if precision == "int8":
            source = self._plain("onnx") / FILES["onnx"]
            folder.mkdir()
            write = quantise_openvino if kind == "openvino" else quantise
            write(source, folder / FILES[kind], self._calibration())
        elif precision == "bf16":
            shutil.copytree(self._plain(kind), folder)
        else:
            self._plain(kind)
        artefact = Artefact(
            folder,
            kind,
            graph_file(kind),
            self.run.labels,
            preprocessing(self.run, self.eager),
            self.decisions,
            self.maps,
            card_of(self.run),
            precision=precision,
            test_time=self.run.config.test_time,
            has_features=self.features,
            has_decisions=self.decide,
        )
        if self.features:
            artefact.card[WEIGHTS_DIGEST] = sha256(self.run.path / WEIGHTS)
        engine = CoreML(folder / artefact.file, self.maps) if kind == "coreml" else open_engine(artefact)
        return artefact, engine

    def judge(self, artefact: Artefact, engine: Engine) -> Compared:
        """Compares a graph with the run; one for Core ML by its description only.

        Raises:
            LabelwiseError: different outputs, or a different mAP.
        """
        if isinstance(engine, CoreML):
            return engine.structure(artefact)
        runtimes = self.runtimes(artefact.kind)
        if artefact.precision != "fp32":
            return self.accuracy(engine).demand(engine.name)
        names = self.run.labels.names
        parity = compare(self.eager, engine, batches_of(self.photos), self.decisions, names)
        return replace(parity, runtimes=runtimes)

    def runtimes(self, kind: str) -> dict[str, float | str]:
        """The differences of the fp32 graph in each installed runtime, see `compare_batches`."""
        opened = installed_runtimes(kind, self._plain(kind) / graph_file(kind), self.maps, self.features)
        return compare_batches(self.eager, opened, self.photos, self.decisions, self.run.labels.names)

    def accuracy(self, engine: Engine) -> Accuracy:
        """The mAP of an engine on labelled images, compared with the run's.

        Raises:
            LabelwiseError: labels that differ from the run's, or no labelled image.
        """
        rows = judged_rows(same_labels(self.source, self.run.labels.names))
        labelled = batches(islice(readable(self.run, rows), self.images or JUDGED))
        return measure_accuracy(self.eager, engine, labelled, rows, self.decisions)

    def _plain(self, kind: str) -> Path:
        """The folder of the fp32 graph, which is written once."""
        folder = self.part / f"{kind}-fp32"
        if not folder.exists():
            folder.mkdir(parents=True)
            write_graph(self._phone_program(kind) if kind in FOR_PHONES else self._program, kind, folder)
        return folder

    @cached_property
    def _program(self) -> Any:
        size = self.run.config.transform().input_size
        decisions = self.decisions if self.decide else None
        return program(self.eager.model, size, self.maps, self.features, decisions)

    def _phone_program(self, kind: str) -> Any:
        size = self.run.config.transform().input_size
        return program_for_phones(self.eager.model, kind, size, self.maps, self.features)

    def _calibration(self) -> Any:
        return calibration_batches(self.run, self.source.split("train"), CALIBRATED)


def preprocessing(run: Run, eager: Eager) -> Preprocessing:
    """A run's preprocessing, with the normalisation of its backbone."""
    backbone: Any = eager.model.backbone
    transform = run.config.transform()
    mean, std = (tuple(t.flatten().tolist()) for t in (backbone.mean, backbone.std))
    larger = transform.sizes[1] if len(transform.sizes) > 1 else None
    return Preprocessing(transform.size, transform.resize, mean, std, transform.bits, larger)
