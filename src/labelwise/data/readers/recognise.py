"""What kind of data set a bare path holds, judged by its content."""

from __future__ import annotations

from pathlib import Path

from labelwise.data.readers.files import is_image_name
from labelwise.errors import LabelwiseError


def recognise(path: str, forms: str) -> tuple[str, str]:
    """Kind and path of the data set at a bare path.

    Args:
        path: a file or a folder.
        forms: the SOURCE forms, for the message.

    Returns:
        `(kind, path)`; the path is that of the table where a folder holds exactly one.

    Raises:
        LabelwiseError: when nothing is there, or it is of no known kind.
    """
    place = Path(path)
    if not place.exists():
        raise LabelwiseError(
            f"{path!r}, which does not exist", f"a path, or one of {forms}", "check the path"
        )
    found = _folder_kind(place) if place.is_dir() else _file_kind(place)
    if found is None:
        what = "a folder" if place.is_dir() else "a file"
        raise LabelwiseError(
            f"{path!r}, {what} of no kind that is known", f"one of {forms}", "write the kind before the path"
        )
    return found


def _file_kind(file: Path) -> tuple[str, str] | None:
    with file.open("rb") as stream:
        head = stream.read(4)
    if head == b"PAR1":
        return "parquet", str(file)
    if head.lstrip()[:1] == b"{":
        return "coco", str(file)
    if file.suffix.lower() in {".csv", ".tsv"}:
        return "csv", str(file)
    return None


_SIGNS = {
    "PETA.mat": "peta",
    "annotation.mat": "pa100k",
    "train_list_500.txt": "vg",
    "Concepts81.txt": "nuswide",
    "ConceptsList/Concepts81.txt": "nuswide",
    "annotations/instances_train2014.json": "coco",
}
"""A file that only one data set's folder holds."""


def _folder_kind(folder: Path) -> tuple[str, str] | None:
    for sign, kind in _SIGNS.items():
        if (folder / sign).is_file():
            return kind, str(folder)
    if (
        folder / "RAP_annotation"
    ).is_dir():  # both versions of RAP look alike: rapv1: or rapv2: must say which
        return None
    if (folder / "packed.json").is_file():
        return "packed", str(folder)
    if (folder / "ImageSets" / "Main").is_dir() and (folder / "Annotations").is_dir():
        return "voc", str(folder)
    tables = [f for f in folder.iterdir() if f.suffix.lower() in {".csv", ".tsv", ".parquet"} and f.is_file()]
    if len(tables) == 1:
        return _file_kind(tables[0])
    subfolders = [f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")]
    if not tables and any(is_image_name(f.name) for sub in subfolders for f in sub.rglob("*")):
        return "folder", str(folder)
    return None
