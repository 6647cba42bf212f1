"""The artefact: one folder that holds all that an answer needs, read back whole or refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelwise.data.pixels import BITS
from labelwise.data.transforms import TransformConfig, TwoSizes
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.training.files import read_json, write_json
from labelwise.types import LabelSet

FORMAT_VERSION = 3
"""The newest form; 2 knows no sheet of two sizes, 1 no implications and no groups that need one label."""
ARTEFACT, CHECKSUMS = "artefact.json", "checksums.json"
KINDS = ("onnx", "openvino", "torch", "weights")
PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before and inside the graph.

    The graph takes uint8 RGB `[batch, 3, height, width]` and normalises it itself. Resizing stays outside: graphs
    resize in floats, and would not give the bytes that the run was judged on.

    Args:
        size: height and width in pixels.
        resize: `squash`, the whole image, aspect changed, or `crop`, the largest central part of that aspect.
        mean: `[3]`, of pixels in [0, 1]; told for people, applied inside the graph.
        std: `[3]`, likewise.
        bits: that 16-bit grey images use, see `decode_image`.
        larger: height and width of a second view, where the graph takes a sheet of two, see `labelwise.data.sheet`.
    """

    size: tuple[int, int]
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bits: int = BITS
    larger: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back, with what never changes spelled out."""
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
        """What `to_json` wrote."""
        height, width = stored["size"]
        mean, std = tuple(stored["mean"]), tuple(stored["std"])
        bits = int(stored.get("bits_of_16_bit_grey", BITS))  # what was written before it could be set
        larger = None
        if "larger" in stored:
            larger = int(stored["larger"][0]), int(stored["larger"][1])
        return cls((int(height), int(width)), str(stored["resize"]), mean, std, bits, larger)

    def transform(self) -> TransformConfig:
        """The image transform that leads to the graph's input."""
        settings = {"image_size": self.size, "resize": self.resize, "bits": self.bits}
        if self.larger is not None:
            return TwoSizes.model_validate({**settings, "larger": self.larger})
        return TransformConfig.model_validate(settings)


@dataclass(frozen=True)
class Artefact:
    """A model on disk without its training run.

    Args:
        path: its folder.
        kind: `onnx`, `openvino` or `torch`, a graph; `weights`, weights with the settings they belong to.
        file: name of the graph, or of the weights, in the folder.
        labels: label order and groups.
        preprocessing: from an image to the graph's input.
        decisions: from logits to selected labels.
        gives_maps: whether the graph's second output is the evidence maps.
        card: where it comes from and what was measured.
        settings: of the run, where `kind` is `weights`; empty otherwise.
        precision: `fp32`, or `bf16` or `int8`, which its backbone computes in where the processor can.
        test_time: the views whose mean logits the graph gives, see `labelwise.training.test_time`.
    """

    path: Path
    kind: str
    file: str
    labels: LabelSet
    preprocessing: Preprocessing
    decisions: Decisions
    gives_maps: bool
    card: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    test_time: str = "none"

    def save(self) -> None:
        """Write artefact.json, then the checksums of every file that the folder holds."""
        # A program of form 1 would read rules as none and decide against them.
        version = 2 if self.decisions.implies or self.decisions.exactly_one else 1
        stored = {
            "format_version": 3 if self.preprocessing.larger else version,
            "kind": self.kind,
            "file": self.file,
            "precision": self.precision,
            "test_time": self.test_time,
            "outputs": ["logits", "maps"] if self.gives_maps else ["logits"],
            "preprocessing": self.preprocessing.to_json(),
            "labels": self.labels.to_json(),
            "decisions": self.decisions.to_json(self.labels.names),
            "card": self.card,
        }
        write_json(self.path / ARTEFACT, {**stored, "settings": self.settings} if self.settings else stored)
        seal(self.path)

    @classmethod
    def open(cls, path: str | Path) -> Artefact:
        """Read and verify an artefact; those of older format versions as well.

        Raises:
            LabelwiseError: no artefact, of a newer format, damaged, or with a file that changed since.
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
            prepared = Preprocessing.from_json(stored["preprocessing"])
            prepared.transform()
            labels = LabelSet.from_json(stored["labels"])
            precision = stored.get("precision", "fp32")  # what was written before there were others
            for what, known in ((stored["kind"], KINDS), (precision, PRECISIONS)):
                if what not in known:
                    raise ValueError(f"{what!r}, which is none of {', '.join(known)}")
            return cls(
                path,
                stored["kind"],
                str(stored["file"]),
                labels,
                prepared,
                Decisions.from_json(stored["decisions"], labels),
                "maps" in stored["outputs"],
                stored["card"],
                stored.get("settings", {}),
                precision,
                str(stored.get("test_time", "none")),
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
    """Write the sha256 of every file of a folder, but of none that a hub or a system puts there."""
    files = (p for p in path.rglob("*") if p.is_file() and not p.relative_to(path).parts[0].startswith("."))
    kept = sorted(p for p in files if p.name not in (CHECKSUMS, "README.md"))
    write_json(path / CHECKSUMS, {p.relative_to(path).as_posix(): sha256(p) for p in kept})


def verify(path: Path) -> None:
    """Compare a folder with its checksums.

    Raises:
        LabelwiseError: naming the first file that is missing or was changed.
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
    """The file of a folder that was fetched from somewhere; a name or a link that leads out of it is refused.

    The links of the hub's cache lead to the folder `blobs` two above, and are followed.

    Raises:
        LabelwiseError: such a name or link.
    """
    file, home = folder / str(name), folder.resolve()
    plain = isinstance(name, str) and name and "\0" not in name
    try:
        held = plain and any(file.resolve().is_relative_to(p) for p in (home, home.parent.parent / "blobs"))
    except (OSError, RuntimeError):  # links that lead in a circle
        held = False
    if not held or Path(name).is_absolute() or ".." in Path(name).parts:
        raise LabelwiseError(
            f"{name!r} named in {folder}",
            "a file inside that folder",
            "do not open this export; fetch it anew",
        )
    return file


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
