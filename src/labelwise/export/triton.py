"""A model repository of the Triton Inference Server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelwise.engines.runtimes import INPUT
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact
from labelwise.runs.files import write_text

VERSION, CONFIG, LABELS = "1", "config.pbtxt", "labels.txt"
MOST, DELAY_US = 16, 5_000
"""Images in a batch, and the microseconds that a first image waits for others; those of `labelwise serve`."""
_TYPES = {"selected": "TYPE_BOOL"}


def model_name(run: Path) -> str:
    """The name of a run's model in a repository, that of its folder.

    Raises:
        LabelwiseError: a name that is no part of an address or of a path on every system.

    >>> model_name(Path("runs/mine"))
    'mine'
    """
    name = run.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise LabelwiseError(
            f"a run in a folder called {name!r}, which names the model",
            "letters of a to z, digits, _, . and -",
            "rename the folder of the run",
        )
    return name


def require_lines(names: tuple[str, ...]) -> None:
    """Raises an error for labels that a file with one label in each line cannot hold."""
    for name in names:
        if len(name.splitlines()) != 1 or name != name.strip():
            raise LabelwiseError(
                f"label {name!r}, which {LABELS} cannot hold",
                "labels of one line without spaces around them",
                "rename it, or choose another --format",
            )


def to_repository(artefact: Artefact, name: str) -> None:
    """Turns the folder of an ONNX export into a repository with one model, which is still an export.

    `NAME/config.pbtxt` is not among the checksums of the export: instances and batching are for its users to change.

    Args:
        artefact: an export of the kind `onnx`.
        name: of the model, see `model_name`.
    """
    folder = artefact.path / name
    shapes = _shapes(artefact.path / artefact.file)
    (folder / VERSION).mkdir(parents=True)
    (artefact.path / artefact.file).rename(folder / VERSION / "model.onnx")
    write_text(folder / LABELS, "".join(f"{label}\n" for label in artefact.labels.names))
    moved_artefact = replace(artefact, file=f"{name}/{VERSION}/model.onnx")
    moved_artefact.save()
    write_text(folder / CONFIG, config_text(moved_artefact, name, shapes))


def _shapes(graph: Path) -> dict[str, list[int]]:
    """The shape of each output of an ONNX file for one image."""
    import onnx

    outputs = onnx.load(graph).graph.output
    return {
        output.name: [size.dim_value for size in output.type.tensor_type.shape.dim[1:]] for output in outputs
    }


def config_text(artefact: Artefact, name: str, shapes: Mapping[str, Sequence[int]]) -> str:
    """The model's configuration in the text form of Triton's schema."""
    images = {"name": INPUT, "data_type": "TYPE_UINT8", "dims": (3, *artefact.preprocessing.input_size)}
    outputs = [
        {
            "name": output,
            "data_type": _TYPES.get(output, "TYPE_FP32"),
            "dims": shapes[output],
            **({} if output != "probabilities" else {"label_filename": LABELS}),
        }
        for output in artefact.outputs
    ]
    lines = [
        f'name: "{name}"',
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {MOST}",
        f"input [\n{_tensor_text(images)}\n]",
        "output [\n" + ",\n".join(map(_tensor_text, outputs)) + "\n]",
        f"dynamic_batching {{ max_queue_delay_microseconds: {DELAY_US} }}",
    ]
    return "\n".join(lines) + "\n"


def _tensor_text(fields: Mapping[str, Any]) -> str:
    """An input or output in the text form of Triton's schema."""
    dims = ", ".join(map(str, fields["dims"]))
    file = f' label_filename: "{fields["label_filename"]}"' if "label_filename" in fields else ""
    return f'  {{ name: "{fields["name"]}" data_type: {fields["data_type"]} dims: [ {dims} ]{file} }}'
