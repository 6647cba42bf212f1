"""The readers of tables, annotations and indices, to be fuzzed; and the list of all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from fuzz_binary import arrays, artefacts, corrections, images
from fuzz_target import Target, demand, from_source, sound
from pyarrow import parquet

import official_layouts as layouts
from labelwise.data import read
from labelwise.data.dataset import Dataset
from labelwise.data.readers import peta
from labelwise.data.table import METADATA_KEY, write_table


def tables(base: Path) -> list[Target]:
    """Tables as text: CSV of states and of names, with splits and groups."""
    layouts.pictures(base, [f"{i}.jpg" for i in range(4)])
    seeds = [
        b"image,cat,dog,split,group\n0.jpg,1,0,train,a\n1.jpg,0,,train,b\n2.jpg,0.5,1,val,c\n3.jpg,1,1,test,\n",
        b"path;labels\r\n0.jpg;cat|traffic light\r\n1.jpg;\r\n2.jpg;dog\r\n",
        '\ufeffimage\tKüche\n"0.jpg"\t1\n1.jpg\tna\n'.encode(),
        b",file,cat\n0,0.jpg,1\n1,1.jpg,0\n2,1.jpg,0\n",
        b'image,tags\n"0.jpg","cat,dog"\n1.jpg,"a ""b"""\n',
    ]
    return [
        Target("csv", seeds, from_source(base / "t.csv", f"csv:{base / 't.csv'}", _rows_of_csv)),
        Target(
            "csv-missing-skip",
            seeds,
            from_source(base / "s.csv", f"csv:{base / 's.csv'}?missing=skip&duplicates=unknown"),
        ),
    ]


def _rows_of_csv(data: bytes, found: Dataset) -> None:
    """Rows counted by another parser, line by line of what is quoted."""
    codec = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(codec)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    counts = {
        sum(1 for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if row) - 1
        for mark in ",;\t|"
    }
    demand(found.rows_in_source in counts, f"{found.rows_in_source} rows of {sorted(counts)}")


def coco(base: Path) -> Target:
    """COCO's annotations."""
    layouts.pictures(base / "coco", ["a.jpg", "b.jpg"])
    content = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 12, "height": 20},
            {"id": 2, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 5.5, 6], "iscrowd": 0},
            {"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 2, 5, 6], "iscrowd": 1},
        ],
    }
    file = base / "coco" / "instances.json"
    return Target("coco", [json.dumps(content).encode()], from_source(file, f"coco:{file}"))


def voc(base: Path) -> list[Target]:
    """A VOC tree: one annotation changed, or one list."""
    root = base / "voc"
    layouts.make_voc2007(root)
    note, lists = root / "Annotations" / "2008_000000.xml", root / "ImageSets" / "Main" / "train.txt"
    valid, listed = note.read_bytes(), lists.read_bytes()
    difficult = valid.replace(b"</name>", b"</name><difficult>1</difficult>", 1)
    sizeless = valid.replace(b"<size><width>12</width><height>20</height></size>", b"")
    encoded = b'<?xml version="1.0" encoding="utf-8"?>\n' + valid
    keep = {note: valid, lists: listed}

    def alone(file: Path) -> Callable[[bytes], Any]:
        inner = from_source(file, f"voc:{root}")

        def call(data: bytes) -> None:
            for other, content in keep.items():
                other.write_bytes(content)
            inner(data)

        return call

    return [
        Target("voc-xml", [valid, difficult, sizeless, encoded], alone(note)),
        Target("voc-list", [listed], alone(lists)),
    ]


def matlab(base: Path) -> list[Target]:
    """MATLAB files of pedestrian attributes."""
    found = []
    for name, make, file in (
        ("pa100k", layouts.make_pa100k, "annotation.mat"),
        ("peta", layouts.make_peta, "PETA.mat"),
        ("rapv1", layouts.make_rapv1, "RAP_annotation/RAP_annotation.mat"),
    ):
        root = base / name
        make(root)
        found.append(
            Target(f"mat-{name}", [(root / file).read_bytes()], from_source(root / file, f"{name}:{root}"))
        )
    return found


def pickles(base: Path) -> list[Target]:
    """The pickled index, in three protocols."""
    root = base / "pickled"
    labels = layouts.make_peta(root)[:, :35]
    (root / "PETA.mat").unlink()
    names, seeds = [f"{i + 1:05d}.png" for i in range(layouts.TOTAL)], []
    for protocol in (2, 4, 5):
        layouts.make_index(root / "dataset_all.pkl", peta.NAMES, labels, names, protocol)
        seeds.append((root / "dataset_all.pkl").read_bytes())
    return [Target("pickle", seeds, from_source(root / "dataset_all.pkl", f"peta:{root}"))]


def lists(base: Path) -> list[Target]:
    """Lists and labels of NUS-WIDE and Visual Genome."""
    nus, genome = base / "nus", base / "vg"
    layouts.make_nuswide(nus)
    layouts.make_vg(genome)
    found = []
    for root, kind, names in (
        (
            nus,
            "nuswide",
            (
                "Concepts81.txt",
                "ImageList/TestImagelist.txt",
                "Groundtruth/TrainTestLabels/Labels_concept03_Test.txt",
            ),
        ),
        (genome, "vg", ("test_list_500.txt", "vg_category_500_labels_index.json")),
    ):
        valid = {root / name: (root / name).read_bytes() for name in names}
        for file, content in valid.items():

            def call(
                data: bytes,
                file: Path = file,
                valid: dict[Path, bytes] = valid,
                source: str = f"{kind}:{root}",
            ) -> None:
                for other, whole in valid.items():
                    other.write_bytes(whole)
                from_source(file, source)(data)

            found.append(Target(f"{kind}-{file.stem}", [content], call))
    return found


def columnar(base: Path) -> list[Target]:
    """Parquet: bytes, the metadata of the canonical table, and columns of any type."""
    file = base / "p.parquet"
    plain = pa.table(
        {"image": ["0.jpg", "1.jpg"], "cat": [1, None], "dog": [0.0, 0.5], "split": ["train", "val"]}
    )
    layouts.pictures(base, ["0.jpg", "1.jpg"])
    parquet.write_table(plain, file, compression="none", use_dictionary=False)
    data = read(f"parquet:{file}")
    write_table(data, base / "canonical.parquet")
    table = parquet.read_table(base / "canonical.parquet")
    metadata = table.schema.metadata[METADATA_KEY]

    def described(content: bytes) -> None:
        parquet.write_table(table.replace_schema_metadata({METADATA_KEY: content}), file)
        sound(read(f"parquet:{file}"))

    def columns(content: bytes) -> None:
        odd = random_table(random.Random(content), json.loads(metadata))
        try:
            parquet.write_table(odd, file)
        except pa.ArrowException:  # what cannot be written cannot be sent
            return
        sound(read(f"parquet:{file}"))

    return [
        Target(
            "parquet",
            [file.read_bytes(), (base / "canonical.parquet").read_bytes()],
            from_source(file, f"parquet:{file}"),
        ),
        Target("parquet-metadata", [metadata], described),
        Target("parquet-columns", [b"seed"], columns),
    ]


def random_table(chance: random.Random, described: dict[str, Any]) -> pa.Table:
    """Two rows of columns whose types and values are drawn, half of the time with a canonical table's metadata."""
    cells: list[Any] = [
        ["0.jpg", "1.jpg"],
        ["0.jpg", None],
        [1, 0],
        [1, None],
        [7, 300],
        [0.5, float("nan")],
        [True, False],
        [-1, 1],
        [b"a", b"b"],
        [[1], [2]],
        [["cat"], []],
        [{"a": 1}, None],
        [None, None],
        ["train", "elsewhere"],
        ["1", "x"],
        [[{"label": 5, "x0": 0.0, "y0": 0.0, "x1": 2.0, "y1": 1.0}], None],
        ["\ud7ff", "\n"],
        [10**18, 1],
    ]
    casts = [
        None,
        None,
        pa.large_string(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.uint8(),
        pa.float64(),
        pa.decimal128(9, 2),
        pa.timestamp("s"),
        pa.date32(),
        pa.binary(),
    ]
    names = ["image", "image_bytes", "cat", "dog", "split", "group", "boxes", "labels", "extra", ""]
    columns = {}
    for name in ["image", *chance.sample(names, chance.randrange(1, 6))]:
        usual = name == "image" and chance.random() < 0.6
        column = pa.array(cells[0] if usual else chance.choice(cells))
        kind = chance.choice(casts)
        if kind is not None:
            with contextlib.suppress(pa.ArrowException):
                column = column.cast(kind)
        columns[name] = column
    found = pa.table(columns)
    if chance.random() < 0.5:
        found = found.replace_schema_metadata({METADATA_KEY: json.dumps(described).encode()})
    return found


def targets(base: Path) -> list[Target]:
    """All of them, in folders under `base`."""
    base.mkdir(parents=True, exist_ok=True)
    groups = [
        *tables(base),
        coco(base),
        *voc(base),
        *columnar(base),
        *matlab(base),
        *pickles(base),
        *lists(base),
        *images(base),
        *arrays(base),
        *corrections(base),
        *artefacts(base),
    ]
    return groups
