"""The image files of a command's paths or SOURCE."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from labelwise.data import read
from labelwise.data.readers import READERS
from labelwise.data.source import parse
from labelwise.errors import LabelwiseError
from labelwise.inference.output import find_images


def image_paths(paths: Sequence[str], split: str | None, say: Callable[[str], None]) -> list[str]:
    """Files of paths as `labelwise predict` reads them, or of one SOURCE with its kind, such as `voc:DIR`.

    Args:
        paths: as on the command line.
        split: of a SOURCE; `None` for all images.
        say: called with each note on files that were left out.

    Raises:
        LabelwiseError: no such file, images inside a table, or a split of plain paths.
    """
    if len(paths) == 1 and not os.path.lexists(paths[0]) and parse(paths[0]).kind in READERS:
        data = read(paths[0])
        rows = data.split(split) if split else data
        if rows.embedded:
            raise LabelwiseError(
                f"{paths[0]}, which holds its images inside",
                "images that are files, so that results can show them",
                "give the folder of the images",
            )
        return [str(rows.encoded(i)) for i in range(len(rows))]
    if split:
        raise LabelwiseError(
            f"--split {split} of plain paths", "a SOURCE with splits, such as voc:DIR", "leave --split out"
        )
    notes: list[str] = []
    files = find_images(paths, notes)
    for note in notes:
        say(note)
    return files
