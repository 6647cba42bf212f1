"""Data sets of the package `datasets`, compared with the result of the package itself."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from labelwise.cli import main
from labelwise.data import Dataset, read
from labelwise.data.contents import dataset_content_codes
from labelwise.data.readers import hf
from labelwise.data.readers.huggingface import decoded_names, features_of, names_of_classes
from labelwise.errors import LabelwiseError

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
datasets = pytest.importorskip("datasets", reason="the package `datasets` is not installed")

NAMES = ["person", "cat", "never", "dog, small"]
ROWS: list[list[int] | None] = [[0, 3], [], [1], [3, 1, 0], None, [0], [1, 3]]


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress bars, no network access, and a separate cache."""
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), (seed * 7 % 256, 90, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def photographs(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / f"{i}.png").write_bytes(picture(i))
    return [str(folder / f"{i}.png") for i in range(count)]


def of_lists(rows: Sequence[list[int] | None], start: int = 0) -> Any:
    features = datasets.Features(
        image=datasets.Image(), labels=datasets.Sequence(datasets.ClassLabel(names=NAMES))
    )
    columns = {"image": [picture(start + i) for i in range(len(rows))], "labels": list(rows)}
    return datasets.Dataset.from_dict(columns, features=features)


def states(rows: Any, names: Sequence[str], column: str = "labels") -> list[list[int | None]]:
    """States that the package reads: 1 for a named label, else 0, `None` in a row without an answer."""
    feature = rows.features[column]
    label = getattr(feature, "feature", feature)
    rows_of_states = []
    for cell in rows.remove_columns("image")[column]:
        cells = cell if isinstance(cell, list) else [cell]
        if cell is None or cells == [-1]:
            rows_of_states.append([None] * len(names))
            continue
        present = [label.int2str(c) if hasattr(label, "int2str") else c for c in cells]
        rows_of_states.append([int(name in present) for name in names])
    return rows_of_states


def cells(data: Dataset) -> list[list[int | None]]:
    return [
        [int(v) if k else None for v, k in zip(*row, strict=True)]
        for row in zip(data.values, data.known, strict=True)
    ]


def contents(rows: Any) -> list[bytes]:
    images = rows.cast_column("image", datasets.Image(decode=False))["image"]
    return [image["bytes"] or Path(image["path"]).read_bytes() for image in images]


def encoded(data: Dataset) -> list[bytes]:
    files = [data.encoded(i) for i in range(len(data))]
    return [file if isinstance(file, bytes) else file.read_bytes() for file in files]


@pytest.mark.parametrize("shards", [1, 3])
def test_splits_that_are_saved_to_disk(tmp_path: Path, shards: int) -> None:
    parts = {"train": of_lists(ROWS), "validation": of_lists(ROWS[:3], 20), "test": of_lists(ROWS[4:], 40)}
    counts = dict.fromkeys(parts, shards)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved", num_shards=counts)
    data = read(f"hf:{tmp_path / 'saved'}")
    assert data.labels.names == tuple(NAMES)  # in the order of the features, `never` among them
    assert data.splits() == {"train": 7, "val": 3, "test": 3}
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        assert cells(data.split(split)) == states(parts[name], NAMES)
        assert encoded(data.split(split)) == contents(parts[name])
    assert hf.recognises(tmp_path / "saved")
    assert hf.recognises(tmp_path / "saved" / "train")


def test_images_stay_in_their_arrow_files(tmp_path: Path) -> None:
    of_lists(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    data = read(f"hf:{tmp_path / 'saved'}")
    assert data.store is not None
    assert data.embedded
    assert not data.holds_bytes
    copy = pickle.loads(pickle.dumps(data))
    assert encoded(copy) == encoded(data) == [picture(i) for i in range(len(ROWS))]
    assert encoded(data.take([5, 2])) == [picture(5), picture(2)]
    assert len(pickle.dumps(data.store)) < 3000
    assert dataset_content_codes(data.take([0, 1, 0, 6])).tolist() == [0, 1, 0, 2]
    assert data[3].image.shape == (3, 8, 12)


def test_compressed_arrow_files(tmp_path: Path) -> None:
    of_lists(ROWS).save_to_disk(tmp_path / "saved")
    file = next((tmp_path / "saved").glob("*.arrow"))
    table = pa.ipc.open_stream(io.BytesIO(file.read_bytes())).read_all()
    with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    data = read(f"hf:{tmp_path / 'saved'}")
    assert data.holds_bytes
    assert encoded(data) == [picture(i) for i in range(len(ROWS))]


def test_rows_that_were_chosen_and_shuffled(tmp_path: Path) -> None:
    chosen = of_lists(ROWS).shuffle(seed=3).select([4, 0, 2])
    chosen.save_to_disk(tmp_path / "saved")
    data = read(f"hf:{tmp_path / 'saved'}")
    assert cells(data) == states(chosen, NAMES)
    assert encoded(data) == contents(chosen)


def test_one_class_a_row_with_none(tmp_path: Path) -> None:
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))
    columns = {"image": [picture(i) for i in range(6)], "label": [3, 0, -1, 1, None, 0]}
    rows = datasets.Dataset.from_dict(columns, features=features)
    rows.save_to_disk(tmp_path / "saved")
    rows.to_parquet(tmp_path / "one" / "train.parquet")
    for folder in ("saved", "one"):
        data = read(f"hf:{tmp_path / folder}")
        assert data.labels.names == tuple(NAMES)  # also `dog, small`, with a comma that separates nothing
        assert cells(data) == [[0, 0, 0, 1], [1, 0, 0, 0], [None] * 4, [0, 1, 0, 0], [None] * 4, [1, 0, 0, 0]]


def test_a_class_column_of_any_name_is_the_labels(tmp_path: Path) -> None:
    features = datasets.Features(
        image=datasets.Image(), breed=datasets.ClassLabel(names=["husky", "toy dog"])
    )
    columns = {"image": [picture(i) for i in range(3)], "breed": [1, 0, 1]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    assert cells(read(f"hf:{tmp_path / 'saved'}")) == [[0, 1], [1, 0], [0, 1]]


def test_texts_need_no_features(tmp_path: Path) -> None:
    columns = {"image": [picture(i) for i in range(4)], "tags": [["b", "a"], [], None, ["c"]]}
    rows = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    rows.save_to_disk(tmp_path / "saved")
    data = read(f"hf:{tmp_path / 'saved'}")
    assert data.labels.names == ("a", "b", "c")
    assert cells(data) == [[1, 1, 0], [0, 0, 0], [None] * 3, [0, 0, 1]]


def test_a_column_a_label(tmp_path: Path) -> None:
    features = datasets.Features(
        image=datasets.Image(),
        cat=datasets.Value("bool"),
        dog=datasets.Value("int8"),
        bird=datasets.ClassLabel(names=["no", "yes"]),
    )
    columns = {"image": [picture(i) for i in range(3)], "cat": [True, False, None]}
    columns |= {"dog": [0, None, 1], "bird": [1, 0, -1]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    data = read(f"hf:{tmp_path / 'saved'}")
    assert data.labels.names == ("cat", "dog", "bird")
    assert cells(data) == [[1, 0, 1], [0, None, 0], [None, 1, None]]


def test_classes_of_boxes(tmp_path: Path) -> None:
    boxes = {"bbox": datasets.Sequence(datasets.Value("float32"), length=4)}
    boxes["category"] = datasets.ClassLabel(names=NAMES)
    features = datasets.Features(image=datasets.Image(), objects=datasets.Sequence(boxes))
    objects = [{"bbox": [[0, 0, 1, 1]] * len(row), "category": row} for row in ([0, 0, 3], [], [1])]
    columns = {"image": [picture(i) for i in range(3)], "objects": objects}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    for options in ("", "?labels=objects.category", "?ignore=objects.bbox"):
        data = read(f"hf:{tmp_path / 'saved'}{options}")
        assert cells(data) == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
        assert ("objects.bbox" in " ".join(data.notes)) == ("ignore" not in options)
    with pytest.raises(LabelwiseError, match="without label columns"):
        read(f"hf:{tmp_path / 'saved'}?ignore=objects")


@pytest.mark.parametrize("as_list", [False, True])
def test_a_field_of_a_struct_by_its_name(tmp_path: Path, as_list: bool) -> None:
    """Metadata of boxes, as the package's documentation writes it, has no features that tell classes."""
    photographs(tmp_path, 3)
    rows = []
    for i, names in enumerate((["cat", "cat"], [], ["dog"])):
        boxes: Any = {"bbox": [[0, 0, 1, 1]] * len(names), "categories": names}
        if as_list:
            boxes = [{"bbox": [0, 0, 1, 1], "categories": name} for name in names]
        rows.append(json.dumps({"file_name": f"{i}.png", "objects": boxes}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    assert cells(read(f"hf:{tmp_path}?labels=objects.categories")) == [[1, 0], [0, 0], [0, 1]]
    with pytest.raises(
        LabelwiseError, match=r"labels=objects\.other; expected columns of .*objects\.categories"
    ):
        read(f"hf:{tmp_path}?labels=objects.other")


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    photographs(tmp_path, 2)
    (tmp_path / "metadata.csv").write_text("file_name,dog,dog\n0.png,1,1\n1.png,0,1\n")
    with pytest.raises(LabelwiseError, match=r"metadata\.csv: column 'dog' twice; expected distinct"):
        read(f"hf:{tmp_path}")


def test_shards_of_the_hub(tmp_path: Path) -> None:
    parts = {"train": of_lists(ROWS), "validation": of_lists(ROWS[2:5], 20)}
    write_shards(tmp_path / "hub", parts, shards=2)
    (tmp_path / "hub" / ".cache").mkdir()
    (tmp_path / "hub" / ".cache" / "old.parquet").write_bytes(b"not of this data set")
    data = read(f"hf:{tmp_path / 'hub'}")
    assert data.labels.names == tuple(NAMES)
    assert data.splits() == {"train": 7, "val": 3}
    assert cells(data) == [*states(parts["train"], NAMES), *states(parts["validation"], NAMES)]
    assert encoded(data) == [*contents(parts["train"]), *contents(parts["validation"])]
    assert hf.recognises(tmp_path / "hub")


def test_shards_in_folders_named_after_their_splits(tmp_path: Path) -> None:
    for split, rows in (("train", ROWS), ("test", ROWS[1:3])):
        (tmp_path / "hub" / split).mkdir(parents=True)
        of_lists(rows).to_parquet(tmp_path / "hub" / split / "0000.parquet")
    data = read(f"hf:{tmp_path / 'hub'}")
    assert data.splits() == {"train": 7, "test": 2}
    assert cells(data.split("test")) == states(of_lists(ROWS[1:3]), NAMES)


def write_shards(folder: Path, parts: dict[str, Any], shards: int) -> None:
    for split, rows in parts.items():
        for i in range(shards):
            file = folder / "data" / f"{split}-{i:05d}-of-{shards:05d}.parquet"
            rows.shard(shards, i, contiguous=True).to_parquet(file)


def test_names_from_the_card_where_the_files_lack_them(tmp_path: Path) -> None:
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCard, DatasetCardData

    rows = of_lists(ROWS)
    write_shards(tmp_path / "hub", {"train": rows}, shards=2)
    for file in (tmp_path / "hub" / "data").iterdir():
        parquet.write_table(parquet.read_table(file).replace_schema_metadata(None), file)
    header = DatasetCardData()
    DatasetInfosDict(default=rows.info).to_dataset_card_data(header)
    (tmp_path / "hub" / "README.md").write_text(str(DatasetCard(f"---\n{header}\n---\n# Cats\n")))
    for folder in (tmp_path / "hub", tmp_path / "hub" / "data"):
        data = read(f"hf:{folder}")
        assert data.labels.names == tuple(NAMES)
        assert cells(data) == states(rows, NAMES)


def test_paths_in_place_of_bytes(tmp_path: Path) -> None:
    paths = photographs(tmp_path / "photos", 4)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
    rows = datasets.Dataset.from_dict({"image": paths, "label": [0, 1, 1, -1]}, features=features)
    rows.to_parquet(tmp_path / "paths" / "train.parquet")
    data = read(f"hf:{tmp_path / 'paths'}")
    assert [data.image_id(i) for i in range(4)] == paths
    assert cells(data) == [[1, 0], [0, 1], [0, 1], [None, None]]
    Path(paths[1]).unlink()
    with pytest.raises(LabelwiseError, match="1 of 4 image files missing"):
        read(f"hf:{tmp_path / 'paths'}")
    assert len(read(f"hf:{tmp_path / 'paths'}?missing=skip")) == 3


def test_the_packages_own_cache(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos")
    loaded = load_folder(tmp_path)
    place = Path(loaded["train"].cache_files[0]["filename"]).parent
    data = read(f"hf:{place}")
    assert data.splits() == {"train": 3, "test": 2}
    assert cells(data.split("train")) == states(loaded["train"], data.labels.names)
    assert Path(data.encoded(0)).is_file()  # such a cache holds paths


FOLDER = {"train": [["cat"], ["cat", "a dog"], []], "test": [["a dog"], ["bird"]]}


def write_folder(folder: Path, form: str = "jsonl") -> None:
    for split, rows in FOLDER.items():
        photographs(folder / split / "deep", len(rows))
        entries = [{"file_name": f"deep/{i}.png", "labels": row} for i, row in enumerate(rows)]
        file = folder / split / f"metadata.{form}"
        if form == "jsonl":
            file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        elif form == "parquet":
            parquet.write_table(pa.Table.from_pylist(entries), file)
        else:
            lines = [f'{entry["file_name"]},"{entry["labels"]}"' for entry in entries]
            file.write_text("\n".join(["file_name,labels", *lines]))


def load_folder(tmp_path: Path) -> Any:
    return datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "photos"), cache_dir=str(tmp_path / "cache")
    )


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_image_folder(tmp_path: Path, form: str) -> None:
    write_folder(tmp_path / "photos", form)
    data = read(f"hf:{tmp_path / 'photos'}")
    assert data.labels.names == ("a dog", "bird", "cat")
    assert data.splits() == {"train": 3, "test": 2}
    loaded = load_folder(tmp_path)
    for split in FOLDER:
        part, rows = data.split(split), loaded[split]
        if form == "csv":  # the package leaves lists in a CSV as text
            rows = rows.map(lambda row: {"labels": json.loads(row["labels"].replace("'", '"'))})
        assert sorted(zip(encoded(part), map(str, cells(part)), strict=True)) == sorted(
            zip(contents(rows), map(str, states(rows, data.labels.names)), strict=True)
        )
    assert hf.recognises(tmp_path / "photos")


def test_metadata_above_the_folders_of_the_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        photographs(tmp_path / split, 2)
    rows = [{"file_name": f"{s}/{i}.png", "cat": i, "dog": None} for s in ("train", "val") for i in (0, 1)]
    rows[0]["dog"] = 1
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read(f"hf:{tmp_path}")
    assert data.splits() == {"train": 2, "val": 2}
    assert cells(data) == [[0, 1], [1, None], [0, None], [1, None]]


def test_images_without_an_entry_are_noted(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos")
    photographs(tmp_path / "photos" / "test" / "more", 2)
    data = read(f"hf:{tmp_path / 'photos'}")
    assert len(data) == 5
    note = "2 image files that the metadata does not name were left out: test/more/0.png."
    assert note in data.notes
    file = tmp_path / "photos" / "train" / "metadata.jsonl"
    file.write_text(file.read_text().replace('"deep/', '".//deep/../deep/'))
    assert note in read(f"hf:{tmp_path / 'photos'}").notes
    assert sum(map(len, load_folder(tmp_path).values())) == 5  # the package silently drops them


def test_an_entry_without_its_image(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos")
    (tmp_path / "photos" / "train" / "deep" / "1.png").unlink()
    with pytest.raises(LabelwiseError, match=r"1 of 5 image files missing .*train/deep/1\.png"):
        read(f"hf:{tmp_path / 'photos'}")
    assert len(read(f"hf:{tmp_path / 'photos'}?missing=skip")) == 4


LABEL = {"names": ["x", "y"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "feature",
    [
        LABEL,
        {"num_classes": 2, "names": ["x", "y"], "names_file": None, "id": None, "_type": "ClassLabel"},
        {"feature": LABEL, "length": -1, "id": None, "_type": "Sequence"},
        {"feature": {**LABEL, "dtype": "int64", "id": None}, "_type": "Sequence"},
        {"feature": LABEL, "_type": "List"},
        {"feature": LABEL, "length": 2, "_type": "List"},
        {"feature": LABEL, "_type": "LargeList"},
        [LABEL],
        [{"names": ["x", "y"]}],
    ],
)
def test_every_form_of_a_class_in_the_features(feature: Any) -> None:
    assert names_of_classes(feature) == ["x", "y"]


NO_CLASSES = [
    None,
    {},
    [],
    {"_type": "Value", "dtype": "int64"},
    {"_type": "Image"},
    {"names": "xy"},
    "ClassLabel",
]
NO_CLASSES += [
    {"names": []},
    {"names": [1, 2]},
    {"feature": {"_type": "Value"}, "_type": "List"},
    [LABEL, LABEL],
]


@pytest.mark.parametrize("feature", NO_CLASSES)
def test_what_is_no_class(feature: Any) -> None:
    assert names_of_classes(feature) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"info"', b'{"info": 3}', b'{"info": {"features": [1]}}']
)
def test_metadata_of_another_meaning(content: bytes) -> None:
    schema = pa.schema([("a", pa.int64())], metadata={"huggingface": content})
    assert features_of(schema) == {}


@given(
    st.lists(
        st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-1, 3)), max_size=4)), max_size=8
    ),
    st.sampled_from([pa.list_(pa.int64()), pa.large_list(pa.int8()), pa.list_(pa.float64())]),
    st.integers(0, 8),
)
def test_decoding_beside_a_loop(rows: list[list[int | None] | None], kind: pa.DataType, cut: int) -> None:
    column = pa.chunked_array([pa.array(rows[:cut], kind), pa.array(rows[cut:], kind)])
    table, every = decoded_names(pa.table({"a": column}), {"a": [{"names": NAMES}]})
    expected = []
    for row in rows:
        named = [NAMES[c] for c in row or () if c is not None and c >= 0]
        expected.append(None if row is None or (row and not named) else named)
    assert table["a"].to_pylist() == expected
    assert every == {"a": tuple(NAMES)}
    single = [None if row is None or not row else row[0] for row in rows]
    table, _ = decoded_names(pa.table({"a": pa.array(single, pa.int32())}), {"a": {"names": NAMES}})
    assert table["a"].to_pylist() == [None if c is None or c < 0 else NAMES[c] for c in single]


@pytest.mark.parametrize("kept", [0, 40, -9, -8, -1, "batch"])
def test_an_arrow_file_that_is_cut_short(tmp_path: Path, kept: int | str) -> None:
    of_lists(ROWS).save_to_disk(tmp_path / "saved")
    file = next((tmp_path / "saved").glob("*.arrow"))
    whole = file.read_bytes()
    if kept == "batch":  # exactly behind the last whole batch: Arrow itself reads that without an error
        kept = whole.rindex(b"\xff\xff\xff\xff\x00\x00\x00\x00")
    file.write_bytes(whole[: int(kept)])
    with pytest.raises(LabelwiseError, match="expected a whole Arrow stream file") as caught:
        read(f"hf:{tmp_path / 'saved'}")
    assert file.name in str(caught.value)


def without_features(folder: Path) -> None:
    file = next(folder.glob("*.arrow"))
    table = pa.ipc.open_stream(io.BytesIO(file.read_bytes())).read_all().replace_schema_metadata(None)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    (folder / "dataset_info.json").unlink()


def class_outside(folder: Path) -> None:
    described = json.loads((folder / "dataset_info.json").read_text())
    file = next(folder.glob("*.arrow"))
    table = pa.ipc.open_stream(io.BytesIO(file.read_bytes())).read_all().replace_schema_metadata(None)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    described["features"]["labels"]["feature"]["names"] = NAMES[:3]
    (folder / "dataset_info.json").write_text(json.dumps(described))


def chosen_by_indices(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    (folder / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            without_features,
            "without features: neither dataset_info.json nor data-00000-of-00001.arrow has them",
        ),
        (
            class_outside,
            "data-00000-of-00001.arrow: class 3 in row 1 of the column 'labels'; expected 0 to 2",
        ),
        (chosen_by_indices, "rows chosen by a second file (datasets before 1.6)"),
        (lambda folder: (folder / "state.json").write_text("{"), "without state.json that lists its files"),
        (lambda folder: next(folder.glob("*.arrow")).unlink(), "expected a whole Arrow stream file"),
        (lambda folder: next(folder.glob("*.arrow")).write_bytes(b"x" * 99), "expected a whole Arrow stream"),
    ],
)
def test_a_saved_folder_that_cannot_be_read(
    tmp_path: Path,
    damage: Any,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    of_lists(ROWS).save_to_disk(tmp_path / "saved")
    damage(tmp_path / "saved")
    monkeypatch.setattr(sys, "argv", ["labelwise", "data", "check", f"hf:{tmp_path / 'saved'}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert message in line


def test_a_struct_of_another_meaning(tmp_path: Path) -> None:
    table = pa.table({"image": [{"width": 3, "url": "x"}], "labels": [["a"]]})
    parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(LabelwiseError, match="without an image column; its columns are image, labels"):
        read(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "without dataset_dict.json, state.json, Parquet files or metadata.jsonl"),
        (("en/train.parquet", "de/train.parquet"), r"Parquet files in several folders: de, en"),
        (
            ("train.parquet", "old/train.parquet"),
            r"hf:.*/d/old, those beside the folders by parquet:.*/train.parquet",
        ),
        (("en/train.csv", "de/train.csv"), r"name the tables themselves, such as csv:.*/d/de/train.csv"),
        (
            ("train.parquet", "extra.parquet"),
            "extra.parquet, without a split in its name, beside train.parquet",
        ),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    for name in files:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"image": ["a.jpg"], "labels": [["a"]]}), tmp_path / "d" / name)
    (tmp_path / "d").mkdir(exist_ok=True)
    with pytest.raises(LabelwiseError, match=message):
        read(f"hf:{tmp_path / 'd'}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"file_name": "0.png", "labels": ["a"]}\n{"file_name": "1.png", "labels": "b"}\n',
            "JSON parse error",
        ),
        (
            '{"name": "0.png", "labels": ["a"]}\n',
            "with the columns name, labels; expected .* column file_name",
        ),
        ('{"file_name": "0.png", "labels": ["a"]}\n{"labels": ["b"]}\n', "row 2 without file_name"),
        ("", "metadata.jsonl"),
        ("not json\n", "JSON parse error"),
    ],
)
def test_metadata_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    photographs(tmp_path, 2)
    (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises(LabelwiseError, match=message):
        read(f"hf:{tmp_path}")


def test_folders_of_other_kinds_are_not_recognised(tmp_path: Path) -> None:
    photographs(tmp_path / "cat", 2)
    (tmp_path / "state.json").write_text("{}")
    for name, text in (
        ("csv", "isic_id,sex\n1,f\n"),
        ("jsonl", '{"id": 3}\n'),
        ("parquet", "none"),
        ("jsonl", "3"),
    ):
        (tmp_path / f"metadata.{name}").write_text(text)
        assert not hf.recognises(tmp_path)
    assert not hf.recognises(tmp_path / "cat" / "0.png")


def test_names_that_differ_between_shards_are_joined(tmp_path: Path) -> None:
    rng = random.Random(0)
    parts = {}
    for split in ("train", "test"):
        names = rng.sample(NAMES, 3)
        features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
        columns = {"image": [picture(i) for i in range(3)], "label": [0, 1, 2]}
        parts[split] = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = read(f"hf:{tmp_path / 'saved'}")
    for split, rows in parts.items():
        assert cells(data.split(split)) == states(rows, data.labels.names, "label")
    shutil.rmtree(tmp_path / "saved" / "test")
    with pytest.raises(LabelwiseError, match=r"test without state\.json"):
        read(f"hf:{tmp_path / 'saved'}")


def test_a_million_bytes_an_image_are_not_copied(tmp_path: Path) -> None:
    features = datasets.Features(image=datasets.Image(), labels=datasets.Sequence(datasets.Value("string")))
    big = [picture(i) + os.urandom(1 << 20) for i in range(24)]
    datasets.Dataset.from_dict({"image": big, "labels": [["a"]] * 24}, features=features).save_to_disk(
        tmp_path / "saved"
    )
    before = pa.total_allocated_bytes()
    data = read(f"hf:{tmp_path / 'saved'}")
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert data.encoded(7) == big[7]
    assert np.all(data.known)
