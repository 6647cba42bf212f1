"""The images of Open Images: those of the label tables, those listed without labels, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from labelwise.data.readers.files import image_folder
from labelwise.data.readers.locate import image_files
from labelwise.data.readers.matching import matching
from labelwise.data.readers.openimages_tables import info_columns
from labelwise.data.readers.several import split_of
from labelwise.data.readers.split_names import canonical
from labelwise.data.source import Source


@dataclass(frozen=True)
class ImageIndex:
    """Images by id.

    Args:
        ids: `[N]` texts.
        splits: `[N]` texts as the files write them, null for an unknown split.
        names: `[N]` files under the root; `ID.jpg` without a file.
        root: their folder.
        there: `[N]`; whether the file exists.
    """

    ids: pa.Array
    splits: pa.Array
    names: pa.Array
    root: Path
    there: Bool[np.ndarray, " N"]

    def where(self, keep: Bool[np.ndarray, " N"]) -> ImageIndex:
        """The images that are kept."""
        if keep.all():
            return self
        rows = pa.array(np.flatnonzero(keep))
        return ImageIndex(
            self.ids.take(rows), self.splits.take(rows), self.names.take(rows), self.root, self.there[keep]
        )


def images_of(
    ids: pa.Array,
    splits: pa.Array,
    listed: Sequence[Path],
    source: Source,
    folders: Sequence[Path],
    notes: list[str],
) -> ImageIndex:
    """The images of the label tables, then those of image tables without a label that have a file.

    Args:
        ids, splits: of the images of the label tables; the column `Subset` replaces a null split.
        listed: image tables.
        source: its option `images` is the folder.
        folders: likely folders of the images, the likeliest first.
        notes: receives a sentence for each decision.

    Raises:
        LabelwiseError: `images` is no folder, or the rows of an image table differ in length from its header.
    """
    root, files = _files(source, folders, splits)
    count = len(ids)
    info = _image_info(listed)
    if info is not None:
        splits = _with_subsets(ids, splits, info)
        unlabelled = _unlabelled(ids, splits, info)
        ids = pa.concat_arrays([ids, unlabelled["id"].combine_chunks()])
        splits = pa.concat_arrays([splits, unlabelled["split"].combine_chunks()])
    paths = pc.if_else(pc.is_valid(splits), pc.binary_join_element_wise(splits, ids, "/"), ids)
    match = matching(paths, files)
    exists = match >= 0
    kept = exists | (np.arange(len(ids)) < count)
    left_out = int((~kept).sum())
    if kept[count:].any():
        notes.append(f"{int(kept[count:].sum()):,} listed images have no label row.")
    if left_out:
        notes.append(f"{left_out:,} listed images with neither a label row nor a file were left out.")
    rows = pa.array(np.flatnonzero(kept))
    ids, splits, match, exists = ids.take(rows), splits.take(rows), match[kept], exists[kept]
    names = pc.binary_join_element_wise(ids, ".jpg", "")
    if files:
        matched = pa.array(files, pa.string()).take(pa.array(np.where(exists, match, 0)))
        names = pc.if_else(pa.array(exists), matched, names)
    if info is not None:
        _note_rotated(ids, info, notes)
    return ImageIndex(ids, splits, names, root, exists)


def _files(source: Source, folders: Sequence[Path], splits: pa.Array) -> tuple[Path, list[str]]:
    """The first folder with image files below, and their names."""
    if "images" in source.options:
        root = image_folder(source.options["images"])
        return root, _readable(root)
    candidates = [folders[1] / name for name in ("images", "data", *splits.unique().drop_null().to_pylist())]
    for folder in (folders[0], *candidates):
        files = _readable(folder) if folder.is_dir() else []
        if files:
            return folder, files
    return folders[0], []


def _readable(folder: Path) -> list[str]:
    """Image files below a folder with names that are valid text."""
    return [name for name in image_files(folder) if name.isascii() or _is_text(name)]


def _is_text(name: str) -> bool:
    """Whether a file name is valid text."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _image_info(files: Sequence[Path]) -> pa.Table | None:
    """Columns `id`, `split` (by the column `Subset`, else by the file's name) and `turn` of image tables."""
    tables = []
    for file in files:
        table = info_columns(file)
        missing = pa.nulls(table.num_rows, pa.string())
        subset = table["Subset"] if "Subset" in table.column_names else missing
        split = pc.if_else(pc.equal(subset, ""), None, subset)
        by_name = pa.scalar(split_of(file) or None, pa.string())
        turn = table["Rotation"] if "Rotation" in table.column_names else missing
        tables.append(pa.table({"id": table["ImageID"], "split": pc.coalesce(split, by_name), "turn": turn}))
    return pa.concat_tables(tables) if tables else None


def _with_subsets(ids: pa.Array, splits: pa.Array, info: pa.Table) -> pa.Array:
    """The splits, with those of the image tables in place of nulls."""
    if not splits.null_count:
        return splits
    rows = pc.index_in(ids, value_set=info["id"].combine_chunks())
    return pc.coalesce(splits, info["split"].combine_chunks().take(rows))


def _unlabelled(ids: pa.Array, splits: pa.Array, info: pa.Table) -> pa.Table:
    """The first row of each listed image without labels, for the splits of the label tables."""
    split, ids_listed = info["split"].combine_chunks(), info["id"].combine_chunks()
    known = _canonical(splits).unique().drop_null()
    of_split = pc.is_in(_canonical(split), value_set=known if len(known) else pa.nulls(1, pa.string()))
    is_new = pc.invert(pc.is_in(_split_and_id(ids_listed, split), value_set=_split_and_id(ids, splits)))
    rows = info.filter(pc.and_(of_split, pc.and_(is_new, pc.not_equal(ids_listed, ""))))
    listed = rows["id"].combine_chunks()
    return rows.take(pc.index_in(listed.unique(), value_set=listed))


def _split_and_id(ids: pa.Array, splits: pa.Array) -> pa.Array:
    """Split and id of each image as one text."""
    return pc.binary_join_element_wise(pc.fill_null(_canonical(splits), ""), ids, "/")


def _canonical(splits: pa.Array) -> pa.Array:
    """Splits under their usual names: `validation` is `val`."""
    coded = splits.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    names = [text.lower() if (name := canonical(text)) is None else name for text in texts]
    return pa.array(names, pa.string()).take(coded.indices)


def _note_rotated(ids: pa.Array, info: pa.Table, notes: list[str]) -> None:
    """Adds a note on the images that the tables list with a rotation."""
    rotated = info.filter(pc.invert(pc.is_in(info["turn"], value_set=pa.array(["", "0", "0.0", None]))))
    count = int(pc.sum(pc.is_in(ids, value_set=rotated["id"].combine_chunks())).as_py() or 0)
    if count:
        notes.append(f"{count:,} images are listed with a Rotation; files are read as they are.")
