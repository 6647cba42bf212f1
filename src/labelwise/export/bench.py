"""Writes graphs of a run in each format and precision, and compares them with it."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from labelwise.engines.runtimes import Answer, Described, Engine, Images, as_array
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
from labelwise.export.graph import (
    FILES,
    graph_file,
    program,
    program_for_phones,
    require,
    write_graph,
    write_openvino,
)
from labelwise.export.nncf_int8 import quantise_openvino
from labelwise.export.parity import Parity, batches_of, compare, compare_batches
from labelwise.export.phones import CoreML, Structure
from labelwise.export.photographs import batches, calibration_batches, judged_rows, readable, source_of
from labelwise.export.precision import quantise, require_precision
from labelwise.model import LabelModel
from labelwise.runs.run import WEIGHTS, Run

COMPARED, JUDGED, CALIBRATED = 64, 2_000, 128
Compared: TypeAlias = Parity | Accuracy | Structure
"""Result of a comparison with the run."""


class Remembered(Eager):
    """A model on the CPU that keeps its answers, since each format and runtime is compared on the same batches.

    Args:
        model: as in `Eager`.
    """

    def __init__(self, model: LabelModel) -> None:
        super().__init__(model, "cpu")
        self._answers: dict[tuple[bytes, bool], Answer] = {}
        self._described: dict[bytes, Described] = {}

    def __call__(self, images: Images, want_maps: bool = False) -> Answer:
        """Logits and maps of a batch."""
        key = _digest(images), want_maps
        if key not in self._answers:
            self._answers[key] = super().__call__(images, want_maps)
        return self._answers[key]

    def describe(self, images: Images) -> Described:
        """All outputs of a batch, as a graph with features computes them."""
        key = _digest(images)
        if key not in self._described:
            self._described[key] = super().describe(images)
        return self._described[key]


def _digest(images: Images) -> bytes:
    return hashlib.sha256(as_array(images).tobytes()).digest()


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
        compared = islice(readable(self.run, rows), self.images or COMPARED)
        self.photos = [(rows.image_id(i), image) for i, image in compared]
        if not self.photos:
            raise LabelwiseError(
                f"{rows.source} without a readable image", "at least one", "give --data SOURCE"
            )
        self.decisions, self.eager = portable_decisions(self.run), Eager(self.run.model(), "cpu")
        self._reference = Remembered(self.eager.model)

    def make(self, kind: str, precision: str) -> tuple[Artefact, Engine]:
        """Writes a graph to its own folder and opens it.

        Raises:
            LabelwiseError: the format is unavailable on this machine or for this model.
        """
        require(kind)
        require_precision(precision, kind)
        folder = self.part / f"{kind}-{precision}"
        if precision == "int8":
            source = self._fp32_folder("onnx") / FILES["onnx"]
            folder.mkdir()
            write = quantise_openvino if kind == "openvino" else quantise
            write(source, folder / FILES[kind], self._calibration())
        elif precision == "bf16":
            shutil.copytree(self._fp32_folder(kind), folder)
        else:
            self._fp32_folder(kind)
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
        parity = compare(self._reference, engine, batches_of(self.photos), self.decisions, names)
        return replace(parity, runtimes=runtimes)

    def runtimes(self, kind: str) -> dict[str, float | str]:
        """The differences of the fp32 graph in each installed runtime, see `compare_batches`."""
        file = self._fp32_folder(kind) / graph_file(kind)
        openers = installed_runtimes(kind, file, self.maps, self.features)
        return compare_batches(self._reference, openers, self.photos, self.decisions, self.run.labels.names)

    def accuracy(self, engine: Engine) -> Accuracy:
        """The mAP of an engine on labelled images, compared with the run's.

        Raises:
            LabelwiseError: labels that differ from the run's, or no labelled image.
        """
        rows = judged_rows(same_labels(self.source, self.run.labels.names))
        labelled = batches(islice(readable(self.run, rows), self.images or JUDGED))
        return measure_accuracy(self._reference, engine, labelled, rows, self.decisions)

    def _fp32_folder(self, kind: str) -> Path:
        """The folder of the fp32 graph, which is written once."""
        folder = self.part / f"{kind}-fp32"
        if not folder.exists():
            folder.mkdir(parents=True)
            onnx = self.part / "onnx-fp32" / FILES["onnx"]
            if kind == "openvino" and onnx.is_file():
                write_openvino(onnx, folder / FILES[kind])
            else:
                write_graph(self._phone_program(kind) if kind in FOR_PHONES else self._program, kind, folder)
        return folder

    @cached_property
    def _program(self) -> Any:
        """The exported program, for any batch."""
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
    larger_size = transform.sizes[1] if len(transform.sizes) > 1 else None
    return Preprocessing(transform.size, transform.resize, mean, std, transform.bits, larger_size)
