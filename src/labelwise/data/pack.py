"""A packed store: the decoded and resized images of a data set in consecutive order, with its labels."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from labelwise.cores import usable_cores
from labelwise.data.dataset import Dataset
from labelwise.data.decode import UnreadableImage, decode_image, image_size, is_jpeg, portable_pixmap
from labelwise.data.store import DESCRIPTION, FORMAT, SCHEMA, TABLE, file_check
from labelwise.data.table import write_table
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.data.wholefile import refuse_missing_folder, whole_file
from labelwise.errors import LabelwiseError

QUALITY = 95
ROWS_OF_FILE, ROWS_OF_BATCH = 4096, 64


@dataclass(frozen=True)
class Packed:
    """The result of `pack`.

    Args:
        out: the store's folder.
        rows: images in it.
        unreadable: row and reason of each image that could not be decoded; it is unreadable in the store too.
        bytes: size on disk.
        kept: rows of an earlier, interrupted run.
    """

    out: Path
    rows: int
    unreadable: tuple[tuple[int, str], ...]
    bytes: int
    kept: int


def pack(
    data: Dataset,
    out: Path,
    size: int = 256,
    form: str = "jpeg",
    workers: int | None = None,
    tick: Callable[[int], None] = lambda done: None,
) -> Packed:
    """Writes a data set as a store that `packed:DIR` reads.

    `raw` stores the pixels of the fixed transform at `size`, squashed to a square. `jpeg` copies a JPEG file with a
    short side of at most `size`, and encodes any other image with that short side.

    The folder is created atomically. An interrupted run resumes after its last complete file, if the images and
    settings are the same.

    Args:
        data: the images with their labels.
        out: the folder to write, which must not exist.
        size: pixels, from 8 to 4096.
        form: `jpeg` or `raw`.
        workers: threads that decode; `None` for one per processor.
        tick: called with the number of images done.

    Raises:
        LabelwiseError: a folder that exists, an invalid size or form, or a disk error.
    """
    _check(out, size, form)
    tmp = out.with_name(f".{out.name}.part")
    plan = {"format": FORMAT, "form": form, "size": size, "images": _digest(data)}
    with _disk_errors(out):
        kept = _resume(tmp, plan)
        failed = _write_files(data, tmp, _encoder(size, form), kept, workers or usable_cores(), tick)
        write_table(_without_images(data, size, form, len(failed)), tmp / TABLE)
        files = sorted(path.name for path in tmp.glob("images-*.arrow"))
        description = {
            **plan,
            "rows": len(data),
            "source": data.source,
            "files": {name: (tmp / name).stat().st_size for name in files},
            "table": {"bytes": (tmp / TABLE).stat().st_size, "check": file_check(tmp / TABLE)},
        }
        with whole_file(tmp / DESCRIPTION) as new:
            new.write_text(json.dumps(description, indent=2), encoding="utf-8")
        (tmp / "plan.json").unlink()
        os.rename(tmp, out)
    size_on_disk = sum(path.stat().st_size for path in out.iterdir())
    return Packed(out, len(data), tuple(failed), size_on_disk, min(kept * ROWS_OF_FILE, len(data)))


def _check(out: Path, size: int, form: str) -> None:
    """Raises `LabelwiseError` for a wrong form or size, or a folder that exists or cannot be made."""
    if form not in ("jpeg", "raw"):
        raise LabelwiseError(f"form {form!r}", "jpeg or raw", "correct the form")
    if not 8 <= size <= 4096:
        raise LabelwiseError(f"size {size}", "8 to 4096 pixels", "choose another size")
    if os.path.lexists(out):
        raise LabelwiseError(f"{out}, which exists", "a new folder", "choose another name or remove it")
    refuse_missing_folder(out)


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Turns disk errors into `LabelwiseError`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise LabelwiseError(
            f"{out} could not be written ({reason})",
            "a writable disk with free space",
            "free some space and run the same command again; what is finished is kept",
        ) from error


def _digest(data: Dataset) -> str:
    """Digest of the images: names, sizes and times of files, or bytes."""
    digest = hashlib.sha256()
    for i in range(len(data)):
        try:
            image = data.encoded(i)
        except UnreadableImage as error:
            image = str(error).encode()
        if isinstance(image, bytes):
            digest.update(f"{i} {len(image)} {zlib.crc32(image)}\n".encode())
        else:
            digest.update(os.fsencode(image))
            digest.update(f" {_file_state(image)}\n".encode())
    return digest.hexdigest()


def _file_state(file: Path) -> tuple[int, int] | None:
    """Size and time of change of a file; `None` if it cannot be read."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _resume(tmp: Path, plan: dict[str, Any]) -> int:
    """Number of complete files of an earlier run with the same plan, after all others are removed."""
    try:
        same = json.loads((tmp / "plan.json").read_text(encoding="utf-8")) == plan
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()
        with whole_file(tmp / "plan.json") as new:
            new.write_text(json.dumps(plan), encoding="utf-8")
    for path in tmp.iterdir():
        if path.name != "plan.json" and not re.fullmatch(r"images-\d{5}\.arrow", path.name):
            path.unlink()
    return len(list(tmp.glob("images-*.arrow")))


def _write_files(
    data: Dataset,
    tmp: Path,
    encode: Callable[[Path | bytes], bytes],
    kept: int,
    workers: int,
    tick: Callable[[int], None],
) -> list[tuple[int, str]]:
    """Writes the missing files; returns row and reason of every unreadable image."""
    failed = [pair for number in range(kept) for pair in _reasons(tmp / _name(number), number * ROWS_OF_FILE)]

    def encoded(row: int) -> bytes | str:
        try:
            return encode(data.encoded(row))
        except UnreadableImage as error:
            return error.given

    with ThreadPoolExecutor(max_workers=workers) as pool:
        for number in range(kept, -(-len(data) // ROWS_OF_FILE)):
            start = number * ROWS_OF_FILE
            stop = min(start + ROWS_OF_FILE, len(data))
            path = tmp / _name(number)
            with whole_file(path) as new, new.open("wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
                for first in range(start, stop, ROWS_OF_BATCH):
                    rows = range(first, min(first + ROWS_OF_BATCH, stop))
                    images = list(pool.map(encoded, rows))
                    writer.write_batch(_record_batch(images))
                    failed += [(row, f) for row, f in zip(rows, images, strict=True) if isinstance(f, str)]
                    tick(rows.stop)
    return failed


def _name(number: int) -> str:
    """The name of the store's file of this number."""
    return f"images-{number:05}.arrow"


def _reasons(file: Path, start: int) -> list[tuple[int, str]]:
    """Row and reason of each unreadable image of a finished file, whose first row is `start`."""
    reasons = pa.ipc.open_file(pa.memory_map(str(file))).read_all()["reason"].to_pylist()
    return [(start + i, reason) for i, reason in enumerate(reasons) if reason is not None]


def _record_batch(images: list[bytes | str]) -> pa.RecordBatch:
    """Rows of encoded images, or of the reasons for missing ones."""
    content = [None if isinstance(image, str) else image for image in images]
    checks = [None if image is None else zlib.crc32(image) for image in content]
    reasons = [image if isinstance(image, str) else None for image in images]
    columns = zip((content, checks, reasons), SCHEMA.types, strict=True)
    return pa.record_batch([pa.array(cells, kind) for cells, kind in columns], schema=SCHEMA)


def _encoder(size: int, form: str) -> Callable[[Path | bytes], bytes]:
    """The function that encodes an image in the form and size of the store."""
    if form == "raw":
        transform = build_transform(TransformConfig(image_size=size), train=False)
        return lambda image: portable_pixmap(transform(decode_image(image, shrink_to=transform.shrink_to)))
    return lambda image: _jpeg(image, size)


def _jpeg(image: Path | bytes, size: int) -> bytes:
    """A JPEG of an image: a copy of a small one, else encoded with the short side `size`."""
    content = image if isinstance(image, bytes) else _file_content(image)
    width, height = image_size(image)
    # Also where the file is copied, to detect a damaged one now.
    pixels = decode_image(image, shrink_to=size)
    if is_jpeg(content) and min(width, height) <= size:
        return content
    buffer = BytesIO()
    picture = Image.fromarray(_shrunk(pixels, size).permute(1, 2, 0).contiguous().numpy())
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _file_content(file: Path) -> bytes:
    """The bytes of a file; raises `UnreadableImage` with the reason where they cannot be read."""
    try:
        return file.read_bytes()
    except OSError:
        decode_image(file)  # raises an error with the reason
        raise


def _shrunk(pixels: UInt8[Tensor, "3 H W"], size: int) -> UInt8[Tensor, "3 h w"]:
    """The pixels at the short side `size`, or unchanged where it is no longer than that."""
    height, width = pixels.shape[-2:]
    scale = size / min(height, width)
    if scale >= 1:
        return pixels
    sides = [max(1, round(height * scale)), max(1, round(width * scale))]
    batch = pixels.unsqueeze(0).contiguous(memory_format=torch.channels_last)
    return v2.functional.resize(batch, sides, interpolation=InterpolationMode.BICUBIC, antialias=True)[0]


def _without_images(data: Dataset, size: int, form: str, failed: int) -> Dataset:
    """The rows with names instead of images, and a note on how they were packed."""
    square = f"squashed to {size} x {size} pixels"
    form_text = square if form == "raw" else f"JPEG with a short side of at most {size}"
    notes = [f"Packed from {data.source or 'a data set'}: images are {form_text}."]
    if failed:
        notes.append(f"{failed:,} images could not be decoded when they were packed.")
    names = pa.array([data.image_id(i) for i in range(len(data))], pa.string())
    return replace(data, images=names, root=None, numbers=None, store=None).with_notes(*notes)
