"""The artefact: one folder with everything that inference requires, verified when it is opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwise.data.pixels import BITS
from labelwise.decisions.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.jsonfile import read_json
from labelwise.labels import LabelSet

if TYPE_CHECKING:
    from labelwise.data.transforms import TransformConfig

FORMAT_VERSION = 3
"""The newest version; 2 lacks sheets of two sizes, 1 also lacks implications and groups of exactly one label."""
ARTEFACT, CHECKSUMS = "artefact.json", "checksums.json"
RESIZES = ("squash", "crop")
FOR_PHONES = ("executorch", "litert", "coreml")
"""Kinds of graphs for phones, which take one image at a time."""
KINDS = ("onnx", "openvino", "torch", *FOR_PHONES, "weights")
PRECISIONS = ("fp32", "bf16", "int8")
_SIDES = 8, 4096  # pixels
WEIGHTS_DIGEST = "weights_sha256"
"""Key in the card of a graph with features: the SHA-256 of the run's weights, by which a collection knows the run."""


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of an image before and inside the graph.

    The graph takes uint8 RGB `[batch, 3, height, width]` and normalises it itself. Resizing is outside, since graphs
    resize in floats and would not reproduce the bytes that the run was evaluated on.

    Args:
        size: height and width in pixels.
        resize: `squash`, the whole image, aspect changed, or `crop`, the largest central part of that aspect.
        mean: `[3]`, of pixels in [0, 1]; for information, since it is applied inside the graph.
        std: `[3]`, like `mean`.
        bits: bits used by 16-bit grey images, see `decode_image`.
        larger: height and width of a second view, if the graph takes a sheet of two, see `labelwise.data.sheet`.

    Raises:
        ValueError: a number or a name out of range.
    """

    size: tuple[int, int]
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bits: int = BITS
    larger: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not all(_SIDES[0] <= side <= _SIDES[1] for size in self.sizes for side in size):
            raise ValueError(f"sizes {self.sizes}, with sides outside {_SIDES[0]} to {_SIDES[1]} pixels")
        if self.resize not in RESIZES:
            raise ValueError(f"resize {self.resize!r}, which is none of {', '.join(RESIZES)}")
        if not 8 <= self.bits <= BITS:
            raise ValueError(f"{self.bits} bits, which are not 8 to {BITS}")

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each view."""
        return (self.size,) if self.larger is None else (self.size, self.larger)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the graph's input."""
        return sum(height for height, _ in self.sizes), max(width for _, width in self.sizes)

    def to_json(self) -> dict[str, Any]:
        """JSON data for `from_json`, with the constant properties included."""
        sheet = "uint8 RGB [batch, 3, height + larger height, larger width], the larger image under the other"
        return {
            "size": list(self.size),
            **({"larger": list(self.larger)} if self.larger else {}),
            "resize": self.resize,
            "interpolation": "bicubic, antialiased",
            "input": sheet if self.larger else "uint8 RGB [batch, 3, height, width]",
            "normalisation": "inside the graph",
            "mean": list(self.mean),
            "std": list(self.std),
            "bits_of_16_bit_grey": self.bits,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Preprocessing:
        """Reads the data of `to_json`."""
        height, width = stored["size"]
        mean, std = tuple(stored["mean"]), tuple(stored["std"])
        bits = int(stored.get("bits_of_16_bit_grey", BITS))  # absent in older artefacts
        larger_size = None
        if "larger" in stored:
            larger_size = int(stored["larger"][0]), int(stored["larger"][1])
        return cls((int(height), int(width)), str(stored["resize"]), mean, std, bits, larger_size)

    def transform(self) -> TransformConfig:
        """The settings of `ImageTransform` that produce the graph's input."""
        from labelwise.data.transforms import TransformConfig, TwoSizes

        settings = {"image_size": self.size, "resize": self.resize, "bits": self.bits}
        if self.larger is not None:
            return TwoSizes.model_validate({**settings, "larger": self.larger})
        return TransformConfig.model_validate(settings)


@dataclass(frozen=True)
class Artefact:
    """A model on disk without its training run.

    Args:
        path: its folder.
        kind: `onnx`, `openvino`, `torch` or one of `FOR_PHONES`, a graph; `weights`, weights with the settings of
            their run.
        file: name of the graph, or of the weights, in the folder.
        labels: label order and groups.
        preprocessing: from an image to the graph's input.
        decisions: from logits to selected labels.
        has_maps: whether the graph's second output is the evidence maps.
        card: provenance and measurements.
        settings: of the run, if `kind` is `weights`; empty otherwise.
        precision: `fp32`, or `bf16` or `int8` for the backbone on processors that support it.
        test_time: the views whose logits the graph averages, see `labelwise.runs.test_time`.
        has_features: whether the graph also returns features, see `labelwise.export.graph.Graph`.
        has_decisions: whether it also returns probabilities and selected labels, see `labelwise.export.decide`.
    """

    path: Path
    kind: str
    file: str
    labels: LabelSet
    preprocessing: Preprocessing
    decisions: Decisions
    has_maps: bool
    card: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    test_time: str = "none"
    has_features: bool = False
    has_decisions: bool = False

    def save(self) -> None:
        """Writes artefact.json, then the checksums of every file in the folder."""
        from labelwise.runs.files import write_json

        # Version 1 would ignore rules.
        version = 2 if self.decisions.implies or self.decisions.exactly_one else 1
        stored = {
            "format_version": 3 if self.preprocessing.larger else version,
            "kind": self.kind,
            "file": self.file,
            "precision": self.precision,
            "test_time": self.test_time,
            "outputs": self.outputs,
            "preprocessing": self._preprocessing(),
            "labels": self.labels.to_json(),
            "decisions": self.decisions.to_json(self.labels.names),
            "card": self.card,
        }
        write_json(self.path / ARTEFACT, {**stored, "settings": self.settings} if self.settings else stored)
        seal(self.path)

    @property
    def outputs(self) -> list[str]:
        """The names of the graph's outputs in their order."""
        maps, features = ["maps"] * self.has_maps, ["features", "whole"] * self.has_features
        return ["logits", *maps, *features, *["probabilities", "selected"] * self.has_decisions]

    def _preprocessing(self) -> dict[str, Any]:
        """The stored preprocessing, with the input that this kind of graph takes."""
        stored = self.preprocessing.to_json()
        stored["input"] = stored["input"].replace("batch", "1" if self.kind in FOR_PHONES else "batch")
        if self.kind == "coreml":
            stored["input"] = stored["input"].replace("uint8", "float32 from 0 to 255,")
        return stored

    @classmethod
    def open(cls, path: str | Path) -> Artefact:
        """Reads and verifies an artefact of this or an older format version.

        Raises:
            LabelwiseError: not an artefact, of a newer format, damaged, or with a modified file.
        """
        path = Path(path)
        stored = read_json(path / ARTEFACT)
        version = stored.get("format_version") if isinstance(stored, dict) else None
        if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
            raise LabelwiseError(
                f"{path / ARTEFACT} of format version {version}",
                f"version {FORMAT_VERSION} or older",
                "upgrade with: pip install -U labelwise",
            )
        verify(path)
        try:
            inside(path, stored["file"])
            preprocessing = Preprocessing.from_json(stored["preprocessing"])
            labels = LabelSet.from_json(stored["labels"])
            precision = stored.get("precision", "fp32")  # absent in older artefacts
            for value, allowed in ((stored["kind"], KINDS), (precision, PRECISIONS)):
                if value not in allowed:
                    raise ValueError(f"{value!r}, which is none of {', '.join(allowed)}")
            if stored["kind"] == "weights" and not stored.get("settings"):
                raise ValueError("weights without the settings of their run")
            return cls(
                path,
                stored["kind"],
                str(stored["file"]),
                labels,
                preprocessing,
                Decisions.from_json(stored["decisions"], labels),
                "maps" in stored["outputs"],
                stored["card"],
                stored.get("settings", {}),
                precision,
                str(stored.get("test_time", "none")),
                "features" in stored["outputs"],
                "selected" in stored["outputs"],
            )
        except LabelwiseError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise LabelwiseError(
                f"{path / ARTEFACT} ({type(error).__name__}: {error})",
                "what labelwise export writes",
                "export the run again",
            ) from None


def seal(path: Path) -> None:
    """Writes the sha256 of every file of a folder, except hidden files and the hub's README.md."""
    from labelwise.runs.files import write_json

    files = (p for p in path.rglob("*") if p.is_file() and not p.relative_to(path).parts[0].startswith("."))
    sealed = sorted(p for p in files if p.name not in (CHECKSUMS, "README.md"))
    write_json(path / CHECKSUMS, {p.relative_to(path).as_posix(): sha256(p) for p in sealed})


def verify(path: Path) -> None:
    """Compares a folder with its checksums.

    Raises:
        LabelwiseError: names the first file that is missing or was changed.
    """
    stored = read_json(path / CHECKSUMS)
    if not isinstance(stored, dict) or ARTEFACT not in stored:
        raise LabelwiseError(
            f"{path / CHECKSUMS} without {ARTEFACT}", "the checksums of an export", "export the run again"
        )
    for name, expected in stored.items():
        file = inside(path, name)
        if not os.path.isfile(file):
            raise LabelwiseError(
                f"{path} without {name}", "every file of the export", "copy the whole folder again"
            )
        if sha256(file) != expected:
            raise LabelwiseError(
                f"{file}, changed since it was exported",
                "the file of its checksum",
                "copy it again, or export again",
            )


def inside(folder: Path, name: str) -> Path:
    """The path of a file of a downloaded folder; names and links that lead out of the folder are refused.

    Links of the hub's cache to the folder `blobs` two levels above are allowed.

    Raises:
        LabelwiseError: the name or link leads out of the folder.
    """
    file, root = folder / str(name), folder.resolve()
    valid = isinstance(name, str) and name and "\0" not in name
    try:
        safe = valid and any(file.resolve().is_relative_to(p) for p in (root, root.parent.parent / "blobs"))
    except (OSError, RuntimeError):  # circular links
        safe = False
    if not safe or Path(name).is_absolute() or ".." in Path(name).parts:
        raise LabelwiseError(
            f"{name!r} named in {folder}",
            "a file inside that folder",
            "do not open this export; download it again",
        )
    return file


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
