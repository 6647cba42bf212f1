"""Writers, one module per form of another tool: Dataset -> files. Unsupported content is refused or noted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labelwise.data.dataset import Dataset
from labelwise.data.wholefile import refuse_missing_folder
from labelwise.data.writers import coco, csv, datasets, labelstudio, lightly, parquet
from labelwise.data.writers.job import Job, Written
from labelwise.errors import LabelwiseError


@dataclass(frozen=True)
class FormWriter:
    """A form.

    Args:
        meaning: its description in one line.
        suffixes: of the file that it writes; an empty one means a folder.
        images: supported values of `images`, the default first.
        options: the supported ones of `predictions` and `url_prefix`.
        write: the function.
    """

    meaning: str
    suffixes: tuple[str, ...]
    images: tuple[str, ...]
    options: frozenset[str]
    write: Callable[[Job], Written]


WRITERS: Mapping[str, FormWriter] = {
    module.__name__.rpartition(".")[2]: FormWriter(
        module.MEANING, module.SUFFIXES, module.IMAGES, module.OPTIONS, module.write
    )
    for module in (csv, parquet, coco, datasets, labelstudio, lightly)
}
BY_SUFFIX = {".csv": "csv", ".parquet": "parquet"}
"""Forms that a file suffix implies."""


def form_of(out: Path, form: str | None) -> str:
    """The form to write: the given one, or the one that the file suffix implies.

    Raises:
        LabelwiseError: no such form, a suffix that implies none, or one that does not match the form.
    """
    suffix = out.suffix.lower()
    listed = ", ".join(WRITERS)
    if form is None:
        if suffix not in BY_SUFFIX:
            raise LabelwiseError(
                f"{str(out)!r}, a name that implies no form", "a form", f"add --form, one of {listed}"
            )
        return BY_SUFFIX[suffix]
    if form not in WRITERS:
        raise LabelwiseError(f"form {form!r}", f"one of {listed}", "correct --form")
    suffixes = WRITERS[form].suffixes
    if suffix not in suffixes and not ("" in suffixes and suffix not in _OTHER_FILES):
        kinds = " or ".join("a folder" if not end else f"a file name in {end}" for end in suffixes)
        raise LabelwiseError(f"{str(out)!r} for the form {form}", kinds, "rename it")
    return form


_OTHER_FILES = frozenset({".csv", ".tsv", ".parquet", ".json", ".jsonl", ".xml", ".yaml", ".arrow", ".zip"})
"""Suffixes of files, which a folder is unlikely to have."""


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
    """Writes a data set in the form of another tool; the file or folder is written atomically.

    Args:
        data: the rows.
        out: file or folder to write.
        form: a name of `WRITERS`; `None` where the file suffix implies it.
        images: `paths`, `copy` or `embed`, if the form supports it; `None` for its default.
        threshold: lowest share, in (0, 1], of a soft label that counts as present; others are absent.
        unknown: `negative` writes unknown labels as absent; `None` keeps them unknown or refuses.
        predictions: a file that `labelwise predict --out` wrote (form `labelstudio`).
        url_prefix: prefix of the path of an image below its root (form `labelstudio`).
        replaced: whether to replace an existing file; a folder is never replaced.
        tick: called with the number of images done.

    Raises:
        LabelwiseError: an unsupported form or option, an `out` that exists, or content that the form cannot represent.
    """
    out = Path(out)
    form = form_of(out, form)
    writer = WRITERS[form]
    mode = images or ("embed" if data.embedded and "embed" in writer.images else writer.images[0])
    if mode not in writer.images:
        raise LabelwiseError(
            f"--images {mode} for the form {form}", " or ".join(writer.images), "correct --images"
        )
    for name, value in (("predictions", predictions), ("url_prefix", url_prefix)):
        if value is not None and name not in writer.options:
            raise LabelwiseError(
                f"--{name.replace('_', '-')} for the form {form}, which does not support it",
                "labelstudio",
                "remove it",
            )
    if not len(data) and form != "parquet":
        raise LabelwiseError("a data set without images", "at least one image", "check the SOURCE")
    _refuse_existing(out, replaced)
    data, notes = _thresholded(data, threshold)
    data, unknown_notes = _all_known(data, unknown)
    job = Job(data, out, mode, None if predictions is None else Path(predictions), url_prefix, tick)
    written = writer.write(job)
    return replace(written, notes=(*notes, *unknown_notes, *written.notes))


def _refuse_existing(out: Path, replaced: bool) -> None:
    """Raises `LabelwiseError` for an OUT that exists and is not replaced, or in a missing folder."""
    refuse_missing_folder(out)
    if out.is_dir():
        if any(out.iterdir()):
            raise LabelwiseError(f"{out}, a folder that is not empty", "a new folder", "choose another OUT")
    elif os.path.lexists(out) and not replaced:
        raise LabelwiseError(f"{out}, which exists", "a new file", "choose another OUT or add --replace")


def _thresholded(data: Dataset, threshold: float | None) -> tuple[Dataset, list[str]]:
    """The rows with present and absent instead of shares, if a threshold is given."""
    if threshold is None:
        return data, []
    is_share = data.known & (data.values > 0) & (data.values < 1)
    if not 0 < threshold <= 1 or not is_share.any():
        given = f"--threshold {threshold:g}" + (" for labels without shares" if 0 < threshold <= 1 else "")
        raise LabelwiseError(given, "a share in (0, 1] for labels with shares", "remove or correct it")
    values = (data.known & (data.values >= threshold)).astype(np.uint8)
    note = f"{int(is_share.sum()):,} shares became present from {threshold:g} on, and absent below."
    return replace(data, values=values), [note]


def _all_known(data: Dataset, unknown: str | None) -> tuple[Dataset, list[str]]:
    """The rows with absent instead of unknown, if requested."""
    if unknown is None:
        return data, []
    count = int((~data.known).sum())
    if unknown != "negative" or not count:
        given = f"--unknown {unknown}" + (" for labels that are all known" if unknown == "negative" else "")
        raise LabelwiseError(given, "negative, where labels are unknown", "remove or correct it")
    return replace(data, known=np.ones_like(data.known)), [f"{count:,} unknown labels are written as absent."]
