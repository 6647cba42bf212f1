"""Where a written data set finds its images: names relative to a folder, or copies in a folder of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from labelwise.data.decode import is_jpeg
from labelwise.data.readers.name_doubts import few
from labelwise.data.wholefile import whole_folder
from labelwise.data.writers.job import Job
from labelwise.errors import LabelwiseError

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"P6", ".ppm"),
    (b"P5", ".pgm"),
)
_JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


def absolute_paths(job: Job) -> list[str]:
    """Absolute path of each image file, in the order of the rows.

    Raises:
        LabelwiseError: images that are no files of their own, or an image in two rows.
    """
    data = job.data
    if data.embedded:
        raise LabelwiseError(
            "images that stand inside the data set", "image files of their own", "add --images copy"
        )
    root = "" if data.root is None else str(data.root)
    paths = [os.path.abspath(os.path.join(root, name)) for name in data.images.to_pylist()]
    _refuse_repeated(paths)
    return paths


def names_from(paths: Iterable[str], folder: Path) -> list[str]:
    """Each path relative to a folder where it lies below it, else as it is, with `/` between the parts."""
    start = str(Path(os.path.abspath(folder)))
    start += "" if start.endswith(os.sep) else os.sep
    return [path.removeprefix(start).replace(os.sep, "/") for path in paths]


def common_root(job: Job, paths: Sequence[str]) -> Path:
    """The data set's own image folder where all images lie below it, else the deepest folder that holds them all."""
    if job.data.root is not None:
        root = Path(os.path.abspath(job.data.root))
        start = str(root) + ("" if str(root).endswith(os.sep) else os.sep)
        if all(path.startswith(start) for path in paths):
            return root
    return Path(os.path.commonpath([os.path.dirname(path) for path in paths]))


def copies_beside(job: Job, stack: ExitStack) -> tuple[Path, list[str]]:
    """Copies the images into a folder beside a file that is written; returns that folder and their names in it.

    Args:
        job: its `out` is the file.
        stack: the folder appears when it closes without an error.

    Raises:
        LabelwiseError: a folder of that name that exists, or an image that cannot be read.
    """
    folder = job.out.with_name(f"{job.out.stem}-images")
    if os.path.lexists(folder):
        raise LabelwiseError(f"{folder}, which exists", "a new folder", "remove it or rename OUT")
    return folder, copy_images(job, stack.enter_context(whole_folder(folder)))


def copy_images(job: Job, folder: Path) -> list[str]:
    """Copies every image into a new folder and returns their names below it.

    Names are those that the data set has; what could leave the folder is taken out of them, and a suffix that is not
    the file's kind is replaced.

    Raises:
        LabelwiseError: an image that cannot be read.
    """
    folder.mkdir(exist_ok=True)
    data, names = job.data, list[str]()
    taken: set[str] = set()
    for row in range(len(data)):
        image = data.encoded(row)
        if isinstance(image, bytes):
            name = (
                data.image_id(row).removeprefix("row ").rjust(8, "0")
                if data.holds_bytes
                else data.image_id(row)
            )
            name = _with_suffix(name, image)
        else:
            name = data.image_id(row)
        name = _fresh(_inner(name), taken)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if isinstance(image, bytes):
                target.write_bytes(image)
            else:
                shutil.copyfile(image, target)
        except OSError as error:
            raise LabelwiseError(
                f"image {data.image_id(row)}: {error.strerror}", "a file that can be copied", "restore it"
            ) from None
        names.append(name)
        if row % 64 == 63 or row + 1 == len(data):
            job.tick(row + 1)
    return names


def _refuse_repeated(paths: Sequence[str]) -> None:
    if len(set(paths)) == len(paths):
        return
    seen: set[str] = set()
    twice = [path for path in paths if path in seen or seen.add(path)]  # type: ignore[func-returns-value]
    raise LabelwiseError(
        f"{len(twice):,} images in several rows: {few(twice, 3)}", "a row an image", "merge the rows"
    )


def _inner(name: str) -> str:
    """A name that stays below its folder: an absolute one keeps its last part alone.

    >>> _inner("a/1.jpg"), _inner("../a/1.jpg"), _inner("/data/a/1.jpg"), _inner("..")
    ('a/1.jpg', 'a/1.jpg', '1.jpg', 'image')
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    parts = parts[-1:] if os.path.isabs(name) else parts
    return "/".join(parts) or "image"


def _with_suffix(name: str, content: bytes) -> str:
    """The name with the suffix of the content's kind, where the content tells one."""
    stem, suffix = os.path.splitext(name)
    if is_jpeg(content):
        return name if suffix.lower() in _JPEG else f"{stem}.jpg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return f"{stem}.webp"
    kind = next((kind for start, kind in _STARTS if content.startswith(start)), suffix)
    return name if suffix.lower() == kind else f"{stem}{kind}"


def _fresh(name: str, taken: set[str]) -> str:
    """The name, numbered where it is taken on a disk that ignores case."""
    stem, suffix = os.path.splitext(name)
    own, count = name, 1
    while own.casefold() in taken:
        count += 1
        own = f"{stem}-{count}{suffix}"
    taken.add(own.casefold())
    return own
