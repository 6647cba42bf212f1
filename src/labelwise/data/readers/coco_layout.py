"""Layout of COCO annotations: the files of a source, their splits, and recognition of COCO files and folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelwise.data.imagefiles import walk
from labelwise.data.readers.files import source_file
from labelwise.data.readers.lines import first_object
from labelwise.data.readers.split_names import SPLIT_ORDER, split_in_name, splits_together
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

LISTS = ("images", "annotations", "categories")
_TASK = re.compile(r"(instances|labels|image_info|captions|person_keypoints|stuff|panoptic)_(.+)")
_HEAD_BYTES = 1 << 16  # bytes from which a COCO file is recognised: they contain the key of its first list
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|[{}\[\]]', re.DOTALL)
_FileGroup = tuple[Path, tuple[Path, ...]]  # a file and those with further annotations of its images
_INSPECTED = 20  # JSON files of one folder that are inspected to recognise it


@dataclass(frozen=True)
class AnnotationFile:
    """A file to read.

    Args:
        path: of the file.
        split: its split, if a file or folder name contains one.
        beside: files with further annotations of the same images.
        root: the folder that the source names, if it names one.
    """

    path: Path
    split: str | None
    beside: tuple[Path, ...] = ()
    root: Path | None = None


@dataclass(frozen=True)
class Layout:
    """The annotation files of a source, notes on them, and the year of an official COCO folder."""

    files: tuple[AnnotationFile, ...]
    notes: tuple[str, ...] = ()
    year: str | None = None


def layout(source: Source) -> Layout:
    """The annotation files that a source names, each with its split.

    Raises:
        LabelwiseError: for a missing file, a folder without annotations, half of COCO-2014, or a split in the names
            of only some files.
    """
    root = Path(source.path)
    if root.is_dir():
        return _official_layout(root) or _with_splits(*_files_of_folder(root), root)
    names = [source.path]
    if not root.is_file():  # a comma may be part of a file's name
        names = [text.strip() for text in source.path.split(",") if text.strip()] or names
    files = [source_file(Source(source.kind, name), "a COCO annotation file") for name in names]
    return _with_splits([(file, ()) for file in files], [], None)


def is_coco_file(file: Path) -> bool:
    """Whether a file looks like COCO: a JSON object with the lists of COCO among its first."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return False
    if first_object(file) and re.match(r"\s*\{.*\}[ \t\r]*\n\s*\{", head):
        return False  # JSON lines
    return head.lstrip()[:1] == "{" and any(key in LISTS for key in _lists_at_top(head))


def is_coco_folder(folder: Path) -> bool:
    """Whether a folder holds COCO annotations: directly, in `annotations`, or in folders named after splits."""
    return bool(next(_candidate_files(folder, quick=True), None))


def _lists_at_top(head: str) -> Iterator[str]:
    """Keys of the outermost object with a list as value."""
    depth, key = 0, ""
    for token in _TOKEN.finditer(head):
        symbol = token[0]
        if symbol in "{[":
            if symbol == "[" and depth == 1:
                yield key
            depth += 1
        elif symbol in "}]":
            depth -= 1
        elif depth == 1:
            key = token[1]


def _official_layout(root: Path) -> Layout | None:
    """The layout of an official COCO folder: train2014 or train2017 for training, val for testing."""
    for year in ("2014", "2017"):
        split_of = {f"train{year}": "train", f"val{year}": "test"}
        files = {name: root / "annotations" / f"instances_{name}.json" for name in split_of}
        present = [name for name, file in files.items() if file.is_file()]
        if not present or (root / "annotations" / f"instances_test{year}.json").is_file():
            continue  # with a labelled test split, val is not needed as test
        missing = [files[name].name for name in split_of if name not in present]
        if missing and year == "2014":
            raise LabelwiseError(
                f"{str(root)!r} without annotations/{missing[0]}",
                "a COCO-2014 folder, or annotation files",
                "add the file, or write coco:ANNOTATIONS.json",
            )
        notes = [f"annotations/{name} is not there: {present[0]} is read alone." for name in missing]
        if f"val{year}" in present:
            notes.append(f"val{year} is called test, as the field uses it.")
        used = tuple(AnnotationFile(files[name], split_of[name], root=root) for name in present)
        unread = set((root / "annotations").glob("instances_*.json")) - {file.path for file in used}
        notes += [f"Not read: {_paths(sorted(unread), root)}."] if unread else []
        return Layout(used, tuple(notes), year)
    return None


def _files_of_folder(root: Path) -> tuple[list[_FileGroup], list[str]]:
    """The files to read in a folder, and notes on them; raises if there are none."""
    candidates = next(_candidate_files(root), None)
    if not candidates:
        raise LabelwiseError(
            f"{str(root)!r} without a COCO annotation file",
            "JSON files with images, annotations and categories, in annotations/ or in folders of splits",
            "check the path, or write coco:ANNOTATIONS.json",
        )
    files: list[_FileGroup] = []
    for folder in dict.fromkeys(file.parent for file in candidates):
        files += _files_of_tasks([file for file in candidates if file.parent == folder])
    used = {path for file, beside in files for path in (file, *beside)}
    unread = [file for file in candidates if file not in used]
    notes = [f"Not read, without labels of images: {_paths(unread, root)}."] if unread else []
    notes += [f"{_paths(beside, root)}: read together with {file.name}." for file, beside in files if beside]
    return files, notes


def _files_of_tasks(candidates: list[Path]) -> list[_FileGroup]:
    """The files to read if a tool writes one per task: captions, boxes and labels of the same images."""
    tasks = {file: match.groups() for file in candidates if (match := _TASK.fullmatch(file.stem))}
    if not any(task in ("instances", "labels") for task, _ in tasks.values()):
        return [(file, ()) for file in candidates]
    by_task = {task: file for file, task in tasks.items()}
    files: list[_FileGroup] = [(file, ()) for file in candidates if file not in tasks]
    for subset in dict.fromkeys(subset for _, subset in tasks.values()):
        boxes, labels, info = [by_task.get((task, subset)) for task in ("instances", "labels", "image_info")]
        beside = [labels, info] if labels else []  # the official image_info lists images without labels
        main = boxes or labels
        if main:
            files.append((main, tuple(file for file in beside if file and file != main)))
    return files


def _candidate_files(root: Path, quick: bool = False) -> Iterator[list[Path]]:
    """COCO files in `annotations` of a folder, in the folder, and in its subfolders; places without any are skipped.

    With `quick`, only a few files of a folder and only subfolders named after splits are inspected, because a folder
    may hold thousands of both.
    """
    yield from filter(None, (_coco_files(base, quick) for base in (root / "annotations", root)))
    listings = walk(root, 0, glance=quick) if root.is_dir() else ()
    folders = [root / name for listing in listings for name in listing.folders]
    if quick:
        folders = [folder for folder in folders if split_in_name(folder.name)]
    by_folder = [_coco_files(base, quick) for folder in folders for base in (folder, folder / "annotations")]
    if any(by_folder):
        yield [file for files in by_folder for file in files]


def _coco_files(folder: Path, quick: bool) -> list[Path]:
    """COCO files directly in a folder; with `quick`, of its first few JSON files."""
    listings = walk(folder, 0, glance=quick) if folder.is_dir() else ()
    files = [folder / name for listing in listings for name in listing.files if name.endswith(".json")]
    return [file for file in files[: _INSPECTED if quick else None] if is_coco_file(file)]


def _with_splits(files: Sequence[_FileGroup], notes: list[str], root: Path | None) -> Layout:
    """The files with their splits; raises if only some of the names contain a split."""
    top = root or Path(os.path.commonpath([file.parent.absolute() for file, _ in files]))
    names = [_name_of_split(file, top) for file, _ in files]
    splits = splits_together(names, [split_in_name(name) for name in names])
    unnamed = [file for (file, _), split in zip(files, splits, strict=True) if split is None]
    if unnamed and len(unnamed) < len(files):
        raise LabelwiseError(
            f"{_paths(unnamed[:1], top)} beside files of named splits",
            "train, val or test in the name of every file or of its folder",
            "rename it, or name the files to read",
        )
    if len(unnamed) > 1:
        listed = _paths(unnamed[:5], top)
        notes = [*notes, f"No name of {len(files)} files names a split, so they are read as one: {listed}."]
    to_read = [
        AnnotationFile(file, split, beside, root) for (file, beside), split in zip(files, splits, strict=True)
    ]
    if root:  # the files of a folder have no order of their own
        to_read.sort(key=lambda file: (*SPLIT_ORDER, None).index(file.split))
    for split in dict.fromkeys(file.split for file in to_read if file.split):
        names_in_split = _paths([file.path for file in to_read if file.split == split], top)
        notes = [*notes, f"Split {split}, by its name: {names_in_split}."]
    return Layout(tuple(to_read), tuple(notes))


def _name_of_split(file: Path, top: Path) -> str:
    """The file's name if it contains a split, else that of the nearest such folder below `top`; else empty."""
    file, top = file.absolute(), top.absolute()
    folders = file.relative_to(top).parts[-2::-1] if top in file.parents else ()
    return next(filter(split_in_name, (file.stem, *folders)), "")


def _paths(files: Iterable[Path], top: Path) -> str:
    """Paths relative to `top`, for a message."""
    return ", ".join(Path(os.path.relpath(file.absolute(), top.absolute())).as_posix() for file in files)
