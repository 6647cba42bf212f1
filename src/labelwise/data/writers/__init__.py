"""Writers, one file per form of another tool: Dataset -> files. What a form cannot hold is refused or noted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.writers import coco, csv, datasets, labelstudio, lightly, parquet
from labelwise.data.writers.job import Job, Written
from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class Writer:
    """A form.

    Args:
        meaning: one line for people.
        suffixes: endings of the file that it writes; an empty one stands for a folder.
        images: ways to give the images, the usual one first.
        options: which of `predictions` and `url_prefix` it takes.
        write: the function.
    """

    meaning: str
    suffixes: tuple[str, ...]
    images: tuple[str, ...]
    options: frozenset[str]
    write: Callable[[Job], Written]


WRITERS: Mapping[str, Writer] = {
    module.__name__.rpartition(".")[2]: Writer(
        module.MEANING, module.SUFFIXES, module.IMAGES, module.OPTIONS, module.write
    )
    for module in (csv, parquet, coco, datasets, labelstudio, lightly)
}
BY_SUFFIX = {".csv": "csv", ".parquet": "parquet"}
"""Forms that a file name tells by itself."""


def form_of(out: Path, form: str | None) -> str:
    """The form to write: the one that is named, or the one that the file name tells.

    Raises:
        LabelwiseError: no such form, a name that tells none, or one that the form does not have.
    """
    suffix = out.suffix.lower()
    listed = ", ".join(WRITERS)
    if form is None:
        if suffix not in BY_SUFFIX:
            raise LabelwiseError(
                f"{str(out)!r}, a name of no form by itself", "a form for it", f"add --form, one of {listed}"
            )
        return BY_SUFFIX[suffix]
    if form not in WRITERS:
        raise LabelwiseError(f"form {form!r}", f"one of {listed}", "correct --form")
    wanted = WRITERS[form].suffixes
    if suffix not in wanted and not ("" in wanted and suffix not in _OTHER_FILES):
        kinds = " or ".join("a folder" if not end else f"a file name in {end}" for end in wanted)
        raise LabelwiseError(f"{str(out)!r} for the form {form}", kinds, "rename it")
    return form


_OTHER_FILES = frozenset({".csv", ".tsv", ".parquet", ".json", ".jsonl", ".xml", ".yaml", ".arrow", ".zip"})
"""Endings that nobody gives to a folder."""


def convert(
    data: Dataset,
    out: str | Path,
    form: str | None = None,
    *,
    images: str | None = None,
    threshold: float | None = None,
    unknown: str | None = None,
    predictions: str | Path | None = None,
    url_prefix: str | None = None,
    replaced: bool = False,
    tick: Callable[[int], None] = lambda done: None,
) -> Written:
    """Writes a data set in the form of another tool; the file or folder appears whole or not at all.

    Args:
        data: the rows.
        out: file or folder to write.
        form: a name of `WRITERS`; `None` where the file name tells it.
        images: `paths`, `copy` or `embed`, as far as the form has them; `None` for its usual way.
        threshold: least share, in (0, 1], of a soft label that counts as present; others are absent.
        unknown: `negative` writes unknown labels as absent; `None` keeps them unknown or refuses.
        predictions: a file that `labelwise predict --out` wrote (form `labelstudio`).
        url_prefix: what stands before the path of an image below its root (form `labelstudio`).
        replaced: whether a file that exists is replaced; a folder never is.
        tick: takes the number of images done.

    Raises:
        LabelwiseError: a form or option that does not fit, an `out` that exists, or what the form cannot hold.
    """
    out = Path(out)
    form = form_of(out, form)
    writer = WRITERS[form]
    way = images or ("embed" if data.embedded and "embed" in writer.images else writer.images[0])
    if way not in writer.images:
        raise LabelwiseError(
            f"--images {way} for the form {form}", " or ".join(writer.images), "correct --images"
        )
    for name, value in (("predictions", predictions), ("url_prefix", url_prefix)):
        if value is not None and name not in writer.options:
            raise LabelwiseError(
                f"--{name.replace('_', '-')} for the form {form}, which has no place for it",
                "labelstudio",
                "leave it out",
            )
    _refuse_existing(out, replaced)
    data, notes = _hard(data, threshold)
    data, more = _all_known(data, unknown)
    job = Job(data, out, way, None if predictions is None else Path(predictions), url_prefix, tick)
    written = writer.write(job)
    return replace(written, notes=(*notes, *more, *written.notes))


def _refuse_existing(out: Path, replaced: bool) -> None:
    if not out.absolute().parent.is_dir():
        raise LabelwiseError(
            f"{str(out)!r} in a folder that does not exist", "an existing folder", "make it first"
        )
    if out.is_dir():
        if any(out.iterdir()):
            raise LabelwiseError(
                f"{out}, a folder that holds something", "a new folder", "choose another OUT"
            )
    elif os.path.lexists(out) and not replaced:
        raise LabelwiseError(f"{out}, which exists", "a new file", "choose another OUT or add --replace")


def _hard(data: Dataset, threshold: float | None) -> tuple[Dataset, list[str]]:
    """The rows with present and absent in place of shares, where a threshold is given."""
    if threshold is None:
        return data, []
    soft = data.known & (data.values > 0) & (data.values < 1)
    if not 0 < threshold <= 1 or not soft.any():
        given = f"--threshold {threshold:g}" + (" for labels without shares" if 0 < threshold <= 1 else "")
        raise LabelwiseError(given, "a share in (0, 1] for labels with shares", "leave it out or correct it")
    values = (data.known & (data.values >= threshold)).astype(np.uint8)
    note = f"{int(soft.sum()):,} shares became present from {threshold:g} on, and absent below."
    return replace(data, values=values), [note]


def _all_known(data: Dataset, unknown: str | None) -> tuple[Dataset, list[str]]:
    """The rows with absent in place of unknown, where that is asked for."""
    if unknown is None:
        return data, []
    count = int((~data.known).sum())
    if unknown != "negative" or not count:
        given = f"--unknown {unknown}" + (" for labels that are all known" if unknown == "negative" else "")
        raise LabelwiseError(given, "negative, where labels are unknown", "leave it out or correct it")
    return replace(data, known=np.ones_like(data.known)), [f"{count:,} unknown labels are written as absent."]
