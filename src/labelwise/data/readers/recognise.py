"""Recognises the kind of a data set at a bare path by its content, with one table of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from labelwise.data.imagefiles import is_clutter, is_image_name
from labelwise.data.readers import (
    celeba,
    cvat,
    datumaro,
    fiftyone,
    hf,
    jsonl,
    labelstudio,
    openimages,
    paddlex,
    plain_lists,
    roboflow,
    sagemaker,
    tags,
    vertex,
    webdataset,
)
from labelwise.data.readers.coco_layout import is_coco_file, is_coco_folder
from labelwise.data.readers.exports import refuse_archive
from labelwise.data.readers.likely_tables import OF_SPLITS, may_hold_labels, tables_of_splits
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.split_names import canonical, split_in_name
from labelwise.data.readers.voc_layout import is_voc_folder
from labelwise.errors import LabelwiseError


class Rule(NamedTuple):
    """How data of one kind are recognised.

    Args:
        kind: the reader's name.
        holds: returns whether a file or folder is of that kind, from its first lines at most.
    """

    kind: str
    holds: Callable[[Path], bool]


def _has(*names: str) -> Callable[[Path], bool]:
    """Whether a folder holds one of these files, which are unique to one data set."""
    return lambda path: any((path / name).is_file() for name in names)


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _is_csv(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in {".csv", ".tsv"}


RULES: Sequence[Rule] = (
    Rule("packed", _has("packed.json")),
    Rule("peta", _has("PETA.mat")),
    Rule("pa100k", _has("annotation.mat")),
    Rule("vg", _has("train_list_500.txt")),
    Rule("nuswide", _has("Concepts81.txt", "ConceptsList/Concepts81.txt")),
    Rule("celeba", celeba.recognises),
    Rule("openimages", openimages.recognises),
    Rule("datumaro", datumaro.recognises),
    Rule("fiftyone", fiftyone.recognises),
    Rule("paddlex", paddlex.recognises),
    Rule("cvat", cvat.recognises),
    Rule("labelstudio", labelstudio.recognises),
    Rule("roboflow", roboflow.recognises),
    Rule("sagemaker", sagemaker.recognises),
    Rule("hf", hf.recognises),
    Rule("webdataset", webdataset.recognises),
    Rule("coco", is_coco_folder),
    Rule("coco", is_coco_file),
    Rule("voc", is_voc_folder),
    Rule("vertex", vertex.recognises),
    Rule("jsonl", jsonl.recognises),
    Rule("parquet", _is_parquet),
    Rule("csv", _is_csv),
    Rule("tags", tags.recognises),
)
"""The kinds in the order in which they are tried; the first match is used."""

_TABLES = ".csv .tsv .parquet .json .jsonl .ndjson .xml .manifest .yaml .yml .xlsx .txt .arrow .tar"
TABLES = frozenset(_TABLES.split())
"""Suffixes of files that may hold labels of the images beside them."""
_NO_LABELS = (
    "images image imgs img data dataset photos photographs pictures jpegimages jpegs raw masks mask labels label "
    "annotations ann anns depth thumbnails upload uploads files media default obj_train_data input inputs"
)
NO_LABELS = frozenset(_NO_LABELS.split())
"""Names of folders that hold images or annotations of all labels, and are not labels themselves."""


def recognise(path: str, kinds: Iterable[str], more: Sequence[Rule] = ()) -> tuple[str, str]:
    """Kind and path of the data set at a bare path.

    Args:
        path: a file or a folder.
        kinds: names of all kinds, for the message.
        more: rules of readers of other packages; they are tried after our own.

    Returns:
        `(kind, path)`; the path is that of the only table of a folder, or those of one table for each split.

    Raises:
        LabelwiseError: a path that does not exist, is of no known kind, or may be of several.
    """
    entry = Path(path)
    listed = ", ".join(f"{kind}:" for kind in kinds)
    if not entry.exists():
        raise LabelwiseError(
            f"{path!r}, which does not exist", f"a path, or one of {listed} before it", "check the path"
        )
    rules = (*RULES, *more)
    kind = _kind_of(entry, rules)
    if kind is not None:
        return kind, path
    if entry.is_file():
        refuse_archive(entry, "a table, or an export that was unpacked")
        if kind := plain_lists.kind_of(entry):
            return kind, path
        raise _unknown_kind(path, "a file of no known kind", listed)
    table = _table_in(entry, path, rules)
    if table is not None:
        return table
    _refuse_outer(entry, path, rules)
    try:
        return _label_folders(entry, path, listed)
    except LabelwiseError:
        tables = tables_of_splits(entry, lambda file: _kind_of(file, rules))
        if tables is None:
            raise
        raise LabelwiseError(
            f"{path!r}, a folder with a table in each folder of a split",
            "the paths of the tables",
            f"name them: {tables}",
        ) from None


def _kind_of(path: Path, rules: Sequence[Rule]) -> str | None:
    """The kind of the first rule that a path meets; `None` without one."""
    return next((rule.kind for rule in rules if rule.holds(path)), None)


def _refuse_outer(folder: Path, path: str, rules: Sequence[Rule]) -> None:
    """Raises `LabelwiseError` for a folder if one of its subfolders is a data set."""
    for inner in sorted(f for f in folder.iterdir() if f.is_dir() and not is_clutter(f.name)):
        kind = _kind_of(inner, rules)
        if kind is not None:
            raise LabelwiseError(
                f"{path!r}, a folder of no known kind, which holds one of a known kind",
                "the path of the data set itself",
                f"name it: {kind}:{inner}",
            )


def _table_in(folder: Path, path: str, rules: Sequence[Rule]) -> tuple[str, str] | None:
    """The only table of a folder; `None` without one."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and not is_clutter(f.name))
    files = [f for f in files if f.suffix.lower() in TABLES]
    tables = [(kind, f) for f in files if (kind := _kind_of(f, rules)) is not None]
    if len(tables) == 1:
        return tables[0][0], str(tables[0][1])
    if tables:
        names = few([f.name for _, f in tables], 6)
        kind, file = tables[0]
        if _are_splits(tables):
            return kind, ",".join(str(f) for _, f in tables)
        likely = [table for table in tables if may_hold_labels(table)]
        example = "" if len(likely) == 1 else "for example "
        kind, file = (likely or tables)[0]
        raise LabelwiseError(
            f"{path!r}, a folder with {len(tables)} tables: {names}",
            "one table, or one for each split with train, val or test in its name",
            f"name the table, {example}{kind}:{file}"
            if likely
            else "name the table of the labels, as KIND:FILE",
        )
    return None


def _are_splits(tables: Sequence[tuple[str, Path]]) -> bool:
    """Whether there is one table per split, as train.csv and test.csv, of a kind that accepts several files."""
    kind, first = tables[0]
    splits = {split_in_name(file.stem) for _, file in tables}
    return (
        kind in OF_SPLITS
        and {other for other, _ in tables} == {kind}
        and None not in splits
        and len(splits) == len(tables)
        and "," not in str(first.parent)
    )


def _label_folders(folder: Path, path: str, listed: str) -> tuple[str, str]:
    """A folder with a folder for each label.

    Raises:
        LabelwiseError: no images, or folders that by their names or number are not labels.
    """
    inner = sorted(f for f in folder.iterdir() if f.is_dir() and not is_clutter(f.name))
    with_images = [f.name for f in inner if any(is_image_name(g.name) for g in f.rglob("*"))]
    labels = set(with_images)
    if labels and all(map(canonical, labels)):
        labels = {f.name for name in with_images for f in (folder / name).iterdir() if f.is_dir()}
    files = sorted(f.name for f in folder.rglob("*") if f.suffix.lower() in TABLES and not is_clutter(f.name))
    if not labels:
        raise _unknown_kind(path, "a folder of no known kind", listed)
    generic = [name for name in sorted(labels) if name.casefold() in NO_LABELS or _in_generic(folder / name)]
    if len(labels) == 1 or generic:
        name = generic[0] if generic else next(iter(labels))
        detail = f", beside {files[0]}" if files else ""
        raise _unknown_kind(path, f"a folder with its images in {name!r}{detail}, of no known kind", listed)
    return "folder", path


def _in_generic(folder: Path) -> bool:
    """Whether a folder is a part of a project: its images are in a folder such as `img` beside one such as `ann`."""
    inner = {f.name.casefold() for f in folder.iterdir() if f.is_dir()} if folder.is_dir() else set()
    return len(inner & NO_LABELS) > 1 and not any(is_image_name(f.name) for f in folder.iterdir())


def _unknown_kind(path: str, description: str, listed: str) -> LabelwiseError:
    """The error for a path of no known kind."""
    return LabelwiseError(
        f"{path!r}, {description}",
        f"one of {listed} before the path, or a layout that one of them recognises",
        "write the kind before the path, or convert the labels to a table: image,label,label with 1, 0 or blank",
    )
