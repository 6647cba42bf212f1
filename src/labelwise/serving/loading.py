"""Predictors from runs, exports and the hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labelwise.decisions.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import ARTEFACT, Artefact
from labelwise.export.runtimes import RUNTIMES, Engine
from labelwise.labels import LabelSet
from labelwise.serving.prediction import FAMILIARITY
from labelwise.serving.predictor import Predictor, of_artefact

if TYPE_CHECKING:
    from labelwise.data.transforms import ImageTransform
    from labelwise.serving.familiarity import Watched
    from labelwise.training.run import Run


def load(path: str | Path, device: str | None = None) -> Predictor:
    """A predictor from a run's folder, an exported folder, or a model of the hub (`OWNER/NAME`).

    An export for ONNX Runtime or OpenVINO is opened without PyTorch, unless it is loaded already: its decoding and
    resizing are faster for many images, and equal.

    Args:
        path: a folder, or a hub id, which is downloaded once.
        device: `cpu` or `gpu`; also `tensorrt` for an export as ONNX, and torch's names for a run. `None` uses a GPU
            for a run if there is one, and the CPU for an export. An export that cannot use the GPU uses the CPU, see
            `labelwise.export.devices`.

    Raises:
        LabelwiseError: not a model, a run without weights, an artefact that was changed, or an unknown device.
    """
    if "torch" not in sys.modules and (Path(path) / ARTEFACT).is_file():
        artefact = Artefact.open(path)
        if artefact.kind in RUNTIMES:
            return of_artefact(artefact, device)
    from labelwise.data.transforms import build_transform
    from labelwise.export.engines import open_engine
    from labelwise.export.hub import fetch
    from labelwise.training.run import Run, folder_of

    folder = folder_of(fetch(path))
    if (folder / ARTEFACT).is_file():
        artefact = Artefact.open(folder)
        transform = build_transform(artefact.preprocessing.transform(), train=False)
        return Predictor(artefact.labels, artefact.decisions, transform, open_engine(artefact, device))
    if not (folder / "config.yaml").is_file():
        raise LabelwiseError(
            f"{path} holds neither config.yaml nor {ARTEFACT}",
            "the folder that `labelwise train --out` or `labelwise export --out` wrote",
            "check the path",
        )
    return Predictor(*parts_of_run(Run.open(folder), device))


def parts_of_run(
    run: Run, device: str | None
) -> tuple[LabelSet, Decisions, ImageTransform, Engine, Watched | None]:
    """The arguments of `Predictor` for a run."""
    from labelwise.data.transforms import build_transform
    from labelwise.export.engines import Eager

    transform = build_transform(run.config.transform(), train=False)
    engine = Eager(run.model(), device, run.config)
    watched = None
    if (run.path / FAMILIARITY).is_file():
        from labelwise.serving.familiarity import Familiarity, Watched

        watched = Watched(engine.model, Familiarity.of_run(run.path))
    return run.labels, run.decisions(), transform, engine, watched
