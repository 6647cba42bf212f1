"""Files in the form of each tool that docs/tools.md names, all of the same eight photographs and three labels."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

LABELS = ("cat", "dog", "person")
TRUTH = {
    "p0": "+--",
    "p1": "-+-",
    "p2": "++-",
    "p3": "--+",
    "p4": "---",
    "p5": "+-+",
    "p6": "-++",
    "p7": "--+",
}
"""State of each label of each photograph: + present, - absent."""
SPLIT = {n: "train" if n < "p4" else "val" if n < "p6" else "test" for n in TRUTH}


def jpeg(name: str) -> bytes:
    """A small photograph, another for each name."""
    stream = BytesIO()
    place = int(name[1:])
    Image.radial_gradient("L").resize((32, 24)).rotate(place * 40).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


def photographs(folder: Path, suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in TRUTH:
        (folder / f"{name}{suffix}").write_bytes(jpeg(name))


def present(name: str) -> list[str]:
    return [label for label, state in zip(LABELS, TRUTH[name], strict=True) if state == "+"]


def states(name: str, yes: str, no: str) -> list[str]:
    return [yes if state == "+" else no for state in TRUTH[name]]


def table(file: Path, yes: str, no: str, mark: str = ",", head: str = "") -> None:
    rows = [mark.join(["image", *LABELS]), *(mark.join([f"{n}.jpg", *states(n, yes, no)]) for n in TRUTH)]
    file.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    photographs(file.parent)


def _chexpert(folder: Path) -> None:
    rows = ["Path,Sex,Age," + ",".join(LABELS)]
    for i, name in enumerate(TRUTH):
        cells = states(name, "1.0", "0.0")
        if name == "p4":
            cells[0] = "-1.0"
        rows.append(f"{name}.jpg,{'FM'[i % 2]},{50 + i}," + ",".join(cells))
    (folder / "chexpert.csv").write_text("\n".join(rows) + "\n")
    photographs(folder)


def _excel(folder: Path) -> None:
    rows = ["sep=;", ";".join(["image", *LABELS])]
    for i, name in enumerate(TRUTH):
        rows.append(";".join([f"{name}.jpg", *states(name, *[("TRUE", "FALSE"), ("1,0", "0,0")][i % 2])]))
    (folder / "excel.csv").write_bytes("\r\n".join(rows).encode("utf-16"))
    photographs(folder)


def names_table(file: Path, words: Callable[[str], str], head: str = "image;labels") -> None:
    file.write_text(head + "\n" + "".join(f"{n}.jpg;{words(n)}\n" for n in TRUTH))
    photographs(file.parent)


def _tables_of_splits(folder: Path) -> None:
    for split in ("train", "val", "test"):
        rows = [f"{n}.jpg," + ",".join(states(n, "1", "0")) for n in TRUTH if SPLIT[n] == split]
        (folder / f"{split}.csv").write_text("\n".join(["image," + ",".join(LABELS), *rows]) + "\n")
    photographs(folder)


def _numbered(folder: Path) -> None:
    names_table(folder / "numbered.csv", lambda n: "|".join(str(LABELS.index(label)) for label in present(n)))
    (folder / "classes.txt").write_text("\n".join(LABELS) + "\n")


def _work(folder: Path) -> None:
    names_table(folder / "work.csv", lambda n: "todo" if n == "p7" else "|".join(present(n)) or "empty")


def _clothes(folder: Path) -> None:
    colour = {"+--": "red", "-+-": "blue", "++-": "red", "--+": "green"}
    rows = "".join(
        f"{n}.jpg;{';'.join(states(n, '1', '0'))};{colour.get(s, 'blue')}\n" for n, s in TRUTH.items()
    )
    (folder / "clothes.csv").write_text("image;" + ";".join(LABELS) + ";colour\n" + rows)
    photographs(folder)


def _parquet(folder: Path) -> None:
    columns = {label: [int(label in present(n)) for n in TRUTH] for label in LABELS}
    names = pa.array([f"{n}.jpg" for n in TRUTH]).dictionary_encode()
    parquet.write_table(pa.table({"image": names, **columns}), folder / "labels.parquet")
    photographs(folder)


def _jsonl(folder: Path) -> None:
    lines = [json.dumps({"image": f"{n}.jpg", "labels": present(n), "split": SPLIT[n]}) for n in TRUTH]
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n")
    photographs(folder)


def _labelstudio(folder: Path) -> None:
    tasks = []
    for i, name in enumerate(TRUTH):
        result = [{"type": "choices", "from_name": "c", "to_name": "i", "value": {"choices": present(name)}}]
        answers = [] if name == "p4" else [{"id": i, "result": result}]
        tasks.append(
            {"id": i, "data": {"image": f"/data/upload/1/1234abcd-{name}.jpg"}, "annotations": answers}
        )
    (folder / "project.json").write_text(json.dumps(tasks))
    photographs(folder / "upload")


def _cvat(folder: Path) -> None:
    meta = "".join(f"<label><name>{label}</name><type>tag</type></label>" for label in LABELS)
    images = "".join(
        f'<image id="{i}" name="{n}.jpg" subset="{SPLIT[n]}" width="32" height="24">'
        + "".join(f'<tag label="{label}" source="manual"></tag>' for label in present(n))
        + "</image>"
        for i, n in enumerate(TRUTH)
    )
    photographs(folder / "cvat" / "images")
    (folder / "cvat" / "annotations.xml").write_text(
        f"<annotations><version>1.1</version><meta><task><labels>{meta}</labels></task></meta>{images}</annotations>"
    )


def _datumaro(folder: Path) -> None:
    root = folder / "datumaro"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val", "test"):
        items = [
            {
                "id": n,
                "annotations": [
                    {"id": 0, "type": "label", "attributes": {}, "group": 0, "label_id": LABELS.index(label)}
                    for label in present(n)
                ],
                "image": {"path": f"{n}.jpg", "size": [24, 32]},
            }
            for n in TRUTH
            if SPLIT[n] == split
        ]
        labels = [{"name": label, "parent": "", "attributes": []} for label in LABELS]
        content = {"infos": {}, "categories": {"label": {"labels": labels, "attributes": []}}, "items": items}
        (root / "annotations" / f"{split}.json").write_text(json.dumps(content))
        (root / "images" / split).mkdir(parents=True)
        for item in items:
            (root / "images" / split / f"{item['id']}.jpg").write_bytes(jpeg(str(item["id"])))


def _fiftyone(folder: Path) -> None:
    labels = {n: None if n == "p4" else [LABELS.index(label) for label in present(n)] for n in TRUTH}
    photographs(folder / "fiftyone" / "data")
    (folder / "fiftyone" / "labels.json").write_text(json.dumps({"classes": list(LABELS), "labels": labels}))


def _roboflow(folder: Path) -> None:
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        inner = folder / "roboflow" / name
        inner.mkdir(parents=True)
        rows = ["filename, " + ", ".join(LABELS)]
        for n in TRUTH:
            if SPLIT[n] == split:
                (inner / f"{n}.jpg").write_bytes(jpeg(n))
                rows.append(", ".join([f"{n}.jpg", *states(n, "1", "0")]))
        (inner / "_classes.csv").write_text("\n".join(rows) + "\n")


def coco(names: list[str], more: Mapping[str, dict] | None = None, first: int = 1) -> dict:
    """A COCO file of some photographs; `more` adds fields to an image."""
    annotations = [
        {
            "image_id": i,
            "category_id": first + LABELS.index(label),
            "bbox": [1, 1, 9, 9],
            "area": 81,
            "iscrowd": 0,
        }
        for i, n in enumerate(names)
        for label in present(n)
    ]
    return {
        "images": [
            {"id": i, "file_name": f"{n}.jpg", "width": 32, "height": 24, **(more or {}).get(n, {})}
            for i, n in enumerate(names)
        ],
        "annotations": [{"id": k, **item} for k, item in enumerate(annotations)],
        "categories": [{"id": first + j, "name": label} for j, label in enumerate(LABELS)],
    }


def _roboflow_coco(folder: Path) -> None:
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        inner = folder / "roboflow-coco" / name
        inner.mkdir(parents=True)
        names = [n for n in TRUTH if SPLIT[n] == split]
        for n in names:
            (inner / f"{n}.jpg").write_bytes(jpeg(n))
        content = coco(names)
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
        for category in content["categories"][1:]:
            category["supercategory"] = "things"
        (inner / "_annotations.coco.json").write_text(json.dumps(content))


def _coco(folder: Path) -> None:
    for split in ("train", "val"):
        names = [n for n in TRUTH if (SPLIT[n] == "train") == (split == "train")]
        (folder / f"instances_{split}.json").write_text(json.dumps(coco(names)))
    photographs(folder / "photos")


def _lvis(folder: Path) -> None:
    more = {
        n: {
            "neg_category_ids": [1 + j for j, s in enumerate(TRUTH[n]) if s == "-" and (n, j) != ("p4", 0)],
            "not_exhaustive_category_ids": [],
            "coco_url": f"http://images.cocodataset.org/val2017/{n}.jpg",
        }
        for n in TRUTH
    }
    content = coco(list(TRUTH), more)
    for image in content["images"]:
        del image["file_name"]
    (folder / "lvis_v1_val.json").write_text(json.dumps(content))
    photographs(folder / "photos" / "val2017")


def _voc(folder: Path) -> None:
    root = folder / "VOC"
    photographs(root / "JPEGImages")
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for n in TRUTH:
        objects = "".join(
            f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
            "<xmax>9</xmax><ymax>9</ymax></bndbox></object>"
            for label in present(n)
        )
        size = "<size><width>32</width><height>24</height><depth>3</depth></size>"
        (root / "Annotations" / f"{n}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    for split in ("train", "val", "test"):
        lines = [n for n in TRUTH if SPLIT[n] == split]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(lines) + "\n")


def _paddlex(folder: Path) -> None:
    photographs(folder / "paddlex" / "images")
    for split in ("train", "val"):
        names = [n for n in TRUTH if (SPLIT[n] == "train") == (split == "train")]
        lines = [f"images/{n}.jpg\t{','.join(states(n, '1', '0'))}" for n in names]
        (folder / "paddlex" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (folder / "paddlex" / "label.txt").write_text("".join(f"{j} {label}\n" for j, label in enumerate(LABELS)))


def _tags(folder: Path) -> None:
    photographs(folder / "tagged")
    for n in TRUTH:
        (folder / "tagged" / f"{n}.txt").write_text(", ".join(present(n)))


def _folders(folder: Path) -> None:
    for n in TRUTH:
        for label in present(n) or ["_none"]:
            (folder / "sorted" / label).mkdir(parents=True, exist_ok=True)
            (folder / "sorted" / label / f"{n}.jpg").write_bytes(jpeg(n))


def _sagemaker(folder: Path) -> None:
    lines = []
    for n in TRUTH:
        ids = [LABELS.index(label) for label in present(n)]
        about = {
            "class-map": {str(i): LABELS[i] for i in ids},
            "type": "groundtruth/image-classification-multilabel",
        }
        lines.append(json.dumps({"source-ref": f"s3://bucket/in/{n}.jpg", "job": ids, "job-metadata": about}))
    (folder / "output.manifest").write_text("\n".join(lines) + "\n")
    photographs(folder / "in")


def _vertex(folder: Path) -> None:
    words = {"train": "training", "val": "validation", "test": "test"}
    lines = [",".join([words[SPLIT[n]], f"gs://bucket/in/{n}.jpg", *present(n)]) for n in TRUTH]
    (folder / "import.csv").write_text("\n".join(lines) + "\n")
    photographs(folder / "in")


def _hub(folder: Path) -> None:
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        inner = folder / "hub" / name
        inner.mkdir(parents=True)
        names = [n for n in TRUTH if SPLIT[n] == split]
        for n in names:
            (inner / f"{n}.jpg").write_bytes(jpeg(n))
        lines = [json.dumps({"file_name": f"{n}.jpg", "labels": present(n)}) for n in names]
        (inner / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def _shards(folder: Path) -> None:
    (folder / "shards").mkdir()
    for split in ("train", "val", "test"):
        with tarfile.open(folder / "shards" / f"{split}-000000.tar", "w") as tar:
            for n in (n for n in TRUTH if SPLIT[n] == split):
                for suffix, content in (
                    (".jpg", jpeg(n)),
                    (".json", json.dumps({"labels": present(n)}).encode()),
                ):
                    member = tarfile.TarInfo(n + suffix)
                    member.size = len(content)
                    tar.addfile(member, BytesIO(content))


def _openimages(folder: Path) -> None:
    root = folder / "openimages"
    photographs(root / "train")
    rows = ["ImageID,Source,LabelName,Confidence"]
    for n in TRUTH:
        for j, state in enumerate(TRUTH[n]):
            if (n, j) != ("p4", 0):
                rows.append(f"{n},verification,/m/0{j},{int(state == '+')}")
    (root / "train-annotations-human-imagelabels.csv").write_text("\n".join(rows) + "\n")
    (root / "class-descriptions.csv").write_text(
        "".join(f"/m/0{j},{label}\n" for j, label in enumerate(LABELS))
    )


def _celeba(folder: Path) -> None:
    root = folder / "celeba"
    photographs(root / "img_align_celeba")
    rows = [f"{n}.jpg " + " ".join(f"{s:>2}" for s in states(n, "1", "-1")) for n in TRUTH]
    (root / "list_attr_celeba.txt").write_text(
        f"{len(TRUTH)}\n{' '.join(LABELS)} \n" + "\n".join(rows) + "\n"
    )
    parts = {"train": 0, "val": 1, "test": 2}
    (root / "list_eval_partition.txt").write_text("".join(f"{n}.jpg {parts[SPLIT[n]]}\n" for n in TRUTH))


MAKERS: Mapping[str, Callable[[Path], None]] = {
    "csv:labels.csv": lambda folder: table(folder / "labels.csv", "1", "0"),
    "csv:signs.csv": lambda folder: table(folder / "signs.csv", "1", "-1"),
    "csv:chexpert.csv?ignore=Sex,Age": _chexpert,
    "csv:survey.csv?absent=1&present=2": lambda folder: table(folder / "survey.csv", "2", "1"),
    "csv:crosses.csv?present=x&blank=negative": lambda folder: table(folder / "crosses.csv", "x", ""),
    "csv:excel.csv": _excel,
    "csv:tags.csv": lambda folder: names_table(folder / "tags.csv", lambda n: "#".join(present(n))),
    "csv:work.csv?unknown=todo&none=empty": _work,
    "csv:clothes.csv?classes=colour": _clothes,
    "csv:train.csv,val.csv,test.csv": _tables_of_splits,
    "csv:numbered.csv?names=classes.txt": _numbered,
    "parquet:labels.parquet": _parquet,
    "jsonl:labels.jsonl": _jsonl,
    "labelstudio:project.json?images=upload": _labelstudio,
    "cvat:cvat": _cvat,
    "datumaro:datumaro": _datumaro,
    "fiftyone:fiftyone": _fiftyone,
    "roboflow:roboflow": _roboflow,
    "coco:roboflow-coco": _roboflow_coco,
    "coco:instances_train.json,instances_val.json?images=photos": _coco,
    "voc:VOC": _voc,
    "paddlex:paddlex": _paddlex,
    "tags:tagged": _tags,
    "folder:sorted": _folders,
    "sagemaker:output.manifest": _sagemaker,
    "vertex:import.csv": _vertex,
    "hf:hub": _hub,
    "webdataset:shards": _shards,
    "openimages:openimages": _openimages,
    "coco:lvis_v1_val.json?images=photos": _lvis,
    "celeba:celeba": _celeba,
}
"""Writes the files that a SOURCE of docs/tools.md names."""

UNKNOWN: Mapping[str, Mapping[str, str]] = {
    "csv:chexpert.csv?ignore=Sex,Age": {"p4": "?--"},
    "csv:work.csv?unknown=todo&none=empty": {"p7": "???"},
    "labelstudio:project.json?images=upload": {"p4": "???"},
    "fiftyone:fiftyone": {"p4": "???"},
    "vertex:import.csv": {"p4": "???"},
    "openimages:openimages": {"p4": "?--"},
    "coco:lvis_v1_val.json?images=photos": {"p4": "?--"},
}
"""What is read in place of `TRUTH` where the form leaves something unknown."""
_SPLITS = (
    "csv:train.csv,val.csv,test.csv jsonl:labels.jsonl cvat:cvat datumaro:datumaro roboflow:roboflow "
    "coco:roboflow-coco voc:VOC vertex:import.csv hf:hub webdataset:shards celeba:celeba"
)
SPLITS = frozenset(_SPLITS.split())
"""Sources whose form tells train, val and test."""
