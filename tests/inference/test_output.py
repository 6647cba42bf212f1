"""Input files and output files of predictions."""

from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.inference import Prediction
from labelwise.inference.output import find_images, stems, write_maps
from labelwise.inference.tables import ParquetWriter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images and other files in two levels."""
    for name in ("b.JPG", "a.png", "notes.txt", "inner/c.jpeg", "inner/deep/d.webp", "odd.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _names(paths: list[str], folder: Path) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in paths]


def test_a_folder_returns_its_images_sorted(folder: Path) -> None:
    assert _names(find_images([str(folder)]), folder) == [
        "a.png",
        "b.JPG",
        "inner/c.jpeg",
        "inner/deep/d.webp",
    ]


def test_files_globs_and_lists(folder: Path) -> None:
    assert _names(find_images([str(folder / "odd.bin")]), folder) == ["odd.bin"]
    assert _names(find_images([str(folder / "*.*")]), folder) == ["a.png", "b.JPG", "notes.txt", "odd.bin"]
    assert _names(find_images([str(folder / "**" / "*.jpeg")]), folder) == ["inner/c.jpeg"]
    (folder / "list").write_text(f"{folder}/b.JPG\n\n{folder}/none.jpg\n")
    assert _names(find_images([f"@{folder}/list", str(folder / "a.png")]), folder) == [
        "b.JPG",
        "none.jpg",
        "a.png",
    ]
    odd = b"caf\xe9.jpg", "line\u2028end.jpg".encode(), b" blank .jpg"
    (folder / "list").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(odd) + b"\r\n")
    assert find_images([f"@{folder}/list"]) == [os.fsdecode(name) for name in odd]


def test_a_name_with_brackets_is_no_glob(folder: Path) -> None:
    (folder / "x[1].jpg").touch()
    assert _names(find_images([str(folder / "x[1].jpg")]), folder) == ["x[1].jpg"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.jpg", "none.jpg: no such file or folder; expected image files, folders or globs"),
        ("*.gif", r"no image in .*; expected files ending in .apng, .avif, .bmp,"),
        ("empty", "no image in"),
        ("@none", "list .*none .*; expected a text file with a path a line"),
    ],
)
def test_missing_files_are_refused(folder: Path, path: str, message: str) -> None:
    (folder / "empty").mkdir()
    given = f"@{folder}/{path[1:]}" if path.startswith("@") else str(folder / path)
    with pytest.raises(LabelwiseError, match=message):
        find_images([given])


def test_a_table_of_predictions(tmp_path: Path) -> None:
    out = tmp_path / "new" / "predictions.parquet"
    writer = ParquetWriter(out, ("dog", "image"), rows=2)
    thresholds = {"dog": 0.5, "image": 0.5}
    for i in range(5):
        writer.add(Prediction(f"{i}.jpg", {"dog": i / 10, "image": 0.75}, thresholds))
    writer.add(Prediction("bad\udcff.jpg", {}, thresholds, "it is empty"))
    assert not out.exists()
    writer.close()
    table = pq.read_table(out)
    assert table.column_names == ["image", "error", "selected", "dog", "score:image"]
    rows = table.to_pylist()
    assert [row["image"] for row in rows] == [*(f"{i}.jpg" for i in range(5)), "bad\ufffd.jpg"]
    assert [row["dog"] for row in rows[:5]] == pytest.approx([i / 10 for i in range(5)])
    assert (rows[4]["selected"], rows[5]["selected"]) == (["image"], None)
    assert (rows[5]["error"], rows[5]["dog"], rows[0]["error"]) == ("it is empty", None, None)
    assert [p.name for p in out.parent.iterdir()] == ["predictions.parquet"]


def test_every_file_gets_a_name_of_its_own() -> None:
    assert list(stems(["1-2.jpg", "a/1.jpg", "b/1.png", "1.gif"]).values()) == ["1-2", "1", "1-3", "1-4"]
    assert stems(["a/1.jpg", "a/1.jpg"]) == {"a/1.jpg": "1"}


@given(
    st.lists(
        st.sampled_from(["1", "1-2", "1-2-2", "1-3", "A", "a", "\u00e4", "a\u0308", "x" * 300, "y" * 99])
    )
)
def test_no_two_files_share_a_name(names: list[str]) -> None:
    paths = [f"{i}/{name}.jpg" for i, name in enumerate(names)]
    names_of = stems(paths)
    assert list(names_of) == paths
    alike = {unicodedata.normalize("NFC", name).casefold() for name in names_of.values()}
    assert len(alike) == len(paths)
    assert all(len(os.fsencode(name)) < 110 for name in names_of.values())
    for path, name in names_of.items():
        assert name.startswith(Path(path).stem[:100])


@pytest.mark.parametrize("odd", ["1.jpg", "{}-2.jpg"])
def test_names_take_linear_time(odd: str) -> None:
    paths = [f"folder{i}/1.jpg" for i in range(100_000)] + [odd.format(i) for i in range(10_000)]
    start = time.process_time()
    names_of = stems(paths)
    assert time.process_time() - start < 2
    assert len(set(names_of.values())) == len(set(paths))


def test_evidence_pictures(tmp_path: Path) -> None:
    tiny_runs.photographs(tmp_path, 1, 0, 0)
    evidence = np.zeros((2, 4, 4))
    evidence[:, 1, 2] = 1
    photo = str(tmp_path / "train0.jpg")
    thresholds = {"dog": 0.5, "a/b c": 0.5}
    prediction = Prediction(photo, {"dog": 0.9, "a/b c": 0.7}, thresholds, None, evidence, ("dog", "a/b c"))
    write_maps(prediction, tmp_path / "maps", "photo")
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == ["photo.a_b c.jpg", "photo.dog.jpg"]
    names = ("a/b", "a:b", "A_B", "l" * 300)
    alike = Prediction(
        photo, dict.fromkeys(names, 0.9), dict.fromkeys(names, 0.5), None, evidence[[0] * 4], names
    )
    write_maps(alike, tmp_path / "more", "photo")
    assert len(list((tmp_path / "more").iterdir())) == 4
    with Image.open(tmp_path / "maps" / "photo.dog.jpg") as picture:
        assert picture.size[0] / picture.size[1] == pytest.approx(48 / 40, abs=0.05)
