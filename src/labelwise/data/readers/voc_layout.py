"""The places of images and annotations in a VOC tree, with or without lists of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from labelwise.data.imagefiles import IMAGE_SUFFIXES, is_image_name, walk
from labelwise.data.readers.locate import image_files
from labelwise.data.readers.split_names import SPLIT_ORDER, split_in_name, splits_together
from labelwise.data.readers.voc_lists import ImageLists, States, image_lists
from labelwise.errors import LabelwiseError

_IMAGES = ("JPEGImages", "images", "Images")


@dataclass(frozen=True)
class VocRow:
    """An image: its name in the lists, its file below the root, and its annotation, if any."""

    name: str
    image: str
    xml: Path | None


@dataclass(frozen=True)
class VocLayout:
    """The images of a tree in their order, their splits, the lists of labels, and notes."""

    rows: list[VocRow]
    split_of: Mapping[str, str]
    splits: tuple[str, ...]
    states: States = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def codes(self) -> np.ndarray | None:
        """`[N]` codes of the splits, or `None` without splits."""
        if not self.splits:
            return None
        return np.array([self.splits.index(self.split_of[row.name]) for row in self.rows], np.int16)


def is_voc_folder(folder: Path) -> bool:
    """Whether a folder is a VOC tree: lists in `ImageSets/Main`, annotations in `Annotations` or beside images."""
    if (folder / "ImageSets" / "Main").is_dir():
        return (folder / "Annotations").is_dir() or _image_folder(folder) is not None
    if _image_folder(folder) is not None and _looks_annotated(_xml_in(folder / "Annotations", glance=True)):
        return True
    return _looks_annotated(file for file in _beside_images(folder, glance=True) if any(_images_beside(file)))


def _looks_annotated(files: Iterable[Path]) -> bool:
    """Whether the first of the files is an annotation, by its first bytes."""
    file = next(iter(files), None)
    if file is None:
        return False
    with file.open("rb") as stream:
        return b"<annotation" in stream.read(4096).replace(b"<annotations", b"")


def voc_layout(root: Path) -> VocLayout:
    """The images of a VOC tree: those of `ImageSets/Main`, or all annotated ones without such a folder.

    Raises:
        LabelwiseError: a tree without lists or without images, or lists that contradict one another.
    """
    if not (root / "ImageSets").is_dir():
        if _annotations_of(root):
            return _layout_without_lists(root)
        if files := list(_beside_images(root)):
            return _layout_beside_images(root, files)
    folder = _image_folder(root)
    files_of = ImageFiles(root / folder if folder else None)
    lists_folder = root / "ImageSets" / "Main"
    lists = image_lists(lists_folder, files_of.name_of)
    if lists is None:
        inner = next((path.parent.parent for path in sorted(root.glob("*/ImageSets/Main"))), None)
        raise LabelwiseError(
            f"{str(root)!r} without image lists",
            f"train.txt, val.txt, trainval.txt or test.txt in {lists_folder}",
            f"try voc:{inner}" if inner else "check the path, or write the lists",
        )
    if folder is None:
        raise _without_images(root)
    return _listed_layout(root, folder, files_of, lists)


def _listed_layout(root: Path, folder: str, files: ImageFiles, lists: ImageLists) -> VocLayout:
    """The images of the lists, each with its file and its annotation."""
    rows, annotations = [], root / "Annotations"
    for name in lists.images:
        image = files.file_of(name)
        names = dict.fromkeys((name, os.path.splitext(image)[0]))
        xml = next((file for base in names if (file := annotations / f"{base}.xml").is_file()), None)
        rows.append(VocRow(name, f"{folder}/{image}", xml))
    notes = list(lists.notes)
    used = {row.xml for row in rows}
    unlisted = sum(file not in used for file in _xml_in(annotations))
    if unlisted:
        notes.append(f"{unlisted:,} annotated images are in no list of ImageSets/Main and were left out.")
    return VocLayout(rows, lists.split_of, lists.splits, lists.states, notes)


def _layout_without_lists(root: Path) -> VocLayout:
    """All annotated images of a tree without `ImageSets`, as tools without splits write it."""
    annotations, folder = root / "Annotations", _image_folder(root)
    if folder is None:
        raise _without_images(root)
    files = ImageFiles(root / folder)
    annotated = _annotations_of(root)
    names = [file.relative_to(annotations).with_suffix("").as_posix() for file in annotated]
    rows = [
        VocRow(name, f"{folder}/{files.file_of(name)}", file)
        for name, file in zip(names, annotated, strict=True)
    ]
    notes = [f"There is no folder ImageSets: all {len(rows):,} annotated images are read, without splits."]
    unannotated = len(files.names() - {os.path.splitext(row.image.partition("/")[2])[0] for row in rows})
    if unannotated:
        notes.append(f"{unannotated:,} images without an annotation were left out.")
    return VocLayout(rows, {}, (), notes=notes)


def _annotations_of(root: Path) -> list[Path]:
    """The annotations of a tree, sorted."""
    return sorted(_xml_in(root / "Annotations"))


def _xml_in(folder: Path, depth: int | None = None, *, glance: bool = False) -> Iterator[Path]:
    """The XML files in a folder and its subfolders to this depth."""
    for listing in walk(folder, depth, glance=glance) if folder.is_dir() else ():
        yield from (Path(listing.path, name) for name in listing.files if name.endswith(".xml"))


def _layout_beside_images(root: Path, files: list[Path]) -> VocLayout:
    """Annotations beside their images, in one folder or in one folder per split."""
    of_splits = [name for name in dict.fromkeys(file.parent.name for file in files) if split_in_name(name)]
    splits_of_folders = dict(
        zip(of_splits, splits_together(of_splits, [split_in_name(n) for n in of_splits]), strict=True)
    )
    rows, split_of, without_split = [], {}, []
    for file in files:
        name = file.relative_to(root).with_suffix("").as_posix()
        image = min(_images_beside(file), key=_preference, default=f"{file.stem}.jpg")
        rows.append(VocRow(name, (file.relative_to(root).parent / image).as_posix(), file))
        split = splits_of_folders.get(file.parent.name) if file.parent != root else None
        if split:
            split_of[name] = split
        else:
            without_split.append(file.parent.relative_to(root).as_posix())
    if split_of and without_split:
        raise LabelwiseError(
            f"annotations in {without_split[0]} beside folders of named splits in {str(root)!r}",
            "train, val or test in the name of every folder",
            "rename the folder, or move it out",
        )
    folders = list(dict.fromkeys(file.parent.relative_to(root).as_posix() for file in files))
    splits_by = "Splits by the names of folders" if split_of else "No list or folder names a split"
    notes = [f"{splits_by}: annotations lie beside their images in {', '.join(folders[:5])}."]
    with_xml = {os.path.splitext(row.image)[0] for row in rows}
    pairs = (
        (folder, name) for folder in folders for listing in walk(root / folder, 0) for name in listing.files
    )
    images = {f"{folder}/{name}" if folder != "." else name for folder, name in pairs if is_image_name(name)}
    unannotated = len({os.path.splitext(image)[0] for image in images} - with_xml)
    if unannotated:
        notes.append(f"{unannotated:,} images without an annotation were left out.")
    splits = tuple(split for split in SPLIT_ORDER if split in split_of.values())
    return VocLayout(rows, split_of, splits, notes=notes)


def _beside_images(root: Path, *, glance: bool = False) -> Iterator[Path]:
    """Annotations that may be beside their images: in the folder itself and in its direct subfolders.

    A glance only visits subfolders with the name of a split, as there may be thousands.
    """
    inner = [name for listing in walk(root, 0, glance=glance) for name in listing.folders]
    for name in ("", *(name for name in inner if not glance or split_in_name(name))):
        yield from _xml_in(root / name, 0, glance=glance)


def _images_beside(file: Path) -> Iterator[str]:
    """Names of the images of the same stem beside an annotation."""
    for suffix in IMAGE_SUFFIXES:
        for name in (file.stem + suffix, file.stem + suffix.upper()):
            if (file.parent / name).is_file():
                yield name


class ImageFiles:
    """The image files below a folder by their names without suffix; a `.jpg` precedes files of the same stem."""

    def __init__(self, folder: Path | None) -> None:
        self._by_name: dict[str, str] = {}
        self._files: set[str] = set()
        by_last: dict[str, list[str]] = {}
        for file in sorted(image_files(folder) if folder else (), key=_preference):
            self._files.add(file)
            name = os.path.splitext(file)[0]
            if name not in self._by_name:
                by_last.setdefault(name.rpartition("/")[2], []).append(file)
            self._by_name.setdefault(name, file)
        self._by_last = {last: files[0] for last, files in by_last.items() if len(files) == 1}
        self._chosen: dict[str, str] = {}

    def name_of(self, line: str) -> str:
        """The image name of a line of a list; a line with a suffix selects that file."""
        line = line.replace("\\", "/").rpartition("JPEGImages/")[2]
        if line in self._by_name or not is_image_name(line):
            return line
        name = os.path.splitext(line)[0]
        if line in self._files:
            self._chosen[name] = line
        return name

    def file_of(self, name: str) -> str:
        """The file of a name: in the folder itself, or the only one of that name in subfolders."""
        file = self._chosen.get(name) or self._by_name.get(name)
        return file or self._by_last.get(name, f"{name}.jpg")

    def names(self) -> set[str]:
        """Names of all files, without suffixes."""
        return set(self._by_name)


def _preference(file: str) -> tuple[int, str]:
    """The sort key of files of one stem: `.jpg` first."""
    order = (".jpg", ".jpeg", ".png")
    suffix = os.path.splitext(file)[1].lower()
    return order.index(suffix) if suffix in order else len(order), file


def _image_folder(root: Path) -> str | None:
    """The name of the folder of the images; `None` without one."""
    return next((name for name in _IMAGES if (root / name).is_dir()), None)


def _without_images(root: Path) -> LabelwiseError:
    """The error for a tree without images."""
    return LabelwiseError(
        f"{str(root)!r} without JPEGImages", f"the images in {root / 'JPEGImages'}", "check the path"
    )
