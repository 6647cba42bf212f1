"""Roles of a table's columns: the image, the split, the group, label names or a label."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.arrow import is_bytes, is_image_struct, is_list, is_text_type
from labelwise.data.readers.cells import Meaning, number
from labelwise.data.readers.metadata_names import METADATA, OF_NAMES
from labelwise.data.readers.name_doubts import refuse_negatives
from labelwise.data.readers.split_names import are_splits, numbered_splits
from labelwise.data.readers.states import Column, is_states
from labelwise.data.source import Source, as_option
from labelwise.errors import LabelwiseError

_IMAGE = (
    "image path file filename imagepath filepath img imgpath imagename imagefile imagefilename imgname imageid "
    "imageindex imgid photo photograph picture imageurl imgurl url uri sourceref"
)
_NAMES = (
    "labels tags label tag findinglabels choices choice categories classes classnames labelnames category class "
    "keywords annotations attributeids labelids target targets labelname classname accept classid categoryid"
)
IMAGE, NAMES = tuple(_IMAGE.split()), tuple(_NAMES.split())
_NAMES_OF_NUMBERS = ("labelname", "labelnames", "classname", "classnames", "categoryname")
"""Columns of names beside a column of their numbers."""
SPLIT = ("split", "subset", "partition", "mluse")
GROUP = ("group",)
SPLIT_FLAGS = {"isvalid": "val", "isval": "val", "isvalidation": "val", "istest": "test", "istrain": "train"}
"""Columns of true and false for one split of two; the other is train, or val if the flag means train."""
LOOKED_AT = 1000  # cells that are checked for image names


@dataclass(frozen=True)
class Roles:
    """Columns by role.

    Args:
        image: column of the images.
        split, group: their columns, if any.
        names: columns of label names.
        classes: columns of categories; each becomes an exclusive group.
        states: label columns.
        left_out: columns beside label names that have no role.
    """

    image: str
    split: str | None
    group: str | None
    names: tuple[str, ...]
    classes: tuple[str, ...]
    states: tuple[str, ...]
    left_out: tuple[str, ...]


def key(name: str) -> str:
    """A column's name without case, blanks and marks, for comparison with the names of a role.

    >>> key("Image Index"), key("file_name")
    ('imageindex', 'filename')
    """
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def is_text_column(name: str) -> bool:
    """Whether a column of this name is always read as text."""
    return key(name) in {*IMAGE, *NAMES, *SPLIT, *GROUP}


def fields_of_names(kind: pa.StructType, name: str) -> list[str]:
    """The fields of objects that likely hold label names by name and type, as options write them."""
    text = [field.name for field in kind if is_text_type(field.type) or is_list(field.type)]
    return [f"{name}.{field}" for field in text if key(field) in (*NAMES, "name")]


def roles_of(table: pa.Table, source: Source) -> Roles:
    """The role of each column: by the options `image`, `labels`, `classes`, `split`, `group`, else by name and cells.

    Raises:
        LabelwiseError: an option that names no column, a table without image column, or label names beside states.
    """
    for option in ("image", "labels", "classes", "split", "group"):
        source.names_among(option, table.column_names, f"columns of {source.path}:")
    image = _image_column(table, source)
    classes = tuple(source.names("classes"))
    assigned: set[str | None] = {image, *classes}
    split = _column_of_role(table, source, "split", SPLIT, assigned)
    if "split" not in source.options and split and key(split) != "split":
        cells = pc.unique(table[split]).to_pylist()
        is_numbered = split not in source.names("labels") and numbered_splits(cells)
        split = split if is_numbered or are_splits(cells, least=0) else None
    if "split" not in source.options and split is None:
        split = _split_by_cells(table, {*assigned, *source.names("labels")})
    group = _column_of_role(table, source, "group", GROUP, {*assigned, split})
    unassigned = [name for name in table.column_names if name not in {*assigned, split, group}]
    if "split" not in source.options:
        _refuse_flags(unassigned, source)
    chosen = source.names("labels")
    if set(chosen) & {image, split, group, *classes}:
        raise LabelwiseError(
            f"labels={as_option(chosen)} in {str(source)!r}",
            "columns that have no other role",
            "correct the option",
        )
    candidates = chosen or _names_columns(table, unassigned, source)
    separated = "separator" in source.options
    meaning = Meaning.of(source)
    names = tuple(name for name in candidates if separated or not is_states(table[name], meaning))
    if chosen and names and len(names) < len(chosen):
        other = next(name for name in chosen if name not in names)
        if not all(is_text_type(table[name].type) or is_list(table[name].type) for name in names):
            names = ()  # numbers among label columns: the reader of states raises a precise error
        else:
            raise LabelwiseError(
                f"labels={as_option(chosen)}: {names[0]!r} holds names and {other!r} holds states",
                "columns of one kind",
                f"read names as an exclusive group with ?classes={as_option(names)}",
            )
    if names or classes:
        left_out = [name for name in unassigned if name not in {*names, *chosen}]
        if not chosen:
            if names:
                refuse_negatives(left_out, source)
                _refuse_states(table, image, names, left_out, source)
            else:
                return Roles(image, split, group, (), classes, tuple(unassigned), ())
        states = () if names else tuple(chosen)
        return Roles(image, split, group, names, classes, states, tuple(left_out))
    if chosen:
        left_out = [name for name in unassigned if name not in chosen]
        return Roles(image, split, group, (), (), tuple(chosen), tuple(left_out))
    return Roles(image, split, group, (), (), tuple(unassigned), ())


def _refuse_states(
    table: pa.Table, image: str, names: Sequence[str], left_out: Sequence[str], source: Source
) -> None:
    """Raises `LabelwiseError` for label states beside label names, which may be the states of those names."""
    cells = {n: Column.of(n, table[n]).present() for n in left_out if is_states(table[n])}
    states = [n for n in cells if key(n) not in METADATA and len(set(map(str, cells[n]))) > 1]
    graded = [n for n in cells if key(n) in OF_NAMES and 0 in map(number, cells[n])]
    if not states and not graded:
        return
    are_repeated = is_text_type(table[image].type) and len(pc.unique(table[image])) < table.num_rows
    if graded or are_repeated:
        raise LabelwiseError(
            f"{source.path}: {', '.join((graded or states)[:8])} beside label names in {names[0]!r}, which may mean "
            "that a label is absent",
            "rows with names of present labels, or one column per label",
            f"add ?ignore={as_option(graded or states)} if all names are present; else rename the columns to "
            "ImageID, LabelName and Confidence, and read the file with openimages:FILE",
        )
    raise LabelwiseError(
        f"{source.path}: label states in {', '.join(states[:8])} beside label names in {names[0]!r}",
        "one of the two",
        f"add ?labels={as_option(names)} for the names, or ?ignore={as_option(names)} for the states"
        + (f", or ?classes={as_option(names)} for both" if _whole_numbers(table[names[0]]) else ""),
    )


def _whole_numbers(column: pa.ChunkedArray) -> bool:
    """Whether all cells are whole numbers."""
    numbers = [number(cell) for cell in Column.of("", column).present()]
    return all(value is not None and value % 1 == 0 for value in numbers)


def _column_of_role(
    table: pa.Table, source: Source, option: str, keys: Sequence[str], assigned: Collection[str | None]
) -> str | None:
    """The column that an option names, else the first with a name of the role; `None` without one."""
    if option in source.options:
        return next(iter(source.names(option)), None)
    by_key = {key(name): name for name in reversed(table.column_names) if name not in assigned}
    return next((by_key[k] for k in keys if k in by_key), None)


def _split_by_cells(table: pa.Table, assigned: Collection[str | None]) -> str | None:
    """The only column of text with names of splits as cells, whatever its name."""
    texts = (name for name in table.column_names if name not in assigned and is_text_type(table[name].type))
    likely = [name for name in texts if are_splits(pc.unique(table[name][:LOOKED_AT]).to_pylist())]
    likely = [name for name in likely if are_splits(pc.unique(table[name]).to_pylist())]
    return likely[0] if len(likely) == 1 else None


def _refuse_flags(names: Sequence[str], source: Source) -> None:
    """Raises `LabelwiseError` for a column such as `is_valid`, which may hold the split, unless an option names it."""
    flags = [name for name in names if key(name) in SPLIT_FLAGS]
    if flags and not set(flags) & set(source.names("labels")):
        raise LabelwiseError(
            f"{source.path}: column {flags[0]!r}, which by its name holds the split rather than a label",
            "a column called split, or an option that sets its role",
            f"add ?split={as_option(flags[:1])} to use it, ?ignore={as_option(flags)} to leave it out, "
            "?split= for a label",
        )


def _image_column(table: pa.Table, source: Source) -> str:
    """The column of images: that of the option, of bytes, or whose cells look like names of images."""
    chosen = source.names("image")
    if chosen:
        return chosen[0]
    for name in table.column_names:
        if is_bytes(table[name].type) or is_image_struct(table[name].type):
            return name
    by_key = {key(name): name for name in reversed(table.column_names)}
    candidates = [by_key[k] for k in IMAGE if k in by_key]
    shares = {name: share_of_images(table[name]) for name in table.column_names}
    best = max(candidates, key=lambda name: (shares[name] > 0.5, -candidates.index(name)), default=None)
    if best is None or (shares[best] <= 0.5 and max(shares.values()) > 0.9):
        best = next((name for name in table.column_names if shares[name] > 0.5), best)
    if best is not None and (is_text_type(table[best].type) or pa.types.is_integer(table[best].type)):
        return best
    first = table.column_names[0]
    if is_text_type(table[first].type) and not is_states(table[first]):
        return first
    raise LabelwiseError(
        f"{source.path} without an image column; its columns are {', '.join(table.column_names[:12])}",
        "a column called image, path, file or filename, or names of images in the first column",
        "name the column with ?image=COLUMN",
    )


def share_of_images(column: pa.ChunkedArray) -> float:
    """Share of a column's first cells that are names of image files."""
    if not is_text_type(column.type):
        return 0.0
    cells = [str(cell) for cell in column[:LOOKED_AT].to_pylist() if cell]
    return sum(is_image_name(cell.strip().split("?")[0]) for cell in cells) / max(len(cells), 1)


def _names_columns(table: pa.Table, unassigned: Sequence[str], source: Source) -> list[str]:
    """The column of label names: by its name, else the only column of lists, else none.

    Raises:
        LabelwiseError: cells such as `0,1`, which are either numbers of two labels or a share.
    """
    by_key = {key(name): name for name in reversed(unassigned)}
    meaning = Meaning.of(source)
    for k in NAMES:
        pair = _pair_or_share(table[by_key[k]]) if k in by_key else None
        if pair is not None and "separator" in source.options:
            return [by_key[k]]
        if pair is not None:
            raise LabelwiseError(
                f"column {by_key[k]!r} with {pair!r}, which is either the numbers of two labels or a share",
                "one of the two",
                f"add ?separator=, if these are labels, or ?labels={as_option([by_key[k]])} if it is a decimal comma",
            )
        if (
            k in by_key
            and not is_states(table[by_key[k]], meaning)
            and Column.of("", table[by_key[k]]).present()
        ):
            texts = (n for n in _NAMES_OF_NUMBERS if n in by_key and is_text_type(table[by_key[n]].type))
            names = next((by_key[n] for n in texts), None)
            numbers = all(number(cell) is not None for cell in Column.of("", table[by_key[k]]).present())
            return [names if names and numbers and not is_states(table[names]) else by_key[k]]
    lists = [name for name in unassigned if is_list(table[name].type)]
    return lists if len(lists) == 1 else []


def _pair_or_share(column: pa.ChunkedArray) -> str | None:
    """A text such as `0,1` in a column of whole numbers and such texts alone."""
    if not is_text_type(column.type) or not is_states(column):
        return None
    cells = [str(cell).strip() for cell in Column.of("", column).present()]
    pairs = [cell for cell in cells if re.fullmatch(r"\d,\d", cell)]
    return pairs[0] if pairs and all(cell.isdecimal() or cell in pairs for cell in cells) else None
