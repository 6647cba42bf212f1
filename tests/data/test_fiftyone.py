"""FiftyOne's image classification data sets, in the form that its exporter writes, and broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers import fiftyone
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
CLASSES = ["cat", "dog", "never"]
EXPORTED = Path(__file__).parent / "tools" / "fiftyone-1.22.1"


def save(folder: Path, labels: Any, classes: Any = CLASSES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"labels": labels} if classes is None else {"classes": classes, "labels": labels}
    (folder / "labels.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def states(data: Dataset) -> dict[str, list[int] | None]:
    return {
        data.image_id(i): data.values[i].tolist() if data.known[i].all() else None for i in range(len(data))
    }


def test_indices_agree_with_a_slow_loop(tmp_path: Path, photo: Photo) -> None:
    rng = np.random.default_rng(1)
    targets: dict[str, Any] = {}
    for i in range(20):
        name = f"{'deep/' if i % 3 else ''}v1.{i}"
        photo(tmp_path / "data" / f"{name}.{'JPG' if i % 2 else 'jpeg'}", seed=i)
        targets[name] = [None, 1, [], rng.permutation(3)[: i % 4].tolist()][i % 4]
    photo(tmp_path / "data" / "not named.jpg", seed=99)
    del targets["v1.0"]
    for path in (save(tmp_path, targets), tmp_path / "labels.json"):
        assert fiftyone.recognises(path)
        data = read(f"fiftyone:{path}")
        assert data.labels.names == tuple(CLASSES)
        states_of = states(data)
        assert len(states_of) == 21
        for image, values in states_of.items():
            target = targets.get(image.removeprefix("data/").rpartition(".")[0])
            numbers = [target] if isinstance(target, int) else target
            assert values == (None if numbers is None else [int(j in numbers) for j in range(3)]), image
        assert not data.known[[*states_of].index("data/not named.jpg")].any()


def test_what_the_real_exporter_wrote() -> None:
    cells = {"a": [1, 1], "b": None, "c": None, "sub/a": [0, 1], "d": [1, 0], "x.y": [0, 1]}
    data = read(f"fiftyone:{EXPORTED / 'names'}")
    assert data.labels.names == ("cat", "dog")
    assert states(data) == {f"data/{name}.jpg": values for name, values in cells.items()}
    # Without the folder's name two files are called a, and the exporter renames the second.
    cells = {"a-2" if name == "sub/a" else name: values and [*values, 0] for name, values in cells.items()}
    data = read(f"fiftyone:{EXPORTED / 'indices'}")
    assert data.labels.names == tuple(CLASSES)
    assert states(data) == {f"data/{name}.jpg": values for name, values in cells.items()}
    assert data[0].image.shape == (3, 8, 8)


@pytest.mark.parametrize("classes", [CLASSES, None])
def test_labels_by_name_with_what_they_carry(tmp_path: Path, photo: Photo, classes: Any) -> None:
    photo(tmp_path / "data" / "1.jpg")
    target = [{"label": "dog", "confidence": 0.9, "attributes": {"a": 1}}, {"label": "cat"}]
    data = read(f"fiftyone:{save(tmp_path, {'1': target}, classes)}")
    assert states(data) == {"data/1.jpg": [1, 1, 0] if classes else [1, 1]}
    assert any("left out: confidence, attributes" in note for note in data.notes)


def test_boxes(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "data" / "1.jpg")
    save(tmp_path, {"1": [{"label": 1, "bounding_box": [0.25, 0, 0.5, 1]}, {"label": 0}]})
    assert read(f"fiftyone:{tmp_path}").boxes_of(0) == [(1, 0.25, 0, 0.75, 1)]
    for box in ([1, 2], "x", [1, 2, 3, None], [0, 0, 1, 1e40]):
        save(tmp_path, {"1": [{"label": 1, "bounding_box": box}]})
        with pytest.raises(LabelwiseError, match=r"'1': (bounding_box|a box of)"):
            read(f"fiftyone:{tmp_path}")


def test_a_folder_per_split_with_its_own_classes(tmp_path: Path, photo: Photo) -> None:
    for i, (split, classes) in enumerate((("train", ["dog", "cat"]), ("validation", ["cat", "owl"]))):
        photo(tmp_path / split / "data" / "1.jpg", seed=i)
        save(tmp_path / split, {"1": 1}, classes)
    assert fiftyone.recognises(tmp_path)
    data = read(f"fiftyone:{tmp_path}")
    assert data.labels.names == ("dog", "cat", "owl")
    assert states(data) == {"train/data/1.jpg": [0, 1, 0], "validation/data/1.jpg": [0, 0, 1]}
    assert data.splits() == {"train": 1, "val": 1}


def test_a_manifest_and_a_folder_of_images(tmp_path: Path, photo: Photo) -> None:
    image = photo(tmp_path / "elsewhere" / "x.jpg")
    save(tmp_path / "set", {"1": [0]})
    (tmp_path / "set" / "data.json").write_text(json.dumps({"1": str(image)}))
    assert states(read(f"fiftyone:{tmp_path / 'set'}")) == {str(image): [1, 0, 0]}
    save(tmp_path / "set", {"x": [0]})
    data = read(f"fiftyone:{tmp_path / 'set'}?images={tmp_path / 'elsewhere'}")
    assert states(data) == {str(image): [1, 0, 0]}


def test_missing_files_and_two_files_with_one_name(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "data" / "1.jpg")
    save(tmp_path, {"1": [0], "2": [1], "/3": None})
    with pytest.raises(WouldLose, match=r"2 of 3 image files missing .*: data/2, /3"):
        read(f"fiftyone:{tmp_path}")
    assert len(read(f"fiftyone:{tmp_path}?missing=skip")) == 1
    photo(tmp_path / "data" / "1.png")
    with pytest.raises(
        LabelwiseError, match=r"'1', which matches data/1.jpg and data/1.png; expected one file"
    ):
        read(f"fiftyone:{tmp_path}")


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ({"1": 3}, CLASSES, "'1': '3'; expected a number from 0 to 2, or a class"),
        ({"1": [-1]}, CLASSES, "'1': '-1'"),
        ({"1": True}, CLASSES, "'1': 'True'"),
        ({"1": "owl"}, CLASSES, "'1': 'owl'; expected a number from 0 to 2"),
        ({"1": 0}, None, "'1': '0'; expected a label"),
        ({"1": {"confidence": 1}}, CLASSES, "'1': 'None'"),
        ({"1": [0]}, ["a", "a"], "classes with 'a' twice"),
        ({"1": [0]}, "a", "classes a; expected a list of names"),
        ({"1": None}, None, "1 images and no label"),
    ],
)
def test_labels_of_another_kind(
    tmp_path: Path, photo: Photo, labels: Any, classes: Any, message: str
) -> None:
    photo(tmp_path / "data" / "1.jpg")
    save(tmp_path, labels, classes)
    with pytest.raises(LabelwiseError, match=message):
        read(f"fiftyone:{tmp_path}")


def test_files_of_others(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "data" / "1.jpg")
    for text in ('{"labels": [["1.jpg", 3]]}', '{"categories": {"label": {}}, "items": []}', "[]", ""):
        (tmp_path / "labels.json").write_text(text)
        assert not fiftyone.recognises(tmp_path), text
        with pytest.raises(LabelwiseError, match=r"without labels by image|not JSON"):
            read(f"fiftyone:{tmp_path}")
    (tmp_path / "labels.json").write_text('{"classes": ["a"], "labels": {"1": 0')
    with pytest.raises(LabelwiseError, match="not JSON"):
        read(f"fiftyone:{tmp_path}")
    (tmp_path / "labels.json").unlink()
    assert not fiftyone.recognises(tmp_path)
    for path, given in ((tmp_path, "without labels.json"), (tmp_path / "no", "which is no folder")):
        with pytest.raises(
            LabelwiseError, match=f"{given}; expected a FiftyOne image classification data set"
        ):
            read(f"fiftyone:{path}")


@pytest.mark.parametrize("other", ["validation", "valid", "Val"])
def test_two_folders_of_one_split_are_refused(tmp_path: Path, photo: Photo, other: str) -> None:
    for part in ("train", "val", other):
        photo(tmp_path / part / "data" / "a.jpg", seed=len(part))
        save(tmp_path / part, {"a": 0})
    with pytest.raises(LabelwiseError, match="one folder per split; merge the two of one split") as caught:
        read(f"fiftyone:{tmp_path}")
    assert all(name in caught.value.given for name in ("train", "val", other))
