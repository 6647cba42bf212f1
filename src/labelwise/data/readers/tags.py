"""A text file of tags beside each image, as taggers and trainers of image generators write them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name, walk
from labelwise.data.readers.exports import beginning, utf8_text
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.image_labels import ImageLabels, dataset_of_images
from labelwise.data.readers.name_doubts import few, refuse_bits, refuse_joined, refuse_marked
from labelwise.data.readers.name_pieces import is_sentence, refuse_pieces
from labelwise.data.readers.split_names import canonical
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError

FORM = "tags:DIR[?suffix=.caption&separator=;]"
MEANING = (
    "a .txt of tags separated by commas beside each image, in subfolders too; a tag that it lacks is absent"
)
OPTIONS = frozenset({"suffix", "separator", "blank", "missing"})

SENTENCE = 4.0  # mean words per tag above which texts that rarely repeat a tag are prose
ONCE = 0.8  # share of tags on a single image above which tags rarely repeat
_LOOKED_AT = 64  # texts that are read to recognise a folder
_WALKED = 1024  # image files after which the walk stops
_OTHER_SUFFIXES = (".txt", ".caption", ".tags")
_ESCAPED = re.compile(r"\\([()\[\]{}])")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)

Pair = tuple[str, str | None]  # an image, and its text if there is one, relative to the folder


def recognises(path: Path) -> bool:
    """Whether most images of a folder have a text beside them, and texts hold tags rather than boxes or prose."""
    if not path.is_dir():
        return False
    pairs: list[Pair] = []
    for in_folder, _ in _folders(path, ".txt", glance=True):
        pairs += in_folder
        if len(pairs) >= _WALKED:
            break
    texts = [text for _, text in pairs if text is not None]
    if len(texts) * 2 <= len(pairs):
        return False
    step = max(1, len(texts) // _LOOKED_AT)
    tags = []
    for name in texts[::step]:
        text = beginning(path / name, 4096)
        if _is_numbers(text):
            return False
        tags.append(split_tags(text, ","))
    return any(tags) and not _is_prose(tags)


def read(source: Source) -> Dataset:
    """Reads the tags; labels of an image without a text are unknown, and top folders train, val, test are splits.

    Raises:
        WouldLose: texts without an image.
        LabelwiseError: texts of numbers or sentences, not in UTF-8, or shared by two images; tags that are not
            plain names.
    """
    root = source_folder(source, "a folder of images with texts of tags")
    suffix = "." + source.options.get("suffix", ".txt").strip().lstrip(".").lower()
    separator = source.options.get("separator", ",")
    if not separator or suffix == ".":
        raise LabelwiseError(
            f"an empty option in {str(source)!r}", "a separator and a suffix", "correct the option"
        )
    blank = source.choice("blank", ("negative", "unknown"))
    policy = source.choice("missing", ("stop", "skip"))
    pairs: list[Pair] = []
    unpaired: list[str] = []
    for in_folder, without_image in _folders(root, suffix):
        pairs += in_folder
        unpaired += without_image
    _refuse_shared(pairs)
    tags = [None if text is None else _read_tags(root / text, separator) for _, text in pairs]
    for text in unpaired:
        _read_tags(root / text, separator)  # raises the specific error for boxes in a separate folder
    tagged = [row for row in tags if row is not None]
    if not tagged:
        raise _no_texts(root, suffix, len(pairs))
    all_tags = {tag for row in tagged for tag in row}
    refuse_bits(all_tags, f"{root}")
    if all_tags and all(re.fullmatch(r"[\d\s.]+", tag) for tag in all_tags):
        raise LabelwiseError(
            f"{root} with texts of numbers, as {', '.join(sorted(all_tags)[:3])}",
            "tags as names",
            "write the names of the labels instead of their numbers",
        )
    if _is_prose(tagged):
        example = next(row for row in tagged if row)
        raise LabelwiseError(
            f"{root} with texts of sentences, as {', '.join(example)[:100]!r}",
            f"tags separated by {separator!r}",
            "set separator=MARK, or write tags",
        )
    if "separator" not in source.options:
        _refuse_no_names(root, pairs, tags, all_tags)
    if unpaired and policy == "stop":
        raise WouldLose(
            f"{len(unpaired):,} texts without an image: {few(unpaired)}",
            "an image of the same name beside each",
            "add the images, or leave these texts out with missing=skip",
            ("missing", "skip"),
        )
    notes = _notes(tagged, blank)
    if unpaired:
        notes.append(f"{len(unpaired):,} texts without an image were left out: {unpaired[0]}.")
    items = []
    for (image, _), row in zip(pairs, tags, strict=True):
        known = bool(row) or (row is not None and blank == "negative")
        items.append(ImageLabels(image, row or (), known=known, split=_split(image), place=image))
    return dataset_of_images(items, source, [root], notes=notes)


def _folders(root: Path, suffix: str, *, glance: bool = False) -> Iterator[tuple[list[Pair], list[str]]]:
    """Yields, for each folder, its images with their texts, and the texts without an image."""
    for _, start, files, _, _ in walk(root, glance=glance):
        texts = {name[: -len(suffix)]: name for name in files if name.lower().endswith(suffix)}
        used: set[str | None] = set()
        pairs: list[Pair] = []
        for image in files:
            if not is_image_name(image) or image.lower().endswith(suffix):
                continue
            text = texts.get(image) or texts.get(os.path.splitext(image)[0])
            used.add(text)
            pairs.append((start + image, None if text is None else start + text))
        yield pairs, [start + text for text in texts.values() if text not in used]


def _refuse_shared(pairs: Sequence[Pair]) -> None:
    """Raises `LabelwiseError` for a text that belongs to two images."""
    owner: dict[str, str] = {}
    for image, text in pairs:
        if text is not None and owner.setdefault(text, image) != image:
            raise LabelwiseError(
                f"{owner[text]} and {image}, which share {text}",
                "one text per image",
                "rename one of the images",
            )


def _refuse_no_names(
    root: Path, pairs: Sequence[Pair], tags: Sequence[Sequence[str] | None], all_tags: Collection[str]
) -> None:
    """Raises `LabelwiseError` for texts of sentences, tags with another separator, and tags that are not names."""
    for (_, text), row in zip(pairs, tags, strict=True):
        sentences = [tag for tag in row or () if is_sentence(tag)]
        if len(sentences) * 2 > len(row or ()):
            raise LabelwiseError(
                f"{root}/{text} with a sentence, {sentences[0][:60]!r}",
                "tags separated by ','",
                "write tags, or add ?separator=, if these are names",
            )
    # Taggers use faces such as `:)`, which are not fragments of a list.
    refuse_pieces((tag for tag in sorted(all_tags) if sum(map(str.isalnum, tag)) > 1), f"{root}")
    refuse_marked(all_tags, f"{root}", ",")
    refuse_joined(all_tags, f"{root}", ",")


def _read_tags(file: Path, separator: str) -> tuple[str, ...]:
    """The tags of a file; raises `LabelwiseError` unless it is text, or if it holds boxes."""
    text = utf8_text(file)
    if _is_numbers(text):
        raise LabelwiseError(
            f"{file} with lines of numbers, as {text.strip().splitlines()[0][:60]!r}: boxes as YOLO writes them",
            "tags",
            "convert the boxes to COCO, and read them with coco:FILE",
        )
    return split_tags(text, separator)


def split_tags(text: str, separator: str) -> tuple[str, ...]:
    """Distinct tags of a text in their order; line ends separate them too, and escaped brackets become plain ones.

    >>> split_tags("1girl, smile \\\\(happy\\\\),\\n 1girl", ",")
    ('1girl', 'smile (happy)')
    """
    parts = (part.strip() for line in text.splitlines() for part in line.split(separator))
    return tuple(dict.fromkeys(_ESCAPED.sub(r"\1", part) for part in parts if part))


def _is_numbers(text: str) -> bool:
    """Whether the first line holds coordinates: at least four numbers, which are most of its cells."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    cells = [cell for cell in re.split(r"[\s,;]+", line) if cell]
    numbers = sum(bool(_NUMBER.fullmatch(cell)) for cell in cells)
    return numbers >= 4 and numbers * 2 > len(cells)


def _is_prose(tags: Sequence[Sequence[str]]) -> bool:
    """Whether tags are sentences: many words, which rarely occur on a second image."""
    count = Counter(tag for row in tags for tag in row)
    if len(count) < 2:
        return False
    length = sum(len(tag.split()) for tag in count) / len(count)
    return length > SENTENCE and sum(n == 1 for n in count.values()) > ONCE * len(count)


def _notes(tags: Sequence[Sequence[str]], blank: str) -> list[str]:
    """Notes on tags of every image and on empty texts."""
    count = Counter(tag for row in tags for tag in row)
    notes = []
    everywhere = [tag for tag, n in count.items() if n == len(tags)]
    if everywhere and len(tags) > 1:
        notes.append(f"Tags of every image, of which nothing can be learned: {few(everywhere)}.")
    empty = sum(not row for row in tags)
    if empty and blank == "negative":
        notes.append(
            f"{empty:,} images with an empty text have no tag; blank=unknown makes their labels unknown."
        )
    return notes


def _no_texts(root: Path, suffix: str, images: int) -> LabelwiseError:
    """The error for a folder without texts, which names another suffix of texts beside the images."""
    others = (name for name in _OTHER_SUFFIXES if name != suffix)
    used = next((s for s in others for pairs, _ in _folders(root, s) if any(text for _, text in pairs)), None)
    return LabelwiseError(
        f"{root} with {images:,} images and no {suffix} beside them",
        f"a text of tags of the same name and the suffix {suffix}",
        f"add suffix={used}" if used else "check the path, or set suffix=SUFFIX",
    )


def _split(image: str) -> str:
    """The split of an image by its top folder; empty if that names none."""
    return canonical(image.partition("/")[0] if "/" in image else "") or ""
