"""Images of a written data set: names relative to a folder, or copies in a separate folder."""

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

_SIGNATURES = (
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
        LabelwiseError: images that are not separate files, or an image in two rows.
    """
    data = job.data
    if data.embedded:
        raise LabelwiseError("images inside the data set", "separate image files", "add --images copy")
    root = "" if data.root is None else str(data.root)
    paths = [os.path.abspath(os.path.join(root, name)) for name in data.images.to_pylist()]
    _refuse_repeated(paths)
    return paths


def names_from(paths: Iterable[str], folder: Path) -> list[str]:
    """Each path relative to a folder if it is below it, else unchanged, with `/` between the parts."""
    start = str(Path(os.path.abspath(folder)))
    start += "" if start.endswith(os.sep) else os.sep
    return [path.removeprefix(start).replace(os.sep, "/") for path in paths]


def common_root(job: Job, paths: Sequence[str]) -> Path:
    """The image folder of the data set if all images are below it, else their deepest common folder."""
    if job.data.root is not None:
        root = Path(os.path.abspath(job.data.root))
        start = str(root) + ("" if str(root).endswith(os.sep) else os.sep)
        if all(path.startswith(start) for path in paths):
            return root
    return Path(os.path.commonpath([os.path.dirname(path) for path in paths]))


def copies_beside(job: Job, stack: ExitStack) -> tuple[Path, list[str]]:
    """Copies the images into a folder next to the written file; returns the folder and their names in it.

    Args:
        job: its `out` is the file.
        stack: the folder is created when it closes without an error.

    Raises:
        LabelwiseError: an existing folder of that name, or an unreadable image.
    """
    folder = job.out.with_name(f"{job.out.stem}-images")
    if os.path.lexists(folder):
        raise LabelwiseError(f"{folder}, which exists", "a new folder", "remove it or rename OUT")
    return folder, copy_images(job, stack.enter_context(whole_folder(folder)))


def copy_images(job: Job, folder: Path) -> list[str]:
    """Copies every image into a new folder and returns their names below it.

    Names are those of the data set, without parts that would leave the folder, and with the suffix of the file's
    format.

    Raises:
        LabelwiseError: an unreadable image.
    """
    folder.mkdir(exist_ok=True)
    data, names = job.data, list[str]()
    used: set[str] = set()
    for row in range(len(data)):
        image = data.encoded(row)
        name = data.image_id(row)
        if isinstance(image, bytes):
            name = name.removeprefix("row ").rjust(8, "0") if data.holds_bytes else name
            name = _with_suffix(name, image)
        name = _unused(_inside_folder(name), used)
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
    """Raises `LabelwiseError` for an image in two rows."""
    if len(set(paths)) == len(paths):
        return
    seen: set[str] = set()
    repeated = [path for path in paths if path in seen or seen.add(path)]  # type: ignore[func-returns-value]
    raise LabelwiseError(
        f"{len(repeated):,} images in several rows: {few(repeated, 3)}", "one row per image", "merge the rows"
    )


def _inside_folder(name: str) -> str:
    """A name without parts that would leave its folder; of an absolute name only the last part.

    >>> _inside_folder("a/1.jpg"), _inside_folder("../a/1.jpg"), _inside_folder("/data/a/1.jpg"), _inside_folder("..")
    ('a/1.jpg', 'a/1.jpg', '1.jpg', 'image')
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    parts = parts[-1:] if os.path.isabs(name) else parts
    return "/".join(parts) or "image"


def _with_suffix(name: str, content: bytes) -> str:
    """The name with the suffix of the content's format, if its magic bytes are known."""
    stem, suffix = os.path.splitext(name)
    if is_jpeg(content):
        return name if suffix.lower() in _JPEG else f"{stem}.jpg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return f"{stem}.webp"
    format_suffix = next((end for start, end in _SIGNATURES if content.startswith(start)), suffix)
    return name if suffix.lower() == format_suffix else f"{stem}{format_suffix}"


def _unused(name: str, used: set[str]) -> str:
    """The name, with a number if it is in use, ignoring case."""
    stem, suffix = os.path.splitext(name)
    unique, count = name, 1
    while unique.casefold() in used:
        count += 1
        unique = f"{stem}-{count}{suffix}"
    used.add(unique.casefold())
    return unique
