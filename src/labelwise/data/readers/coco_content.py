"""Content of a COCO file: its lists, validated entry by entry, and labels from its categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelwise.data.readers.coco_layout import LISTS, AnnotationFile
from labelwise.data.readers.exports import json_content
from labelwise.data.readers.lvis import refuse_other_names
from labelwise.data.readers.name_doubts import few
from labelwise.errors import LabelwiseError

Content = dict[str, Any]

_ENTRIES: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "images": {"id": (int, str), "file_name": (str,)},
    "annotations": {"image_id": (int, str), "category_id": (int,)},
    "categories": {"id": (int,), "name": (str,)},
}
"""Required keys of each list's entries and their types; an image may have `coco_url` in place of `file_name`."""


def labelled_content(file: AnnotationFile) -> Content:
    """The validated lists of a file, with the annotations of the files beside it.

    Raises:
        LabelwiseError: for a file of another kind, files that contradict each other, images without any annotation,
            or names that `refuse_other_names` rejects.
    """
    content = read_content(file.path)
    for path in file.beside:
        content = _joined(content, read_content(path), file.path, path)
    refuse_other_names(file.path, content["images"])
    verified = any(image.get("neg_category_ids") for image in content["images"])
    if content["images"] and not content["annotations"] and not verified:
        raise LabelwiseError(
            f"{file.path}: {len(content['images']):,} images and no annotation at all",
            "an annotation for every label of an image, since an image without any is read as all-negative",
            "leave the file out; if its images have labels, export them in a form that holds them, such as CSV or JSON",
        )
    return content


def read_content(file: Path) -> Content:
    """The three lists of a COCO file; raises `LabelwiseError` for a file of another kind or a wrong entry."""
    content = json_content(file, "a COCO annotation file")
    lists = content if isinstance(content, dict) else {}
    absent = [name for name in LISTS if not isinstance(lists.get(name), list)]
    if absent:
        todo = "check the file"
        if absent == ["annotations"]:
            todo = "name the file that holds them; `labelwise predict` takes images without labels"
        raise LabelwiseError(f"{file} without {', '.join(absent)}", f"lists {', '.join(LISTS)}", todo)
    for name, keys in _ENTRIES.items():
        for number, item in enumerate(content[name]):
            _check_entry(item, keys, f"{file}: entry {number} of {name}")
    return content


def _check_entry(item: Any, keys: Mapping[str, tuple[type, ...]], place: str) -> None:
    """Raises `LabelwiseError` for an entry without a key, or with a value of another type."""
    for key, kinds in keys.items():
        if isinstance(item, dict) and key == "file_name" and item.get(key) is None and "coco_url" in item:
            key = "coco_url"
        if not (isinstance(item, dict) and key in item):
            raise LabelwiseError(f"{place} without {key}", " and ".join(keys), "correct the file")
        if type(item[key]) not in kinds:  # not isinstance: true is not a number
            expected = " or ".join({int: "a whole number", str: "text"}[kind] for kind in kinds)
            raise LabelwiseError(f"{place} with {key} {item[key]!r}", expected, "correct the file")


def _joined(content: Content, other: Content, file: Path, path: Path) -> Content:
    """A file's content with the images and annotations of another file that a tool wrote beside it."""
    names = {image["id"]: image.get("file_name") for image in content["images"]}
    for image in other["images"]:
        if image["id"] in names and names[image["id"]] != image.get("file_name"):
            raise LabelwiseError(
                f"{path}: image {image['id']} is {image.get('file_name')}, in {file.name} {names[image['id']]}",
                "the same images in files of one subset",
                "name one of the files",
            )
    if other["categories"] and not _same_names(content["categories"], other["categories"]):
        raise _categories_error(path, file)
    added = [image for image in other["images"] if image["id"] not in names]
    return {
        **content,
        "images": [*content["images"], *added],
        "annotations": [*content["annotations"], *other["annotations"]],
    }


def categories(
    files: Sequence[AnnotationFile], contents: Sequence[Content]
) -> tuple[tuple[str, ...], dict[int, int], list[str]]:
    """Label names in ascending category id, the column of each id, and notes.

    Raises:
        LabelwiseError: for a repeated id, or files with different categories.
    """
    first = contents[0]["categories"]
    for file, content in zip(files, contents, strict=True):
        if len({item["id"] for item in content["categories"]}) < len(content["categories"]):
            raise LabelwiseError(f"{file.path}: a category id twice", "distinct ids", "correct the file")
        if not _same_names(content["categories"], first):
            raise _categories_error(file.path, files[0].path)
    names = {item["id"]: item["name"] for item in sorted(first, key=lambda item: item["id"])}
    used = {item["category_id"] for content in contents for item in content["annotations"]}
    notes = []
    if 0 not in used and _is_root(first):
        notes.append(f"Category 0, {names.pop(0)!r}, is a group of the others, not a label: it is left out.")
    unused = [name for number, name in names.items() if number not in used]
    if unused:
        notes.append(f"{len(unused):,} categories have no annotation and stay as labels: {few(unused)}.")
    return tuple(names.values()), {number: column for column, number in enumerate(names)}, notes


def _is_root(items: Sequence[Mapping[str, Any]]) -> bool:
    """Whether category 0 is the supercategory of all others, as exports of some tools list it."""
    root = next((item["name"] for item in items if item["id"] == 0), None)
    others = [item.get("supercategory") for item in items if item["id"] != 0]
    return root is not None and bool(others) and all(name == root for name in others)


def _same_names(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two lists of categories have the same ids and names."""
    return {item["id"]: item["name"] for item in first} == {item["id"]: item["name"] for item in second}


def _categories_error(file: Path, first: Path) -> LabelwiseError:
    """The error for a file whose categories differ from those of another."""
    return LabelwiseError(
        f"{file.name} with other categories than {first.name}",
        "the same ids and names in every file",
        "read the files one by one, or make them agree",
    )
