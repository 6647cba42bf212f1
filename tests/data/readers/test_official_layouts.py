"""Each reader on its official layout, and on the same layout with an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import official_layouts as made
from labelwise.data import Dataset, read
from labelwise.data.readers import attributes, pa100k, peta, rapv1, rapv2
from labelwise.errors import LabelwiseError

Change = Callable[[dict[str, Any]], None]
MAKERS: dict[str, Callable[..., np.ndarray]] = {
    "peta": made.make_peta,
    "pa100k": made.make_pa100k,
    "rapv1": made.make_rapv1,
    "rapv2": made.make_rapv2,
}
NAMES = {"peta": peta.NAMES, "pa100k": pa100k.NAMES, "rapv1": rapv1.NAMES, "rapv2": rapv2.NAMES}
MAT = {
    "peta": "PETA.mat",
    "pa100k": "annotation.mat",
    "rapv1": "RAP_annotation/RAP_annotation.mat",
    "rapv2": "RAP_annotation/RAP_annotation.mat",
}
every = pytest.mark.parametrize("kind", MAKERS)


@every
def test_labels_splits_and_counts(kind: str, tmp_path: Path) -> None:
    labels = MAKERS[kind](tmp_path)
    data = read(f"{kind}:{tmp_path}")
    assert data.labels.names == NAMES[kind]
    np.testing.assert_array_equal(data.known, labels != 2)
    np.testing.assert_array_equal(data.values, labels == 1)
    joined = {"train": 17, "test": 6}
    assert data.splits() == (joined if kind == "rapv1" else made.COUNTS)
    notes = [note for note in data.notes if "published are" in note]
    assert len(notes) == len(data.splits())
    assert data[0].image.shape == (3, 20, 12)


@every
def test_regions_cover_every_attribute_once_and_ages_exclude_each_other_by_the_data(
    kind: str, tmp_path: Path
) -> None:
    def quiet(variables: dict[str, Any]) -> None:
        for key, value in variables.items():
            if key in ("label", "data") or key.endswith("_label"):
                value[:, 4 if kind == "peta" else 0 :] = 0
                value[:8, -2:] = 1

    MAKERS[kind](tmp_path / "random")
    groups = read(f"{kind}:{tmp_path / 'random'}").labels.groups
    regions = [name for region in attributes.REGIONS for name in groups[region].labels]
    assert sorted(regions) == sorted(NAMES[kind])
    assert not groups["age"].exclusive
    MAKERS[kind](tmp_path / "quiet", quiet)
    data = read(f"{kind}:{tmp_path / 'quiet'}")
    assert data.labels.groups["age"].exclusive
    assert all(name.startswith(("Age", "personal")) for name in data.labels.groups["age"].labels)


def test_the_order_of_the_field_s_models(tmp_path: Path) -> None:
    made.make_pa100k(tmp_path)
    plain, other = read(f"pa100k:{tmp_path}"), read(f"pa100k:{tmp_path}?order=reference")
    permutation = [7, 8, *range(13, 26), *range(9, 13), 1, 2, 3, 0, 4, 5, 6]
    assert other.labels.names == tuple(pa100k.NAMES[i] for i in permutation)
    np.testing.assert_array_equal(other.values, plain.values[:, permutation])


def _permute(keys: tuple[str, str]) -> Change:
    order = np.r_[3, 1, 2, 0, 4:26]

    def change(variables: dict[str, Any]) -> None:
        variables["attributes"] = variables["attributes"][order]
        for split in made.COUNTS:
            variables[f"{split}_label"] = variables[f"{split}_label"][:, order]

    return change


def test_permuted_labels_are_reordered_by_name_with_a_note(tmp_path: Path) -> None:
    labels = made.make_pa100k(tmp_path, _permute(("attributes", "label")))
    data = read(f"pa100k:{tmp_path}")
    np.testing.assert_array_equal(data.values, labels)
    assert any("in another order (AgeLess18 at 1): they were put into the official" in n for n in data.notes)


def _wider(kind: str) -> Change:
    def change(variables: dict[str, Any]) -> None:
        key = {"pa100k": "val_label", "peta": "data", "rapv1": "label", "rapv2": "data"}[kind]
        variables[key] = np.pad(variables[key], ((0, 0), (0, 1)))

    return change


@every
def test_an_extra_column_is_named(kind: str, tmp_path: Path) -> None:
    MAKERS[kind](tmp_path, _wider(kind))
    rows = made.COUNTS["val"] if kind == "pa100k" else made.TOTAL
    columns = {"pa100k": 26, "peta": 40, "rapv1": 60, "rapv2": 60}[kind]
    message = rf"of {rows} x {columns + 1}; expected {rows} x {columns}, one row per image"
    with pytest.raises(LabelwiseError, match=message):
        read(f"{kind}:{tmp_path}")


@every
def test_a_truncated_file_is_named(kind: str, tmp_path: Path) -> None:
    MAKERS[kind](tmp_path)
    file = tmp_path / MAT[kind]
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(LabelwiseError, match=rf"{file.name} .*expected a.* MATLAB file|without the variable"):
        read(f"{kind}:{tmp_path}")


@every
def test_missing_files_are_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=rf"{MAT[kind]}, which does not exist"):
        read(f"{kind}:{tmp_path}")
    MAKERS[kind](tmp_path)
    lost = next(p for p in sorted(tmp_path.rglob("*")) if p.suffix in (".png", ".jpg"))
    keep = sorted(lost.parent.iterdir())[3]
    keep.unlink()
    with pytest.raises(LabelwiseError, match=rf"1 of 23 image files missing under .*: {keep.name}"):
        read(f"{kind}:{tmp_path}")
    assert len(read(f"{kind}:{tmp_path}?missing=skip")) == 22


def test_unknown_states_and_odd_ones(tmp_path: Path) -> None:
    made.make_rapv1(tmp_path)
    assert "1 cells of value 2 are unknown." in read(f"rapv1:{tmp_path}").notes
    zero = read(f"rapv1:{tmp_path}?unknown=zero")
    assert zero.known.all()
    assert zero.values[6, 3] == 0

    def odd(variables: dict[str, Any]) -> None:
        variables["label"][2, 1] = 3

    made.make_rapv1(tmp_path, odd)
    with pytest.raises(LabelwiseError, match=r"AgeLess16 = 3 of image CAM01_00002.png; expected 0, 1, or 2"):
        read(f"rapv1:{tmp_path}")


def test_a_missing_attribute_is_named(tmp_path: Path) -> None:
    def rename(variables: dict[str, Any]) -> None:
        variables["attributes"] = made.cells([f"x{i}" for i in range(26)])

    made.make_pa100k(tmp_path, rename)
    with pytest.raises(LabelwiseError, match=r"without the attributes Female, AgeOver60, Age18-60"):
        read(f"pa100k:{tmp_path}")

    def spell(variables: dict[str, Any]) -> None:
        names = ["UpperStripe" if n == "UpperStride" else n for n in pa100k.NAMES]
        variables["attributes"] = made.cells(names)

    labels = made.make_pa100k(tmp_path, spell)
    data = read(f"pa100k:{tmp_path}")
    np.testing.assert_array_equal(data.values, labels)
    assert "annotation.mat writes UpperStride as UpperStripe." in data.notes


def test_a_split_with_an_unknown_image_or_an_image_twice(tmp_path: Path) -> None:
    def beyond(variables: dict[str, Any]) -> None:
        variables["partition"][0, 0]["test"] = np.array([[99.0]])

    made.make_peta(tmp_path, beyond)
    with pytest.raises(LabelwiseError, match=r"partition 1, test names image 99; expected 1 to 23"):
        read(f"peta:{tmp_path}")

    def twice(variables: dict[str, Any]) -> None:
        variables["partition"][0, 0]["test"] = np.array([[1.0], [20.0]])

    made.make_peta(tmp_path, twice)
    with pytest.raises(LabelwiseError, match=r"image 00001.png in train and in test; expected each image in"):
        read(f"peta:{tmp_path}")


@pytest.mark.parametrize("kind", ["peta", "rapv2"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_zero_shot_split_of_a_pickled_index(kind: str, protocol: int, tmp_path: Path) -> None:
    labels = MAKERS[kind](tmp_path)
    images = sorted(p.name for p in tmp_path.rglob("*.png"))
    made.make_index(tmp_path / "dataset_zs_run0.pkl", NAMES[kind], labels, images, protocol)
    data = read(f"{kind}:{tmp_path}?split=zs")
    wanted = [n for n in NAMES[kind] if kind == "peta" or n != "Age46-60"]
    assert list(data.labels.names) == wanted
    columns = [NAMES[kind].index(name) for name in wanted]
    np.testing.assert_array_equal(data.values, labels[:, columns] == 1)
    assert data.splits() == made.COUNTS


def test_nuswide(tmp_path: Path) -> None:
    labels = made.make_nuswide(tmp_path)
    data = read(str(tmp_path))
    assert data.source == f"nuswide:{tmp_path}"
    np.testing.assert_array_equal(data.values, labels)
    assert data.splits() == {"train": 17, "test": 6}
    file = tmp_path / "Groundtruth" / "TrainTestLabels" / "Labels_concept03_Test.txt"
    whole = file.read_text()
    file.write_text(whole[:6])
    with pytest.raises(LabelwiseError, match=r"concept03_Test.txt with 3 lines; expected 6, one per image"):
        read(f"nuswide:{tmp_path}")
    file.write_text(whole.replace("1", "yes"))
    with pytest.raises(LabelwiseError, match=r"'yes' in line .*; expected 0 or 1"):
        read(f"nuswide:{tmp_path}")
    file.unlink()
    with pytest.raises(
        LabelwiseError, match=r"without Groundtruth/TrainTestLabels/Labels_concept03_Test.txt"
    ):
        read(f"nuswide:{tmp_path}")


def test_nuswide_with_an_image_in_both_lists(tmp_path: Path) -> None:
    made.make_nuswide(tmp_path)
    file = tmp_path / "ImageList" / "TestImagelist.txt"
    file.write_text(file.read_text().replace("0017_17", "0000_0"))
    with pytest.raises(LabelwiseError, match=r"image actor/0000_0.jpg twice in ImageList"):
        read(f"nuswide:{tmp_path}")


def test_visual_genome(tmp_path: Path) -> None:
    labels = made.make_vg(tmp_path)
    data = read(f"vg:{tmp_path}")
    np.testing.assert_array_equal(data.values, labels)
    np.testing.assert_array_equal(read(f"vg:{tmp_path}?labels=200").values, labels[:, :200])
    assert data.splits() == {"train": 17, "test": 6}
    file = tmp_path / "vg_category_500_labels_index.json"
    whole = file.read_text()
    file.write_text(whole[:-9])
    with pytest.raises(LabelwiseError, match=r"expected a whole JSON file"):
        read(f"vg:{tmp_path}")
    file.write_text(whole.replace("[0, ", "[500, ", 1))
    with pytest.raises(LabelwiseError, match=r"labels of 0.jpg are .*; expected numbers from 0 to 499"):
        read(f"vg:{tmp_path}")
    (tmp_path / "test_list_500.txt").write_text("77.jpg\n")
    with pytest.raises(LabelwiseError, match=r"without 1 listed images: 77.jpg"):
        read(f"vg:{tmp_path}")


def test_coco_of_2014(tmp_path: Path) -> None:
    labels = made.make_coco(tmp_path)
    data = read(str(tmp_path))
    assert data.source == f"coco:{tmp_path}"
    np.testing.assert_array_equal(data.values, labels)
    assert data.splits() == {"train": 17, "test": 6}
    assert "val2014 is called test, as the field uses it." in data.notes
    (tmp_path / "annotations" / "instances_val2014.json").unlink()
    with pytest.raises(LabelwiseError, match=r"without annotations/instances_val2014.json"):
        read(f"coco:{tmp_path}")


def _splits(data: Dataset) -> dict[str, int]:
    return data.splits()


def test_what_becomes_of_val(tmp_path: Path) -> None:
    made.make_voc2012(tmp_path)
    assert _splits(read(f"voc:{tmp_path}")) == {"train": 14, "val": 9}
    as_test, joined = (read(f"voc:{tmp_path}?val_as={fate}") for fate in ("test", "train"))
    assert _splits(as_test) == {"train": 14, "test": 9}
    assert _splits(joined) == {"train": 23}
    np.testing.assert_array_equal(as_test.values, joined.values)
    made.make_peta(tmp_path / "peta")
    assert _splits(read(f"peta:{tmp_path / 'peta'}?val_as=train")) == {"train": 17, "test": 6}
    with pytest.raises(LabelwiseError, match=r"which has a test split; expected one test split"):
        read(f"peta:{tmp_path / 'peta'}?val_as=test")
    made.make_nuswide(tmp_path / "nus")
    with pytest.raises(LabelwiseError, match=r"expected a source with train and val"):
        read(f"nuswide:{tmp_path / 'nus'}?val_as=train")


def test_a_folder_of_rap_must_be_named(tmp_path: Path) -> None:
    made.make_rapv2(tmp_path)
    with pytest.raises(LabelwiseError, match=r"of no known kind"):
        read(str(tmp_path))
