"""Cells in a file are matched to images and labels by name, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from labelwise.data import group_mask, positives_mask, read_cells, save_cells
from labelwise.data.dataset import Dataset
from labelwise.data.masks import known_mask
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet


def rows_of(ids: list[str], labels: tuple[str, ...] = ("a", "b", "c")) -> Dataset:
    shape = len(ids), len(labels)
    return Dataset(LabelSet(labels), pa.array(ids), None, np.zeros(shape, np.uint8), np.ones(shape, bool))


def test_a_mask_is_read_by_the_names_of_rows_and_columns(tmp_path: Path) -> None:
    data = rows_of(["x.jpg", "y.jpg", "z.jpg"])
    mask = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], bool)
    save_cells(tmp_path / "known", "known", mask, data)
    np.testing.assert_array_equal(read_cells(tmp_path / "known", "known", data), mask)
    part = rows_of(["z.jpg", "x.jpg"], ("c", "a"))
    np.testing.assert_array_equal(
        read_cells(tmp_path / "known", "known", part), [[False, True], [False, True]]
    )


def test_a_mask_of_other_rows_is_refused_in_one_line(tmp_path: Path) -> None:
    save_cells(tmp_path / "known.npz", "known", np.ones((2, 3), bool), rows_of(["x.jpg", "y.jpg"]))
    with pytest.raises(LabelwiseError) as error:
        read_cells(tmp_path / "known.npz", "known", rows_of(["x.jpg", "other.jpg", "more.jpg"]))
    assert str(error.value) == (
        f"{tmp_path}/known.npz without 2 of 3 images, 'other.jpg' the first; expected all images of these data; "
        "use the file that was written for these data"
    )
    with pytest.raises(LabelwiseError, match="without 1 of 1 labels, 'd' the first"):
        read_cells(tmp_path / "known.npz", "known", rows_of(["x.jpg"], ("d",)))


@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, share: float) -> None:
    file = tmp_path / "known.npz"
    save_cells(file, "known", np.ones((2, 3), bool), rows_of(["x", "y"]))
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(
        LabelwiseError, match=r"expected an npz with known \[images, labels\], ids .*check the path"
    ):
        read_cells(file, "known", rows_of(["x"]))


def test_other_files_and_shapes_are_refused(tmp_path: Path) -> None:
    data = rows_of(["x", "y"])
    with pytest.raises(LabelwiseError, match=r"none.npz .*No such file"):
        read_cells(tmp_path / "none.npz", "known", data)
    np.save(tmp_path / "plain.npy", np.ones((2, 3)))
    with pytest.raises(LabelwiseError, match="expected an npz with known"):
        read_cells(tmp_path / "plain.npy", "known", data)
    np.savez(tmp_path / "wide.npz", known=np.ones((2, 4)), ids=["x", "y"], labels=["a", "b", "c"])
    with pytest.raises(LabelwiseError, match=r"wide.npz with known of shape \[2, 4\]"):
        read_cells(tmp_path / "wide.npz", "known", data)
    np.savez(tmp_path / "twice.npz", known=np.ones((2, 3)), ids=["x", "x"], labels=["a", "b", "c"])
    with pytest.raises(LabelwiseError, match=r"twice.npz with repeated images; expected distinct images"):
        read_cells(tmp_path / "twice.npz", "known", data)
    with pytest.raises(LabelwiseError, match=r"known of shape \[1, 3\] for 2 images and 3 labels"):
        save_cells(tmp_path / "new.npz", "known", np.ones((1, 3), bool), data)


def test_positives_are_dropped_by_the_random_numbers_of_the_known_mask() -> None:
    positive = np.random.default_rng(0).random((300, 7)) < 0.3
    np.testing.assert_array_equal(positives_mask(positive), positive)
    few, more = positives_mask(positive, 0.4), positives_mask(positive, 0.75)
    np.testing.assert_array_equal(few, positive & known_mask(300, 7, 0.4))
    assert not (few & ~more).any()
    assert 0.35 < few.sum() / positive.sum() < 0.45
    with pytest.raises(LabelwiseError, match="a known proportion of 40"):
        positives_mask(positive, 40)


def test_images_of_a_group_know_the_same_labels() -> None:
    group = np.random.default_rng(0).integers(40, 300, 900)
    known = group_mask(group, 11, 0.3)
    codes = sorted(set(group.tolist()))
    of_groups = known_mask(len(codes), 11, 0.3)
    for code, row in zip(group.tolist(), known, strict=True):
        np.testing.assert_array_equal(row, of_groups[codes.index(code)])
    assert not (known & ~group_mask(group, 11, 0.6)).any()
