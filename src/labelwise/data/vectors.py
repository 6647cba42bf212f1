"""Word vectors for label names, from a file or an installed package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class WordVectors:
    """A vector for each label.

    Args:
        vectors: `[L, V]` float32; zeros where a label is missing.
        missing: labels of which at least one word has no vector, in order.
    """

    vectors: np.ndarray
    missing: tuple[str, ...]


def read_vectors(source: str, names: Sequence[str]) -> WordVectors:
    """Word vectors of label names: the mean over a name's words.

    A name is looked up whole, then word by word (`potted_plant`, `potted plant` and `pottedPlant` are two words), and
    at last as two words written together (`diningtable`), cut where both halves are the commonest.

    Args:
        source: `package:NAME`, an installed package that holds one list of words and one array, or a text file with a
            word and its numbers on each line, as GloVe's and word2vec's.
        names: label names.

    Raises:
        LabelwiseError: no such package or file, a line whose width differs, or no label found at all.
    """
    wanted = {form for name in names for form in _forms(name)}
    found = _from_package(source, wanted) if source.startswith("package:") else _from_text(source, wanted)
    if not found:
        raise LabelwiseError(
            f"vectors {source!r} without any word of {', '.join(list(names)[:5])}",
            "vectors of the labels' words",
            "choose another source, or vectors.source=learned",
        )
    rank = {word: i for i, word in enumerate(found)}
    width = len(next(iter(found.values())))
    out, missing = np.zeros((len(names), width), np.float32), []
    for row, name in enumerate(names):
        words = _words(name, rank)
        if words is None:
            missing.append(name)
        else:
            out[row] = np.mean([found[word] for word in words], axis=0)
    return WordVectors(out, tuple(missing))


def _spaced(name: str) -> list[str]:
    """The words of a name, in lower case.

    >>> _spaced("pottedPlant"), _spaced("traffic-light")
    (['potted', 'plant'], ['traffic', 'light'])
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W_]+", apart.lower())


def _cuts(word: str) -> list[tuple[str, str]]:
    return [(word[:i], word[i:]) for i in range(2, len(word) - 1)]


def _forms(name: str) -> Iterator[str]:
    yield name.lower()
    for word in _spaced(name):
        yield word
        for cut in _cuts(word):
            yield from cut


def _words(name: str, rank: dict[str, int]) -> list[str] | None:
    """Words of a name that have vectors; `rank` is smaller for commoner words."""
    if name.lower() in rank:
        return [name.lower()]
    words: list[str] = []
    for word in _spaced(name):
        if word in rank:
            words.append(word)
            continue
        cuts = [cut for cut in _cuts(word) if cut[0] in rank and cut[1] in rank]
        if not cuts:
            return None
        first, second = min(cuts, key=lambda cut: max(rank[cut[0]], rank[cut[1]]))
        words += [first, second]
    return words or None


def _from_text(source: str, wanted: set[str]) -> dict[str, np.ndarray]:
    path = Path(source)
    found: dict[str, np.ndarray] = {}
    width = 0
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                parts = line.rstrip().split(" ")
                if number == 1 and len(parts) == 2:  # word2vec opens with its number of words and its width
                    continue
                word, numbers = parts[0].lower(), parts[1:]
                width = width or len(numbers)
                if len(numbers) != width or not width:
                    raise LabelwiseError(
                        f"{path.name} line {number}: {len(numbers)} numbers",
                        f"a word and {width or 'its'} numbers",
                        "correct the line",
                    )
                if word in wanted and word not in found:
                    found[word] = np.array(numbers, np.float32)
    except OSError as error:
        raise LabelwiseError(
            f"vectors {source!r}: {error.strerror}",
            "learned, package:NAME or a file",
            "correct vectors.source",
        ) from None
    except ValueError as error:
        raise LabelwiseError(
            f"{path.name} ({error})", "lines of a word and its numbers, in UTF-8", "choose another file"
        ) from None
    return found


def _from_package(source: str, wanted: set[str]) -> dict[str, np.ndarray]:
    name = source.removeprefix("package:")
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        raise LabelwiseError(
            f"vectors {source!r}", "an installed package", f"run: pip install {name}"
        ) from None
    arrays = [f for f in files if f.suffix == ".npy"]
    lists = [f for f in files if f.suffix == ".parquet"]
    if len(arrays) != 1 or len(lists) != 1:
        raise LabelwiseError(
            f"package {name!r} with {len(arrays)} arrays and {len(lists)} word lists",
            "one .npy array and one .parquet list of words",
            "name another package",
        )
    words = pq.read_table(str(lists[0].locate())).column(0).to_pylist()
    array = np.load(str(arrays[0].locate()), mmap_mode="r")
    if array.ndim != 2 or len(array) != len(words):
        raise LabelwiseError(
            f"package {name!r} with {len(words)} words and an array of shape {list(array.shape)}",
            "one row a word",
            "name another package",
        )
    first: dict[str, int] = {}
    for i, word in enumerate(words):
        if str(word).lower() in wanted:
            first.setdefault(str(word).lower(), i)
    return {word: np.asarray(array[i], np.float32) for word, i in first.items()}
