"""Opens the graph of an export in its runtime; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from labelwise.engines.runtimes import RUNTIMES, Engine
from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import Artefact


def open_graph(
    artefact: Artefact, others: Mapping[str, Callable[[Path, bool, bool], Engine]] | None = None
) -> Engine:
    """The engine of an artefact's graph.

    Args:
        artefact: of a kind with a graph.
        others: kind -> engine, of kinds that need PyTorch.

    Raises:
        LabelwiseError: a graph that its runtime cannot open, a runtime that is not installed, or a kind that needs
            PyTorch and is not among `others`, or Core ML.
    """
    file = artefact.path / artefact.file
    others = others or {}
    if artefact.kind not in (*RUNTIMES, *others):
        needed = "Core ML of Apple's systems" if artefact.kind == "coreml" else "PyTorch"
        raise LabelwiseError(
            f"{artefact.path}, an export of kind {artefact.kind}, which needs {needed}",
            f"an export of kind {' or '.join(RUNTIMES)}",
            "export the run again with --format onnx",
        )
    try:
        if artefact.kind in others:
            return others[artefact.kind](file, artefact.has_maps, artefact.has_features)
        return RUNTIMES[artefact.kind](file, artefact.has_maps, artefact.has_features, artefact.precision)
    except LabelwiseError:
        raise
    except Exception as error:  # runtimes raise many kinds of errors on unsupported graphs
        raise LabelwiseError(
            f"{file} ({first_line(error)})", f"a graph that {artefact.kind} opens here", "export again"
        ) from error
