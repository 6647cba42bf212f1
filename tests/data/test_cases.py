"""The tables of `../shared/cases`, which real tools wrote: the answer that its README gives, file by file."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError

LABELS = ("person", "car", "dog", "cat", "chair", "bus")
ALL = "11/13 6/18 4/20 1/23 3/21 5/19"
"""Positives and negatives of each label, where all 24 images are answered."""
THREE_OPEN = "11/10 6/15 4/17 1/20 3/18 5/16"
LVIS = "11/8 6/9 4/10 1/12 3/11 5/10"
FOLDERS = "4/20 4/20 4/20 1/23 3/21 5/19"
READ = {
    "celeba": ALL,
    "celeba/list_attr_celeba.csv": ALL,
    "chexpert/train.csv?ignore=Sex,Age,Frontal/Lateral,AP/PA": "11/2 6/5 4/8 1/8 3/8 5/4",
    "coco-tags-only/emptybbox.json": ALL,
    "coco-tags-only/nobbox.json": ALL,
    "coco-tags-only/roboflow_root.json": ALL,
    "coco-tags-only/zerobbox.json": ALL,
    "cvat-nested": FOLDERS,
    "cvat-xml": ALL,
    "excel/semicolon.csv": "15/9 9/15 7/17 4/20 5/19 8/16",
    "excel/sep.csv": ALL,
    "excel/truefalse.csv": ALL,
    "excel/utf16.csv": ALL,
    "hash-separator": ALL,
    "hf-imagefolder": ALL,
    "hf-imagefolder-csv": ALL,
    "hf-parquet/data": ALL,
    "labelstudio/project.csv": THREE_OPEN,
    "labelstudio/project.json": THREE_OPEN,
    "labelstudio/renamed.csv": THREE_OPEN,
    "labelstudio/renamed_local.csv": THREE_OPEN,
    "list-strings/python.csv": ALL,
    "lvis/lvis_v1_val.json": LVIS,
    "lvis/lvis_with_names.json": LVIS,
    "metadata/labels.csv?ignore=id,author,date,width,height,notes": ALL,
    "nih14/Data_Entry.csv": ALL,
    "nih14/Data_Entry_nocomma.csv": ALL,
    "nih14/renamed.csv": ALL,
    "openimages": "11/8 6/3 4/5 1/11 3/3 5/9",
    "os-junk": FOLDERS,
    "planet/train_v2.csv": ALL,
    "planet/withjpg.csv": ALL,
    "roboflow": ALL,
    "sagemaker": ALL,
    "todo-rows?unknown=todo": "9/10 6/13 4/15 0/0 2/17 4/15",
    "tsv/labels.tsv": ALL,
    "tsv/yesno.csv": ALL,
    "txt-tags": ALL,
    "vertex": THREE_OPEN,
    "vott-voc-names": ALL,
}
NUMBERED = ("hf-parquet/flat_nometa.parquet", "list-strings/multihot.csv", "list-strings/numbers.csv")
REFUSED = {
    "chexpert": r"\?ignore=Sex,Age,Frontal/Lateral,AP/PA",
    "metadata": r"\?ignore=id,author,date,width,height,notes",
    "mixed-task": r"\?classes=MultiClass",
    "one-two/binary12.csv": r"\?absent=1&present=2",
    "one-two/labels.csv": r"\?absent=1&present=2&ignore=age",
    "one-two/zero_in_12.csv": r"\?absent=1&present=2&unknown=0",
    "todo-rows?unknown=tudo": "text of no label cell",
    "todo-rows?none=empty": "which no cell holds",
    "celeba/list_eval_partition.txt": "lines of images and their labels",
    "coco-tags-only": "other categories",
    "excel": "a folder with 4 tables",
    "hf-parquet": "hf-parquet/data",
    "labelstudio": "a folder with 4 tables",
    "list-strings": "a folder with 3 tables",
    "lvis": "rename it, or name the files to read",
    "nih14": "a folder with 3 tables",
    "one-two": "a folder with 3 tables",
    "planet": "a folder with 2 tables",
    "tsv": "a folder with 2 tables",
}


@pytest.fixture(scope="module")
def cases() -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared" / "cases" / "tables"
    if not folder.is_dir():
        pytest.skip("the shared tables are not on this machine")
    return folder


def counts(data: Dataset, labels: tuple[str, ...]) -> str:
    names = {name.casefold(): j for j, name in enumerate(data.labels)}
    positive, known = data.positive.sum(0), data.known.sum(0)
    places = [names.get(name) for name in labels]
    return " ".join("0/0" if j is None else f"{positive[j]}/{known[j] - positive[j]}" for j in places)


@pytest.mark.parametrize("source", READ)
def test_read_right_from_the_bare_path(cases: Path, source: str) -> None:
    data = read(f"{cases}/{source}")
    assert len(data) == 24
    assert counts(data, LABELS) == READ[source]


@pytest.mark.parametrize("source", NUMBERED)
def test_labels_that_are_numbers(cases: Path, source: str) -> None:
    assert counts(read(f"{cases}/{source}"), tuple("012345")) == ALL
    assert counts(read(f"{cases}/{source}?names={','.join(LABELS)}"), LABELS) == ALL


@pytest.mark.parametrize("source", REFUSED)
def test_refused_with_what_helps(cases: Path, source: str) -> None:
    with pytest.raises(LabelwiseError, match=REFUSED[source]):
        read(f"{cases}/{source}")


def test_names_that_differ_in_case_are_noted(cases: Path) -> None:
    assert any("differ in spelling only" in note for note in read(f"{cases}/name-case").notes)


@pytest.mark.parametrize(
    ("source", "splits"),
    [
        ("roboflow", {"train": 14, "val": 5, "test": 5}),
        ("celeba", {"train": 14, "val": 5, "test": 5}),
        ("vertex", {"train": 14, "val": 5, "test": 5}),
        ("vott-voc-names", {"train": 18, "val": 6}),
        ("hf-imagefolder", {"train": 24}),
    ],
)
def test_splits_are_kept(cases: Path, source: str, splits: dict[str, int]) -> None:
    assert read(f"{cases}/{source}").splits() == splits
