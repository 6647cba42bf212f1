"""Word vectors of label names from text files and installed packages, and invalid ones."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from labelwise.data.vectors import read_vectors
from labelwise.errors import LabelwiseError

GLOVE = """the 1 0 0
dog 0 1 0
potted 2 0 0
plant 0 4 0
dining 1 1 0
table 0 1 1
din 9 9 9
Dog 7 7 7
traffic 0 0 3
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE, encoding="utf-8")
    return path


def refused(source: Path | str, *names: str) -> str:
    with pytest.raises(LabelwiseError) as error:
        read_vectors(str(source), names or ("dog",))
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dog", [0, 1, 0]),
        ("DOG", [0, 1, 0]),
        ("potted plant", [1, 2, 0]),
        ("potted_plant", [1, 2, 0]),
        ("pottedPlant", [1, 2, 0]),
        ("pottedplant", [1, 2, 0]),
        ("potted-plant", [1, 2, 0]),
        ("diningtable", [0.5, 1, 0.5]),
        ("the dining table", [2 / 3, 2 / 3, 1 / 3]),
    ],
)
def test_a_name_is_the_mean_of_its_words(text: Path, name: str, expected: list[float]) -> None:
    result = read_vectors(str(text), ["dog", name])
    assert result.vectors.dtype == np.float32
    np.testing.assert_allclose(result.vectors, [[0, 1, 0], expected], atol=1e-7)
    assert result.missing == ()


def test_a_split_word_uses_the_most_frequent_halves(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("sun 1\nflower 2\nsunf 30\nlower 40\n", encoding="utf-8")
    assert read_vectors(str(path), ["sunflower"]).vectors.tolist() == [[1.5]]


def test_a_whole_name_takes_precedence_over_its_words(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("hot 1 1\ndog 3 3\nhot_dog 9 9\n", encoding="utf-8")
    result = read_vectors(str(path), ["hot_dog", "hot dog"])
    assert result.vectors.tolist() == [[9, 9], [2, 2]]


def test_labels_without_a_vector_are_named_and_zero(text: Path) -> None:
    result = read_vectors(str(text), ["zebra", "dog", "traffic light", "!!"])
    assert result.missing == ("zebra", "traffic light", "!!")
    assert result.vectors.tolist() == [[0] * 3, [0, 1, 0], [0] * 3, [0] * 3]


def test_vectors_without_any_label_are_refused(text: Path) -> None:
    for names in (("zebra", "okapi"), ("traffic light", "okapi")):  # `traffic` alone is not the label
        assert refused(text, *names) == (
            f"vectors {str(text)!r} without any of {', '.join(names)}; expected vectors of the labels' words; "
            "choose another source, or vectors.source=learned"
        )


def test_word2vecs_first_line_and_words_with_spaces_are_read(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("4 2\n, 0 0\n. . . 5 5\nat name@domain 1 2\ndog 3 4 \n", encoding="utf-8")
    assert read_vectors(str(path), ["dog"]).vectors.tolist() == [[3, 4]]


def test_a_first_word_that_is_a_number_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("dog 0.5\ncat 1\n", encoding="utf-8")
    assert read_vectors(str(path), ["dog", "cat"]).vectors.tolist() == [[0.5], [1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat 1 2", "v.txt line 2: 2 numbers; expected a word and 3 numbers; correct the line"),
        ("cat 1 2 3 4", "v.txt line 2: 4 numbers; expected a word and 3 numbers; correct the line"),
        ("", "v.txt line 2: 0 numbers; expected a word and 3 numbers; correct the line"),
        (
            "cat 1 x 3",
            "v.txt line 2 (could not convert string to float: 'x'); expected finite numbers; correct the line",
        ),
        ("cat 1 nan 3", "v.txt line 2: a number that is not finite; expected finite numbers; correct the line"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "v.txt"
    path.write_text(f"dog 1 2 3\n{line}\n", encoding="utf-8")
    assert refused(path, "dog", "cat") == message


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(b"dog \xff\xfe 1\n")
    assert refused(path).endswith("; expected lines of a word and its numbers, in UTF-8; choose another file")
    path.write_text("words\nonly\n", encoding="utf-8")
    assert refused(path) == "v.bin line 1: 0 numbers; expected a word and its numbers; correct the line"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.txt"
    assert refused(path) == (
        f"vectors {str(path)!r}: No such file or directory; expected learned, package:NAME or a file; "
        "correct vectors.source"
    )


def test_a_long_list_is_read_quickly(tmp_path: Path) -> None:
    path, numbers = tmp_path / "v.txt", " 0.12345" * 300
    path.write_text("".join(f"w{i}{numbers}\n" for i in range(5000)), encoding="utf-8")
    started = time.process_time()
    assert read_vectors(str(path), ["w4999"]).vectors.shape == (1, 300)
    assert time.process_time() - started < 0.5


WORDS = ["dog", "Dog", "potted", "plant"]
ARRAY = np.array([[1, 2], [8, 8], [4, 0], [0, 2]], np.float16)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution `little-vectors` with replaceable files."""
    folder, info = tmp_path / "little_vectors", tmp_path / "little_vectors-1.0.dist-info"
    folder.mkdir()
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: little-vectors\nVersion: 1.0\n")
    write(folder, WORDS, ARRAY)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def write(folder: Path, words: list[str], array: np.ndarray, *more: str) -> None:
    parquet.write_table(pa.table({"word": words}), folder / "words.parquet")
    np.save(folder / "vectors.npy", array)
    for name in more:
        (folder / name).write_bytes(b"")
    names = ["words.parquet", "vectors.npy", *more]
    record = folder.parent / "little_vectors-1.0.dist-info" / "RECORD"
    record.write_text("".join(f"little_vectors/{name},,\n" for name in names))


def test_an_installed_package_is_read(package: Path) -> None:
    result = read_vectors("package:little-vectors", ["potted plant", "dog", "cat"])
    assert result.vectors.dtype == np.float32
    assert result.vectors.tolist() == [[2, 1], [1, 2], [0, 0]]
    assert result.missing == ("cat",)


def test_a_package_that_is_not_installed_is_refused() -> None:
    assert refused("package:no-such-vectors") == (
        "vectors 'package:no-such-vectors'; expected an installed package; run: pip install no-such-vectors"
    )


def test_a_package_without_one_array_and_one_list_is_refused(package: Path) -> None:
    write(package, WORDS, ARRAY, "more.npy")
    assert refused("package:little-vectors") == (
        "package 'little-vectors' with 2 arrays and 1 word lists; expected one .npy array and one .parquet list of "
        "words, or one sentence-transformers model; name another package"
    )


@pytest.mark.parametrize("array", [ARRAY[:3], ARRAY.ravel()], ids=["short", "flat"])
def test_a_package_whose_array_does_not_fit_its_words_is_refused(package: Path, array: np.ndarray) -> None:
    write(package, WORDS, array)
    assert refused("package:little-vectors") == (
        f"package 'little-vectors' with 4 words and an array of shape {list(array.shape)}; expected one row of "
        "numbers per word; name another package"
    )


@pytest.mark.parametrize("name", ["words.parquet", "vectors.npy"])
def test_a_damaged_package_is_refused(package: Path, name: str) -> None:
    (package / name).write_bytes(b"nonsense")
    message = refused("package:little-vectors")
    assert message.startswith("package 'little-vectors' (")
    assert message.endswith("; expected readable words and vectors; reinstall little-vectors")
    (package / name).unlink()
    assert refused("package:little-vectors").endswith("; reinstall little-vectors")


def test_a_missing_file_is_named_whatever_reads_the_metadata(package: Path) -> None:
    pytest.importorskip("importlib_metadata", reason="importlib_metadata is not installed")
    (package / "words.parquet").unlink()
    assert refused("package:little-vectors").endswith("; reinstall little-vectors")
