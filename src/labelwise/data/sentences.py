"""Sentence embeddings of label names or descriptions, by a sentence-transformers model in a folder."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.errors import LabelwiseError, first_line

_MODEL_SUFFIXES = (".json", ".txt", ".safetensors", ".bin", ".model")
MODULES = "modules.json"
"""The file that marks a folder as a sentence-transformers model."""


def sentences_of(names: Sequence[str], descriptions: str = "") -> list[str]:
    """The text to embed for each label: its description where the file has one, else its name.

    No prompt template is used. A name is split into words: `potted_plant` and `pottedPlant` become two.

    Args:
        names: label names.
        descriptions: a CSV with the columns `name` and `description`, or "" for none.

    Raises:
        LabelwiseError: no such file or columns, an unknown or repeated label, or an empty description.

    >>> sentences_of(["potted_plant", "trafficLight", "t-shirt"])
    ['potted plant', 'traffic Light', 't-shirt']
    """
    texts = _descriptions(Path(descriptions), names) if descriptions else {}
    return [texts.get(name) or _spaced_words(name) for name in names]


def embed_sentences(folder: Path, sentences: Sequence[str]) -> np.ndarray:
    """Returns `[L, V]` float32, the result of the model's own `encode` on the CPU.

    Args:
        folder: contains `modules.json`; no code in it is run.
        sentences: L texts.

    Raises:
        LabelwiseError: the extra `text` is not installed, or the folder has no readable model.
    """
    _refuse_code(folder)
    model_type = _model_class()
    try:
        with _without_progress_bars():
            model = model_type(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
            result: Any = model.encode(list(sentences), show_progress_bar=False, convert_to_numpy=True)
    except Exception as error:  # loaders of weights and tokenizers raise exceptions of many types
        raise _model_error(folder, first_line(error)[:160]) from None
    vectors = np.asarray(result, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(sentences) or not np.isfinite(vectors).all():
        raise _model_error(
            folder, f"embeddings of shape {list(vectors.shape)}, or with infinite numbers or NaN"
        )
    return vectors


def digest_of_model(folder: Path) -> str:
    """Digest of the names and contents of a model's files, without its documentation."""
    digest = hashlib.blake2b(digest_size=16)
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix in _MODEL_SUFFIXES)
    for path in sorted(files):
        digest.update(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape") + b"\0")
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def digest_of_texts(descriptions: str) -> str:
    """Digest of the file of descriptions; "" for none."""
    return (
        hashlib.blake2b(Path(descriptions).read_bytes(), digest_size=16).hexdigest() if descriptions else ""
    )


def _spaced_words(name: str) -> str:
    """A label name with spaces between its words, such as `potted plant` for `potted_plant`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace("_", " "))
    return " ".join(spaced.split()) or name


def _descriptions(path: Path, names: Sequence[str]) -> Mapping[str, str]:
    """Descriptions by label name from a CSV file."""
    expected = "a CSV with the columns name and description"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [column for column in ("name", "description") if column not in (rows.fieldnames or ())]
            if missing:
                raise LabelwiseError(
                    f"{path.name} without a column {missing[0]}",
                    expected,
                    "name its columns in the first line",
                )
            texts: dict[str, str] = {}
            for row in rows:
                name, text = (row["name"] or ""), (row["description"] or "").strip()
                _refuse_row(f"{path.name} line {rows.line_num}", name, text, names, texts)
                texts[name] = text
    except OSError as error:
        raise LabelwiseError(
            f"vectors.descriptions {str(path)!r}: {error.strerror}", expected, "correct the path"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelwiseError(f"{path.name} ({first_line(error)})", expected, "write it in UTF-8") from None
    return texts


def _refuse_row(where: str, name: str, text: str, names: Sequence[str], earlier: Mapping[str, str]) -> None:
    """Raises `LabelwiseError` for an unknown or repeated label, or one without a text."""
    if name not in names:
        raise LabelwiseError(
            f"{where}: {name!r} is not a label",
            f"one of {', '.join(list(names)[:5])}" + (", ..." if len(names) > 5 else ""),
            "correct the name, or remove the line",
        )
    if name in earlier:
        raise LabelwiseError(f"{where}: {name!r} twice", "one line per label", "remove one of them")
    if not text:
        raise LabelwiseError(
            f"{where}: no description of {name!r}", "a sentence", "write one, or remove the line"
        )


def _refuse_code(folder: Path) -> None:
    """Refuses modules that are not the library's own, which would be Python files of the folder."""
    path = folder / MODULES
    try:
        types = [str(module["type"]) for module in json.loads(path.read_text(encoding="utf-8"))]
    except OSError:
        raise _model_error(folder, f"no {MODULES}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _model_error(folder, f"{MODULES}: {first_line(error)}") from None
    foreign = [kind for kind in types if not kind.startswith("sentence_transformers.")]
    if foreign or not types:
        raise _model_error(folder, f"{MODULES} with the part {(foreign or ['none'])[0]}")


def _model_class() -> Any:
    """The class `SentenceTransformer`; raises `LabelwiseError` where it is not installed."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise LabelwiseError(
            "a sentence-transformers model without sentence-transformers",
            "the extra `text`",
            "run: pip install 'labelwise[text]'",
        ) from None
    return SentenceTransformer


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Hides the library's progress bars while weights are read."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _model_error(folder: Path, reason: str) -> LabelwiseError:
    """The error for a folder without a usable sentence model."""
    return LabelwiseError(
        f"{folder} ({reason})",
        f"a sentence-transformers model: a folder with {MODULES}, of the library's own parts",
        "name another vectors.source",
    )
