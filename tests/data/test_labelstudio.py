"""Label Studio exports: files in its format, files of its own converter, and broken ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.data import Dataset, read
from labelwise.data.readers import labelstudio
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
CONVERTED = Path(__file__).parent / "tools" / "label-studio-sdk-2.1.2"


def states(data: Dataset) -> dict[str, dict[str, int | None]]:
    """The state of each label by the image's file name; `None` is unknown."""
    return {
        Path(data.image_id(i)).name: {
            name: int(data.values[i, j]) if data.known[i, j] else None for j, name in enumerate(data.labels)
        }
        for i in range(len(data))
    }


def choice(*names: str, control: str = "choice") -> dict[str, Any]:
    return {
        "id": "a1",
        "type": "choices",
        "from_name": control,
        "to_name": "image",
        "value": {"choices": [*names]},
    }


def annotation(*results: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 1, "completed_by": 1, "was_cancelled": False, "result": [*results], **more}


def task(image: str, *annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"image": image}, "annotations": [*annotations], "predictions": [], **more}


def save(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def flat(image: str, labels: list[str] | None) -> dict[str, Any]:
    """A row as the converter writes it: no key, a text, or an object."""
    row: dict[str, Any] = {"picture": image, "id": 1}
    if labels:
        row["what"] = labels[0] if len(labels) == 1 else {"choices": labels}
    value = None if labels is None else 1
    return {**row, "annotator": value, "annotation_id": value, "created_at": value, "lead_time": value}


def save_csv(path: Path, rows: list[dict[str, Any]], mark: str = ",") -> Path:
    names = sorted({key for row in rows for key in row} | {"updated_at", "what"})
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names, quoting=csv.QUOTE_NONNUMERIC, delimiter=mark)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()})
    return path


def test_every_form_has_the_same_cells_as_a_slow_loop(tmp_path: Path, photo: Photo) -> None:
    rng = np.random.default_rng(5)
    offered = ["cat", "street, wet", "a; b", "{odd}", "ünï"]
    answers: dict[str, list[str] | None] = {}
    for i in range(30):
        image = f"{rng.bytes(4).hex()}-{i}.jpg"
        photo(tmp_path / "upload" / "1" / image, seed=i)
        count = int(rng.integers(-1, 4))
        answers[image] = None if count < 0 else rng.permutation(offered)[:count].tolist()
    tasks = [
        task(f"/data/upload/1/{k}", *([] if v is None else [annotation(choice(*v))]))
        for k, v in answers.items()
    ]
    rows = [flat(f"/data/upload/1/{k}", v) for k, v in answers.items()]
    files = [save(tmp_path / "full.json", tasks), save(tmp_path / "min.json", rows)]
    files += [save_csv(tmp_path / "t.csv", rows), save_csv(tmp_path / "t.tsv", rows, "\t")]
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + files[2].read_bytes())
    occurring = sorted({name for labels in answers.values() for name in labels or ()})
    for file in [*files, tmp_path / "bom.csv"]:
        assert labelstudio.recognises(file)
        for blank in ("unknown", "negative"):
            cells = states(read(f"labelstudio:{file}?blank={blank}"))
            for image, labels in answers.items():
                silent = labels is None or (labels == [] and blank == "unknown")
                expected = {name: None if silent else int(name in labels) for name in occurring}  # type: ignore[operator]
                assert cells[image] == expected, (file.name, blank, image)


LABELS = {"Animal", "Animal / Cat", "cat", "dog", "face", "rain", "street, wet", "sun"}
ANSWERS = {
    "p1": {
        "Animal": 1,
        "Animal / Cat": 1,
        "cat": 1,
        "dog": 0,
        "street, wet": 1,
        "face": 1,
        "sun": 1,
        "rain": 0,
    },
    "p2": {"cat": 0, "dog": 1, "street, wet": 0, "face": 0},
    "p3": {},
    "p4": {"face": 0},
    "p5": {},
    "p6": {"cat": 0, "dog": 1, "street, wet": 0, "face": 0, "sun": 0, "rain": 1},
}


@pytest.mark.parametrize("name", ["JSON.json", "JSON_MIN.json", "CSV.csv", "TSV.tsv"])
def test_what_the_real_converter_wrote(name: str) -> None:
    file = CONVERTED / name
    assert labelstudio.recognises(file)
    full = name == "JSON.json"
    data = read(f"labelstudio:{file}" + ("" if full else "?control=objects,kind,box,weather"))
    # The converter leaves out a task if all its annotations were skipped; the full JSON keeps it.
    images = [image for image in ANSWERS if full or image != "p5"]
    by_image = {name.split("-")[1][:2]: cells for name, cells in states(data).items()}
    assert by_image == {image: {n: ANSWERS[image].get(n) for n in sorted(LABELS)} for image in images}
    assert data.labels.groups["weather"].exclusive
    assert not data.labels.groups["objects"].exclusive
    row = [Path(data.image_id(i)).name for i in range(len(data))].index("0a1b2c31-p1.jpg")
    assert data.boxes_of(row) == [(data.labels.index("face"), 0.25, 0.0, 0.75, 0.5)]
    assert data[0].image.shape == (3, 8, 8)


def test_columns_of_texts_are_noted_or_required(tmp_path: Path, photo: Photo) -> None:
    data = read(f"labelstudio:{CONVERTED / 'CSV.csv'}")
    assert "sun" not in data.labels.names
    assert any("control=NAME,NAME: remark, title, weather" in note for note in data.notes)
    rows = [{**flat("1.jpg", ["cat"]), "title": "mine"}, {**flat("2.jpg", ["dog"]), "title": "yours"}]
    with pytest.raises(
        LabelwiseError, match=r"2 columns that could hold the choices: what, title; .*control=NAME"
    ):
        read(f"labelstudio:{save(tmp_path / 'x.json', rows)}")
    plain = [{**row, "picture": f"{i}.jpg", "title": f"thumb{i}.jpg"} for i, row in enumerate(rows)]
    for i in range(2):
        photo(tmp_path / f"{i}.jpg", seed=i)
    assert read(f"labelstudio:{save(tmp_path / 'y.json', plain)}").labels.names == ("cat", "dog")
    numbers = [{**row, "what": "1" if i else "many", "title": str(i)} for i, row in enumerate(plain)]
    assert read(f"labelstudio:{save(tmp_path / 'z.json', numbers)}").labels.names == ("1", "many")
    with pytest.raises(LabelwiseError, match="control=no; expected one of: what, title"):
        read(f"labelstudio:{tmp_path / 'x.json'}?control=no")


def test_the_coco_export_is_another_kind() -> None:
    assert not labelstudio.recognises(CONVERTED / "COCO.json")
    with pytest.raises(
        LabelwiseError, match=r"COCO.json with no list on top; expected a Label Studio export"
    ):
        read(f"labelstudio:{CONVERTED / 'COCO.json'}")


def test_annotators_who_contradict_each_other(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "1.jpg")
    photo(tmp_path / "2.jpg", seed=2)
    both = [annotation(choice("cat")), annotation(choice("cat", "dog"), id=2), annotation(id=3)]
    file = save(tmp_path / "x.json", [task("1.jpg", *both), task("2.jpg", annotation(choice("dog")))])
    with pytest.raises(WouldLose, match=r"1.jpg \(task 7, annotation 1, task 7, annotation 2\) on dog"):
        read(f"labelstudio:{file}")
    assert states(read(f"labelstudio:{file}?duplicates=union"))["1.jpg"] == {"cat": 1, "dog": 1}
    data = read(f"labelstudio:{file}?duplicates=unknown")
    assert states(data)["1.jpg"] == {"cat": 1, "dog": None}
    assert not any("nobody annotated" in note for note in data.notes)


def test_uploads_under_their_original_names(tmp_path: Path, photo: Photo) -> None:
    for i, name in enumerate(["a b.jpg", "deep/2.jpg", "00112233-3.jpg", "same.jpg"]):
        photo(tmp_path / "mine" / name, seed=i)
    images = ["/data/upload/1/0a1b2c3d-a%20b.jpg", "http://host/x/99112233-2.jpg?w=1", "00112233-3.jpg"]
    tasks = [task(image, annotation(choice("cat"))) for image in images]
    file = save(tmp_path / "x.json", tasks)
    data = read(f"labelstudio:{file}?images={tmp_path / 'mine'}")
    assert [data.image_id(i) for i in range(3)] == ["a b.jpg", "deep/2.jpg", "00112233-3.jpg"]
    assert any(note.startswith("2 images are matched without the prefix of an upload") for note in data.notes)
    two = ["/data/upload/1/0a1b2c3d-same.jpg", "/data/upload/1/ffffffff-same.jpg"]
    save(file, [*tasks, *(task(image, annotation(choice("cat"))) for image in two)])
    with pytest.raises(WouldLose, match="2 of 5 image files missing"):
        read(f"labelstudio:{file}?images={tmp_path / 'mine'}")


def test_local_files_and_two_controls_with_one_name(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images" / "set" / "1.jpg")
    results = [choice("other", control="place"), choice("other", "sun", control="sky")]
    file = save(tmp_path / "x.json", [task("/data/local-files/?d=set/1.jpg", annotation(*results))])
    data = read(f"labelstudio:{file}")
    assert data.labels.names == ("place: other", "sky: other", "sky: sun")
    assert read(f"labelstudio:{file}?control=sky").labels.names == ("other", "sun")
    with pytest.raises(LabelwiseError, match=r"control=skies, which has no labels; expected .*: place, sky"):
        read(f"labelstudio:{file}?control=skies")


def test_the_key_of_the_image(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "1.jpg")
    one = task("1.jpg", annotation(choice("cat")))
    one["data"] |= {"thumb": "t.jpg", "page": 3}
    data = read(f"labelstudio:{save(tmp_path / 'x.json', [one])}")
    assert any("'image'; image, thumb look like images too" in note for note in data.notes)
    one["data"]["left"] = one["data"].pop("image")
    file = save(tmp_path / "x.json", [one])
    with pytest.raises(LabelwiseError, match=r"2 keys that hold images: thumb, left; .* image=KEY"):
        read(f"labelstudio:{file}")
    assert len(read(f"labelstudio:{file}?image=left")) == 1


GOOD = task("1.jpg", annotation(choice("cat")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "with an empty list on top"),
        ([3], "the first entry|with no names, without annotation_id"),
        ([GOOD, 3], "entry 2 without data"),
        ([task("1.jpg")], "without a single label"),
        (
            [GOOD, {**GOOD, "annotations": [1, 2]}],
            "task 7: annotations \\[1, 2\\]; expected a list of objects",
        ),
        ([task("1.jpg", annotation(choice(3)))], "control 'choice': \\[3\\]; expected a list of label names"),  # type: ignore[arg-type]
        ([GOOD, task("", annotation())], 'task 7 with image ""; expected the path or URL of one image'),
        ([task(["1.jpg"], annotation())], "no keys that hold images|task 7 with image"),  # type: ignore[arg-type]
        ([{"image": "1.jpg", "annotations": [{"label": "cat"}]}], "entry 1 without data"),
        ([{"image": "1.jpg", "labels": ["cat"]}], "with image, labels, without annotation_id"),
    ],
)
def test_entries_of_another_kind(tmp_path: Path, photo: Photo, content: Any, message: str) -> None:
    photo(tmp_path / "1.jpg")
    with pytest.raises(LabelwiseError, match=message) as caught:
        read(f"labelstudio:{save(tmp_path / 'x.json', content)}")
    assert "\n" not in str(caught.value)


def test_broken_files(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "1.jpg")
    whole = save_csv(tmp_path / "x.csv", [flat("1.jpg", ["cat"]), flat("1.jpg", ["cat", "dog"])])
    text = whole.read_text(encoding="utf-8")
    for broken, message in (
        (json.dumps([GOOD])[:-30], "not JSON"),
        (text.replace("dog", 'd"og'), r"column 'what': .*expected a choice, or choices|line 3:"),
        (text.rstrip()[:-3], "line 3:|row 3"),
        (text.partition("\n")[0], "without rows"),
        ("", "without rows"),
        (text.replace("annotation_id", "x"), "without annotation_id; expected a Label Studio export"),
    ):
        file = tmp_path / "broken"
        file.write_text(broken, encoding="utf-8")
        with pytest.raises(LabelwiseError, match=message):
            read(f"labelstudio:{file}")
    file.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(LabelwiseError, match=r"an archive; .*; unpack it"):
        read(f"labelstudio:{file}")


def test_files_of_others_are_not_recognised(tmp_path: Path) -> None:
    for text in (
        '[{"image": "1.jpg", "annotations": [{"label": "data", "coordinates": {"x": 1}}]}]',
        '{"images": [], "annotations": [], "categories": []}',
        '[{"id": 1, "data": {"image": "1.jpg"}}]',
        "image,labels,id\n1.jpg,cat,1\n",
        "<annotations></annotations>",
        "",
    ):
        file = tmp_path / "x"
        file.write_text(text, encoding="utf-8")
        assert not labelstudio.recognises(file), text
    assert not labelstudio.recognises(tmp_path)
    assert not labelstudio.recognises(tmp_path / "absent")
