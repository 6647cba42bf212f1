"""Vectors of label names, from a file, an installed package or a sentence model."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from labelwise.data.sentences import MODULES, digest_of_model, digest_of_texts, embed_sentences, sentences_of
from labelwise.errors import LabelwiseError, first_line


@dataclass(frozen=True)
class WordVectors:
    """A vector for each label.

    Args:
        vectors: `[L, V]` float32; zeros where a label is missing.
        missing: labels with at least one word without a vector, in order.
        digest: of the files of a sentence model; "" for word vectors.
        texts_digest: of the file of descriptions; "" for none.
    """

    vectors: np.ndarray
    missing: tuple[str, ...]
    digest: str = ""
    texts_digest: str = ""


def read_vectors(source: str, names: Sequence[str], descriptions: str = "") -> WordVectors:
    """Vectors of label names: the mean over a name's words, or the embedding of the name or description.

    With word vectors, a name is looked up as a whole, then word by word (`potted_plant`, `potted plant` and
    `pottedPlant` are two words). A word without a vector (`diningtable`) is split into the two most frequent words.

    Args:
        source: `package:NAME`, an installed package with one list of words and one array, or with one
            sentence-transformers model; a folder with such a model; or a text file with a word and its numbers on
            each line, as those of GloVe and word2vec.
        names: label names.
        descriptions: a CSV of label names and the texts to embed instead; for sentence models.

    Raises:
        LabelwiseError: no such package or file, a line of another width, or no label with a vector.
    """
    folder = _model_folder(source)
    if folder is not None:
        texts = sentences_of(names, descriptions)
        return WordVectors(
            embed_sentences(folder, texts), (), digest_of_model(folder), digest_of_texts(descriptions)
        )
    if descriptions:
        raise LabelwiseError(
            f"vectors.descriptions with vectors.source={source}",
            "a sentence-transformers model, which reads sentences",
            "leave vectors.descriptions out, or name a model",
        )
    forms = {form for name in names for form in _lookup_forms(name)}
    read_words = _from_package if source.startswith("package:") else _from_text
    vectors = read_words(source, forms)
    rank = {word: i for i, word in enumerate(vectors)}
    words = {name: _words(name, rank) for name in names}
    if not any(words.values()):
        raise LabelwiseError(
            f"vectors {source!r} without any of {', '.join(list(names)[:5])}",
            "vectors of the labels' words",
            "choose another source, or vectors.source=learned",
        )
    label_vectors = np.zeros((len(names), len(next(iter(vectors.values())))), np.float32)
    for row, name in enumerate(names):
        if words[name]:
            label_vectors[row] = np.mean([vectors[word] for word in words[name] or ()], axis=0)
    return WordVectors(label_vectors, tuple(name for name in names if not words[name]))


def _split_words(name: str) -> list[str]:
    """The words of a name, in lower case.

    >>> _split_words("pottedPlant"), _split_words("traffic-light")
    (['potted', 'plant'], ['traffic', 'light'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W_]+", spaced.lower())


def _splits(word: str) -> list[tuple[str, str]]:
    """Every division of a word in two parts of at least two letters."""
    return [(word[:i], word[i:]) for i in range(2, len(word) - 1)]


def _lookup_forms(name: str) -> Iterator[str]:
    """The forms of a name that may have a vector: the name, its words, and the two parts of each."""
    yield name.lower()
    for word in _split_words(name):
        yield word
        for parts in _splits(word):
            yield from parts


def _words(name: str, rank: dict[str, int]) -> list[str] | None:
    """Words of a name that have vectors; `rank` is smaller for more frequent words."""
    if name.lower() in rank:
        return [name.lower()]
    words: list[str] = []
    for word in _split_words(name):
        if word in rank:
            words.append(word)
            continue
        splits = [parts for parts in _splits(word) if parts[0] in rank and parts[1] in rank]
        if not splits:
            return None
        first, second = min(splits, key=lambda parts: max(rank[parts[0]], rank[parts[1]]))
        words += [first, second]
    return words or None


def _from_text(source: str, forms: set[str]) -> dict[str, np.ndarray]:
    """Vectors of the wanted words from a text file with a word and its numbers on each line."""
    path = Path(source)
    vectors: dict[str, np.ndarray] = {}
    width = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip()
                if number == 1 and re.fullmatch(r"\d+ \d+", line):  # the header of word2vec: count and width
                    continue
                width = width or line.count(" ")
                word, numbers = _parsed_line(line, width, f"{path.name} line {number}")
                if word in forms and word not in vectors:
                    vectors[word] = _vector(numbers, f"{path.name} line {number}")
    except OSError as error:
        raise LabelwiseError(
            f"vectors {source!r}: {error.strerror}",
            "learned, package:NAME or a file",
            "correct vectors.source",
        ) from None
    except UnicodeDecodeError as error:
        raise LabelwiseError(
            f"{path.name} ({first_line(error)})",
            "lines of a word and its numbers, in UTF-8",
            "choose another file",
        ) from None
    return vectors


def _parsed_line(line: str, width: int, where: str) -> tuple[str, str]:
    """A line's word, in lower case, and its numbers; some lists have words with spaces, as `. . .`.

    >>> _parsed_line("Dog 1 2", 2, "here"), _parsed_line(". . 1 2", 2, "here")
    (('dog', '1 2'), ('. .', '1 2'))
    """
    word, _, numbers = line.partition(" ")
    if line.count(" ") > width > 0:
        parts = line.split(" ")
        if not any(map(_is_number, parts[1:-width])):
            word, numbers = " ".join(parts[:-width]), " ".join(parts[-width:])
    count = numbers.count(" ") + 1 if numbers else 0
    if count != width or not width:
        raise LabelwiseError(
            f"{where}: {count} numbers", f"a word and {width or 'its'} numbers", "correct the line"
        )
    return word.lower(), numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _vector(numbers: str, where: str) -> np.ndarray:
    """The numbers of a line as an array; raises `LabelwiseError` for one that is not a finite number."""
    try:
        vector = np.array(numbers.split(" "), np.float32)
    except ValueError as error:
        raise LabelwiseError(f"{where} ({first_line(error)})", "finite numbers", "correct the line") from None
    if not np.isfinite(vector).all():
        raise LabelwiseError(f"{where}: a number that is not finite", "finite numbers", "correct the line")
    return vector


def _model_folder(source: str) -> Path | None:
    """The folder of the sentence model that a source names; `None` for a source of word vectors."""
    if not source.startswith("package:"):
        return Path(source) if Path(source).is_dir() else None
    models = [file for file in _package_files(source) if file.name == MODULES]
    if len(models) > 1:
        raise LabelwiseError(
            f"package {source.removeprefix('package:')!r} with {len(models)} sentence models",
            f"one {MODULES}",
            "name the folder of one of them",
        )
    return models[0].parent if models else None


def _package_files(source: str) -> list[Path]:
    """The files that an installed package lists, including deleted ones.

    `metadata.files` omits these once the package importlib_metadata has been imported.
    """
    name = source.removeprefix("package:")
    try:
        package = metadata.distribution(name)
        record = package.read_text("RECORD")
        paths = [row[0] for row in csv.reader((record or "").splitlines()) if row]
        paths = paths or [str(file) for file in package.files or []]
        return [Path(str(package.locate_file(file))) for file in paths]
    except metadata.PackageNotFoundError:
        raise LabelwiseError(
            f"vectors {source!r}", "an installed package", f"run: pip install {name}"
        ) from None


def _from_package(source: str, forms: set[str]) -> dict[str, np.ndarray]:
    """Vectors of the wanted words from the word list and the array of a package."""
    name, files = source.removeprefix("package:"), _package_files(source)
    arrays = [file for file in files if file.suffix == ".npy"]
    lists = [file for file in files if file.suffix == ".parquet"]
    if len(arrays) != 1 or len(lists) != 1:
        raise LabelwiseError(
            f"package {name!r} with {len(arrays)} arrays and {len(lists)} word lists",
            "one .npy array and one .parquet list of words, or one sentence-transformers model",
            "name another package",
        )
    words, array = _words_and_array(name, lists[0], arrays[0])
    first_rows: dict[str, int] = {}
    for i, word in enumerate(words):
        if word.lower() in forms:
            first_rows.setdefault(word.lower(), i)
    return {word: np.asarray(array[i], np.float32) for word, i in first_rows.items()}


def _words_and_array(name: str, list_file: Path, array_file: Path) -> tuple[list[str], np.ndarray]:
    """A package's words and its array, one row per word."""
    try:
        words = [str(word) for word in pq.read_table(list_file).column(0).to_pylist()]
        array = np.load(array_file, mmap_mode="r")
    except (OSError, ValueError, IndexError) as error:  # these include the errors of pyarrow
        raise LabelwiseError(
            f"package {name!r} ({first_line(error)})", "readable words and vectors", f"reinstall {name}"
        ) from None
    if array.ndim != 2 or len(array) != len(words) or array.dtype.kind not in "fiu":
        raise LabelwiseError(
            f"package {name!r} with {len(words)} words and an array of shape {list(array.shape)}",
            "one row of numbers per word",
            "name another package",
        )
    return words, array
