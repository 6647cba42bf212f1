"""Datumaro's own JSON, and its `imagenet_txt` lists: image labels of several subsets."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.readers import datumaro_lists
from labelwise.data.readers.datumaro_json import EXPECTED, Collected, collect_items
from labelwise.data.readers.exports import beginning, missing_export, refuse_archive
from labelwise.data.readers.files import image_folder, source_file
from labelwise.data.readers.image_labels import dataset_of_images
from labelwise.data.source import Source
from labelwise.types import Group

FORM = "datumaro:DIR|FILE.json[?images=DIR&blank=unknown]"
MEANING = "Datumaro's JSON (annotations/SUBSET.json, images/SUBSET/), or its imagenet_txt lists; subsets become splits"
OPTIONS = frozenset({"images", "blank", "duplicates", "missing"})

_SIGNS = re.compile(r'"dm_format_version"\s*:|"categories"\s*:\s*\{\s*("label"\s*:\s*\{\s*"labels"\s*:|\})')


def recognises(path: Path) -> bool:
    """Whether a path is a JSON file of Datumaro, or a folder of them or of its lists."""
    if path.is_dir():
        return bool(_json_files(path)) or datumaro_lists.recognises_lists(path)
    text = beginning(path)
    return text.lstrip().startswith("{") and bool(_SIGNS.search(text))


def read(source: Source) -> Dataset:
    """Reads labels of images, boxes and shapes as present; all labels are absent from an image without any.

    Raises:
        LabelwiseError: for a file of another kind, items other than images, labels out of range, or files with
            different lists of labels.
    """
    blank = source.choice("blank", ("negative", "unknown"))
    path = Path(source.path)
    collected = Collected()
    if path.is_dir() and datumaro_lists.recognises_lists(path):
        folder = path
        lists = datumaro_lists.read_lists(path)
        collected.labels = dict.fromkeys(lists.labels)
        base = _image_base(source, folder)
        for image, labels, subset, place in lists.lines:
            collected.add(image, [lists.labels[i] for i in labels], subset, place, base)
    else:
        files, folder = _files(source)
        base = _image_base(source, folder)
        for file in files:
            collect_items(file, collected, base)
    empty = sum(not item.present for item in collected.items)
    if empty and blank == "negative":
        collected.notes.append(
            f"{empty:,} images without annotations have none of the labels; blank=unknown makes them unknown."
        )
    if collected.left_out:
        left_out = ", ".join(f"{count:,} {kind}" for kind, count in collected.left_out.items())
        collected.notes.append(f"Not read as labels: {left_out}.")
    return dataset_of_images(
        [replace(item, known=bool(item.present) or blank == "negative") for item in collected.items],
        source,
        [base, folder],
        labels=tuple(collected.labels),
        groups=_groups(collected),
        notes=collected.notes,
    )


def _image_base(source: Source, folder: Path) -> Path:
    """The folder of the images: that of the option `images`, or `images` in the data set's folder."""
    given = source.options.get("images")
    return image_folder(given) if given else folder / "images"


def _json_files(folder: Path) -> list[Path]:
    """The files of Datumaro's JSON in a folder."""
    return [file for file in sorted(folder.glob("annotations/*.json")) if recognises(file)]


def _files(source: Source) -> tuple[list[Path], Path]:
    """The JSON files of a source, and the data set's folder."""
    path = Path(source.path)
    if path.is_dir():
        files = _json_files(path)
        if not files:
            raise missing_export(path, "annotations/SUBSET.json or synsets.txt", EXPECTED)
        return files, path
    file = source_file(source, f"{EXPECTED}, or its folder")
    refuse_archive(file, EXPECTED)
    return [file], file.parent.parent if file.parent.name == "annotations" else file.parent


def _groups(collected: Collected) -> dict[str, Group]:
    """The listed groups; a group that an image contradicts is not exclusive."""
    groups = {}
    for name, group in collected.groups.items():
        conflicts = (len(set(group.labels) & set(item.present)) > 1 for item in collected.items)
        clash = group.exclusive and any(conflicts)
        if clash:
            collected.notes.append(
                f"The labels of {name!r} do not exclude each other: an image has two of them."
            )
        groups[name] = Group(group.labels, group.exclusive and not clash)
    return groups
