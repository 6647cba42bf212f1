"""Fingerprints for near duplicates: a perceptual hash and a thumbnail of every image, computed once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8, UInt64
from PIL import Image

from labelwise.cores import usable_cores
from labelwise.data.cache import THUMB_SIDE, PrintCache, StoredThumbs, image_keys, prints_folder
from labelwise.data.dataset import Dataset
from labelwise.data.decode import decode_image
from labelwise.errors import LabelwiseError
from labelwise.progress import bar

_ROWS = 512  # decoded per block, which bounds the results that wait for the disk


@dataclass(frozen=True)
class Fingerprints:
    """Hashes and thumbnails for the search of near duplicates.

    Args:
        hashes: `[N]` 64-bit perceptual hashes (DCT signs).
        thumbs: `[N, 16, 16, 3]` small RGB images, to verify pairs with close hashes; in memory, or in a file.
        readable: `[N]` bool.
        errors: row and reason of each image that could not be decoded.
    """

    hashes: UInt64[np.ndarray, " N"]
    thumbs: UInt8[np.ndarray, "N 16 16 3"] | StoredThumbs
    readable: Bool[np.ndarray, " N"]
    errors: tuple[tuple[int, str], ...]


def fingerprints(data: Dataset) -> Fingerprints:
    """Perceptual hash and thumbnail of every image, decoded at a reduced scale.

    They are stored in the cache folder, keyed by path, size and time of change of the image file, so that only new or
    changed images are decoded. Unreadable images are tried again each time.

    Raises:
        LabelwiseError: the cache's disk is full.
    """
    cache, keys = PrintCache(), image_keys(data)
    slots, hashes = cache.find(keys)
    errors: list[tuple[int, str]] = []

    def fingerprint_or_reason(row: int) -> tuple[int, np.ndarray] | str:
        try:
            pixels = decode_image(data.encoded(row), shrink_to=64).permute(1, 2, 0).contiguous().numpy()
        except LabelwiseError as error:
            return str(error)
        return fingerprint_image(pixels)

    missing = np.flatnonzero(slots < 0)
    with (
        ThreadPoolExecutor(max_workers=usable_cores()) as pool,
        bar("images searched for copies", len(missing)) as tick,
    ):
        for block in ranges(len(missing), _ROWS):  # bounds the number of pending results
            rows = missing[block.start : block.stop].tolist()
            read, computed = [], []
            for row, result in zip(rows, pool.map(fingerprint_or_reason, rows), strict=True):
                if isinstance(result, str):
                    errors.append((row, result))
                else:
                    read.append(row)
                    computed.append(result)
            if read:
                hashes[read] = np.array([bits for bits, _ in computed], np.uint64)
                slots[read] = cache.add(keys[read], hashes[read], np.stack([thumb for _, thumb in computed]))
            tick(block.stop)
    return Fingerprints(hashes, StoredThumbs(cache, slots), slots >= 0, tuple(errors))


def kept_hashes(data: Dataset) -> UInt64[np.ndarray, " N"] | None:
    """Cached perceptual hashes of all images; `None` where one is missing, and nothing is computed."""
    if not prints_folder().is_dir():
        return None
    slots, hashes = PrintCache().find(image_keys(data))
    return hashes if (slots >= 0).all() else None


def fingerprint_image(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[int, UInt8[np.ndarray, "16 16 3"]]:
    """64-bit perceptual hash and thumbnail of one image.

    The grey image at 32 x 32 pixels has a cosine transform. A bit of the hash says whether one of its 8 x 8 lowest
    frequencies is above their median. Equal to `phash` of ImageHash 4.3.
    """
    from scipy.fft import dct  # readers do not need scipy

    picture = Image.fromarray(pixels)
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS))
    frequencies = dct(dct(grey, axis=0), axis=1)[:8, :8]
    bits = frequencies > np.median(frequencies)
    thumb = np.asarray(picture.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX))
    return int(np.packbits(bits).view(">u8")[0]), thumb


def ranges(stop: int, step: int) -> Iterator[range]:
    """Blocks of at most `step` numbers that cover those below `stop`."""
    for start in range(0, stop, step):
        yield range(start, min(start + step, stop))
