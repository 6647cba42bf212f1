"""Label tables of Open Images."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.data import read
from labelwise.data.readers.openimages import recognises
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError
from labelwise.rules import Rules

Photo = Callable[..., Path]
HEADER = "ImageID,Source,LabelName,Confidence\n"
TREE = {
    "LabelName": "/m/root",
    "Subcategory": [
        {
            "LabelName": "/m/animal",
            "Subcategory": [
                {"LabelName": "/m/dog"},
                {"LabelName": "/m/cat", "Part": [{"LabelName": "/m/tail"}]},
            ],
        },
        {"LabelName": "/m/car"},
    ],
}


def write(folder: Path, name: str, rows: str, header: str = HEADER) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(header + rows)
    return file


def images(folder: Path, photo: Photo, *names: str) -> None:
    for seed, name in enumerate(names):
        photo(folder / name, seed=seed)


def states(data: object) -> dict[str, list[float | None]]:
    """Cells by image file; `None` where unknown."""
    return {
        data.image_id(i): [
            v if k else None for v, k in zip(data.values[i].tolist(), data.known[i], strict=True)
        ]  # type: ignore[attr-defined]
        for i in range(len(data))  # type: ignore[arg-type]
    }


def test_splits_names_and_three_states(tmp_path: Path, photo: Photo) -> None:
    write(
        tmp_path, "oidv6-train-annotations-human-imagelabels.csv", "a1,verification,/m/dog,1\na1,,/m/car,0\n"
    )
    write(tmp_path, "validation-annotations-human-imagelabels.csv", "b1,verification,/m/car,1\n")
    write(tmp_path, "train-annotations-bbox.csv", "", "ImageID,Source,LabelName,Confidence,XMin\n")
    write(
        tmp_path,
        "oidv7-class-descriptions.csv",
        "/m/car,Car\n/m/dog,Dog\n/m/bus,Bus\n",
        "LabelName,DisplayName\n",
    )
    images(tmp_path, photo, "train/a1.jpg", "validation/b1.jpg")
    for source in (str(tmp_path), f"openimages:{tmp_path}"):
        if not source.startswith("openimages"):
            assert recognises(Path(source))
            continue
        data = read(source)
    assert data.labels.names == ("Car", "Dog")
    assert states(data) == {"train/a1.jpg": [0, 1], "validation/b1.jpg": [1, None]}
    assert data.splits() == {"train": 1, "val": 1}
    assert data.notes == (
        "Left out, as they hold no image-level labels: train-annotations-bbox.csv.",
        "1 labels of the files of names occur in no row and were left out.",
        "Confidence 1 is present, 0 absent; a label without a row is unknown.",
        "1 labels are never verified absent: Dog.",
        "1 labels have positives outside train but none in train: Car.",
    )


def test_a_single_file_without_sources_and_names(tmp_path: Path, photo: Photo) -> None:
    file = write(
        tmp_path,
        "annotations/labels.csv",
        "a,/m/dog,1\na,/m/dog,1\nb,/m/dog,0\n",
        "ImageID,LabelName,Confidence\n",
    )
    images(tmp_path, photo, "images/a.jpg", "images/b.png")
    data = read(f"openimages:{file}")
    assert states(data) == {"a.jpg": [1], "b.png": [0]}
    assert data.split_of is None
    assert data.notes[0] == (
        "1 labels are named by their ids, such as /m/dog: no class-descriptions file is beside the table."
    )


def test_names_that_several_labels_share_keep_the_id(tmp_path: Path, photo: Photo) -> None:
    write(tmp_path, "class-descriptions.csv", "/m/1,Bat\n/m/2,Bat\n/m/3,Cat\n", "")
    file = write(tmp_path, "labels.csv", "a,,/m/1,1\na,,/m/2,0\na,,/m/3,0\n")
    images(tmp_path, photo, "a.jpg")
    assert read(f"openimages:{file}").labels.names == ("Bat (/m/1)", "Bat (/m/2)", "Cat")


def test_only_present_rows_and_images_without_a_row(tmp_path: Path, photo: Photo) -> None:
    """Annotation tools export no row with Confidence 0."""
    write(tmp_path, "annotations/train-annotations-human-imagelabels.csv", "a,,cat,1\nsub/b,,dog,1\n")
    header = "ImageID,Subset,OriginalURL,Title,Rotation\n"
    rows = 'a,train,,,\nsub/b,train,,"two\nlines",90.0\nc,train,,,\nd,train,,,\ne,test,,,\n'
    write(tmp_path, "annotations/train-images-with-rotation.csv", rows, header)
    write(tmp_path, "annotations/class-descriptions.csv", "cat,cat\ndog,dog\n", "")
    (tmp_path / "annotations" / "bbox_labels_600_hierarchy.json").write_text('{"LabelName": "/m/0"}')
    images(
        tmp_path,
        photo,
        "images/train/a.jpg",
        "images/train/sub/b.jpg",
        "images/train/c.jpg",
        "images/test/e.jpg",
    )
    data = read(f"openimages:{tmp_path}")
    assert states(data) == {
        "images/train/a.jpg": [1, None],
        "images/train/sub/b.jpg": [None, 1],
        "images/train/c.jpg": [None, None],
    }
    assert data.notes == (
        "1 listed images have no label row.",
        "1 listed images with neither a label row nor a file were left out.",
        "1 images are listed with a Rotation; files are read as they are.",
        "No label is ever verified absent (no row has Confidence 0): a label without a row is unknown; "
        "rest=negative reads it as absent.",
    )
    closed = read(f"openimages:{tmp_path}?rest=negative")
    assert closed.values.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert closed.known.all()


def test_splits_from_the_column_subset(tmp_path: Path, photo: Photo) -> None:
    write(tmp_path, "labels.csv", "a,,cat,1\nb,,cat,0\n")
    write(tmp_path, "image_ids_and_rotation.csv", "a,train,0\nb,validation,\n", "ImageID,Subset,Rotation\n")
    images(tmp_path, photo, "a.jpg", "b.jpg")
    assert read(f"openimages:{tmp_path}").splits() == {"train": 1, "val": 1}


def test_an_image_id_of_two_splits_is_two_images(tmp_path: Path, photo: Photo) -> None:
    for split, state in (("train", 1), ("test", 0)):
        write(tmp_path, f"annotations/{split}-annotations-human-imagelabels.csv", f"1,,cat,{state}\n")
        images(tmp_path, photo, f"images/{split}/1.jpg")
    data = read(f"openimages:{tmp_path}")
    assert states(data) == {"images/test/1.jpg": [0], "images/train/1.jpg": [1]}


def test_rows_by_machine(tmp_path: Path, photo: Photo) -> None:
    rows = "a,verification,x,0\na,machine,x,0.9\na,machine,y,0.7\nb,machine,x,0.4\nb,machine,y,1.0\n"
    file = write(tmp_path, "train-labels.csv", rows)
    images(tmp_path, photo, "a.jpg", "b.jpg")
    with pytest.raises(
        WouldLose, match=r"4 labels by machine, such as a x with Confidence 0\.9.*confidence=skip"
    ):
        read(f"openimages:{file}")
    assert states(read(f"openimages:{file}?confidence=skip")) == {"a.jpg": [0], "b.jpg": [None]}
    assert states(read(f"openimages:{file}?confidence=0.7")) == {"a.jpg": [0, 1], "b.jpg": [None, 1]}
    soft = read(f"openimages:{file}?confidence=soft")
    np.testing.assert_allclose(soft.values, [[0, 0.7], [0.4, 1]], rtol=1e-6)
    assert soft.known.all()
    with pytest.raises(LabelwiseError, match="skip, soft, or a number"):
        read(f"openimages:{file}?confidence=2")


def test_files_of_machine_labels_are_left_out_with_a_note(tmp_path: Path, photo: Photo) -> None:
    write(tmp_path, "train-annotations-human-imagelabels.csv", "a,verification,x,0\n")
    write(tmp_path, "train-annotations-machine-imagelabels.csv", "a,machine,y,0.9\n")
    images(tmp_path, photo, "a.jpg")
    data = read(f"openimages:{tmp_path}")
    assert data.labels.names == ("x",)
    assert "train-annotations-machine-imagelabels.csv" in data.notes[0]
    assert read(f"openimages:{tmp_path}?confidence=0.5").values.tolist() == [[0, 1]]


def test_rows_that_contradict_each_other(tmp_path: Path, photo: Photo) -> None:
    file = write(tmp_path, "labels.csv", "a,,x,0\na,,x,1\nb,,x,1\n")
    images(tmp_path, photo, "a.jpg", "b.jpg")
    with pytest.raises(
        WouldLose, match="1 labels of images that contradict each other; a: x present and absent"
    ):
        read(f"openimages:{file}")
    data = read(f"openimages:{file}?duplicates=unknown")
    assert states(data) == {"a.jpg": [None], "b.jpg": [1]}
    assert "1 cells that contradict each other are unknown." in data.notes
    assert states(read(f"openimages:{file}?duplicates=unknown&rest=negative")) == {
        "a.jpg": [None],
        "b.jpg": [1],
    }
    assert states(read(f"openimages:{file}?duplicates=union")) == {"a.jpg": [1], "b.jpg": [1]}


def test_a_hierarchy(tmp_path: Path, photo: Photo) -> None:
    write(tmp_path, "class-descriptions.csv", "/m/dog,Dog\n/m/cat,Cat\n/m/animal,Animal\n/m/car,Car\n", "")
    file = write(tmp_path, "labels.csv", "a,,/m/dog,1\na,,/m/cat,0\nb,,/m/animal,0\nb,,/m/car,1\n")
    tree = tmp_path / "bbox_labels_600_hierarchy.json"
    tree.write_text(json.dumps(TREE))
    images(tmp_path, photo, "a.jpg", "b.jpg")
    data = read(f"openimages:{file}")
    assert data.labels.names == ("Dog", "Cat", "Animal", "Car")
    assert states(data) == {"a.jpg": [1, 0, 1, None], "b.jpg": [0, 0, 0, 1]}
    assert data.labels.rules == Rules((("Dog", "Animal"), ("Cat", "Animal")))
    assert data.notes[0].startswith("By bbox_labels_600_hierarchy.json a present label")
    plain = read(f"openimages:{file}?hierarchy=none")
    assert states(plain) == {"a.jpg": [1, 0, None, None], "b.jpg": [None, None, 0, 1]}
    few = read(f"openimages:{file}?labels=Animal,/m/car")
    assert few.labels.names == ("Animal", "Car")
    assert states(few) == {"a.jpg": [1, None], "b.jpg": [0, 1]}
    assert not few.labels.rules
    assert not plain.labels.rules
    tree.write_text("[]")
    with pytest.raises(
        LabelwiseError, match=r"bbox_labels_600_hierarchy\.json.*a tree of LabelName and Subcategory"
    ):
        read(f"openimages:{file}")
    with pytest.raises(LabelwiseError, match="hierarchy='x'; expected a file, or none"):
        read(f"openimages:{file}?hierarchy=x")


def test_labels_that_contradict_the_hierarchy(tmp_path: Path, photo: Photo) -> None:
    file = write(tmp_path, "labels.csv", "a,,/m/dog,1\na,,/m/animal,0\nb,,/m/dog,0\n")
    (tmp_path / "hierarchy.json").write_text(json.dumps(TREE))
    images(tmp_path, photo, "a.jpg", "b.jpg")
    with pytest.raises(WouldLose, match=r"a: /m/dog without /m/animal; .*hierarchy=none"):
        read(f"openimages:{file}")
    assert states(read(f"openimages:{file}?duplicates=unknown")) == {
        "a.jpg": [None, None],
        "b.jpg": [None, 0],
    }
    assert states(read(f"openimages:{file}?duplicates=union")) == {"a.jpg": [1, 1], "b.jpg": [None, 0]}


def test_chosen_labels_from_a_file(tmp_path: Path, photo: Photo) -> None:
    file = write(tmp_path, "labels.csv", "a,,x,1\na,,y,0\nb,,y,1\n")
    images(tmp_path, photo, "a.jpg", "b.jpg")
    (tmp_path / "chosen.txt").write_text("x\nx\n")
    data = read(f"openimages:{file}?labels={tmp_path / 'chosen.txt'}")
    assert states(data) == {"a.jpg": [1]}
    assert data.notes[-1] == "1 images without a row of these labels were left out."
    assert "1 labels that labels= does not name were left out." in data.notes
    with pytest.raises(LabelwiseError, match="'z' is no label"):
        read(f"openimages:{file}?labels=z")


def test_missing_images(tmp_path: Path, photo: Photo) -> None:
    file = write(tmp_path, "labels.csv", "gone,,x,1\na,,x,0\na,,y,1\n")
    images(tmp_path, photo, "a.jpg")
    with pytest.raises(WouldLose, match=r"1 of 2 image files missing under .*: gone\.jpg"):
        read(f"openimages:{file}")
    data = read(f"openimages:{file}?missing=skip")
    assert states(data) == {"a.jpg": [0, 1]}
    assert data.rows_in_source == 2
    assert data.notes[-1] == "1 rows whose image file is missing were left out: gone.jpg."


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ("", HEADER, "without rows; expected a row for each label"),
        ("a,,x,yes\n", HEADER, r"line 2: Confidence 'yes'"),
        ("a,,x,1\na,,x,\n", HEADER, "row 3 without a Confidence"),
        ("a,,x,2\n", HEADER, "row 2 with a Confidence outside 0 to 1"),
        (",,x,1\n", HEADER, "row 2 without ImageID"),
        ("a,,,1\n", HEADER, "row 2 without LabelName"),
        ("a,,x,1\na,x,1\n", HEADER, "Row #3: Expected 4 columns, got 3"),
        ("a,x\n", "ImageID,LabelName\n", "with the header 'ImageID, LabelName'"),
        ("a,,x,1,0\n", HEADER[:-1] + ",XMin\n", "name the file of image-level labels"),
        ("a,,x,1\n", "ImageID,Source,LabelName,Confidence,Source\n", "a column twice"),
    ],
)
def test_refusals(tmp_path: Path, photo: Photo, rows: str, header: str, message: str) -> None:
    file = write(tmp_path, "labels.csv", rows, header)
    images(tmp_path, photo, "a.jpg")
    with pytest.raises(LabelwiseError, match=message):
        read(f"openimages:{file}")


def test_a_folder_without_label_tables(tmp_path: Path) -> None:
    write(tmp_path, "boxes.csv", "", "ImageID,Source,LabelName,Confidence,XMin\n")
    with pytest.raises(
        LabelwiseError, match=r"without image-level labels; boxes\.csv holds no image-level labels"
    ):
        read(f"openimages:{tmp_path}")
    with pytest.raises(LabelwiseError, match="does not exist"):
        read(f"openimages:{tmp_path / 'none'}")
    assert not recognises(tmp_path)
    assert not recognises(tmp_path / "boxes.csv")


IDS = ["/m/animal", "/m/dog", "/m/cat", "/m/car"]
ABOVE = {"/m/dog": ["/m/animal"], "/m/cat": ["/m/animal"]}


def slow(rows: Sequence[tuple[str, str, int]], policy: str) -> Mapping[tuple[str, str], int] | None:
    """Cells by image and label in a plain loop over rows; `None` if contradictory rows are an error."""
    cells: dict[tuple[str, str], set[int]] = {}
    for image, label, state in rows:
        cells.setdefault((image, label), set()).add(state)
    if policy == "stop" and any(len(seen) > 1 for seen in cells.values()):
        return None
    plain = {key: 1 if 1 in seen else 0 for key, seen in cells.items() if len(seen) == 1 or policy == "union"}
    implied: dict[tuple[str, str], set[int]] = {}
    for (image, label), state in plain.items():
        below = [name for name, upper in ABOVE.items() if label in upper]
        for name in [label, *(ABOVE.get(label, []) if state else below)]:
            implied.setdefault((image, name), set()).add(state)
    if policy == "stop" and any(len(seen) > 1 for seen in implied.values()):
        return None
    return {
        key: 1 if 1 in seen else 0 for key, seen in implied.items() if len(seen) == 1 or policy == "union"
    }


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(IDS), st.integers(0, 1)), min_size=1, max_size=12
    ),
    st.sampled_from(["stop", "unknown", "union"]),
)
def test_cells_follow_the_rows_one_by_one(rows: list[tuple[str, str, int]], policy: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, "class-descriptions.csv", "".join(f"{key},{key}\n" for key in IDS), "")
        file = write(folder, "labels.csv", "".join(f"{i},,{label},{state}\n" for i, label, state in rows))
        (folder / "hierarchy.json").write_text(json.dumps(TREE))
        for image in "abc":
            (folder / f"{image}.jpg").touch()
        expected = slow(rows, policy)
        if expected is None:
            with pytest.raises(WouldLose, match="contradict each other"):
                read(f"openimages:{file}?duplicates={policy}")
            return
        data = read(f"openimages:{file}?duplicates={policy}")
        cells = {
            (data.image_id(i)[0], label): int(data.values[i, j])
            for i in range(len(data))
            for j, label in enumerate(data.labels.names)
            if data.known[i, j]
        }
        columns = {label for _, label, _ in rows}
        columns |= {upper for _, label, state in rows if state for upper in ABOVE.get(label, ())}
        assert set(data.labels) == columns
        assert cells == {key: state for key, state in expected.items() if key[1] in columns}
