"""The labels of Open Images: those of a data set, their names, and their ancestors and descendants."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from labelwise import rules
from labelwise.data.readers.openimages_cells import Relatives
from labelwise.data.readers.openimages_tables import FolderTables
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError, first_line


@dataclass(frozen=True)
class Vocabulary:
    """All labels of the rows, and their ancestors.

    Args:
        ids: `A` ids; those of the rows first, in their order.
        names: display name of each id that has one.
        above: indices of each label's ancestors.
        below: indices of each label's descendants.
    """

    ids: Sequence[str]
    names: Mapping[str, str]
    above: Relatives
    below: Relatives

    def shown(self) -> list[str]:
        """The name of each label: its display name, else its id."""
        return [self.names.get(key, key) for key in self.ids]


def vocabulary(ids: Sequence[str], tables: FolderTables, source: Source, notes: list[str]) -> Vocabulary:
    """The labels of rows with their names and relatives.

    Args:
        ids: those of the rows.
        tables: files of names and of the hierarchy.
        source: its option `hierarchy=FILE` or `none` overrides the hierarchy of the tables.
        notes: receives a sentence for each decision.

    Raises:
        LabelwiseError: files of another format.
    """
    names = _display_names(tables.names, notes)
    nameless = [key for key in ids if key not in names]
    if nameless:
        reason = "the file of names lacks them" if names else "no class-descriptions file is beside the table"
        notes.append(f"{len(nameless):,} labels are named by their ids, such as {nameless[0]}: {reason}.")
    file = _hierarchy(tables, source)
    tree = _ancestors_of(file) if file else {}
    all_ids = list(dict.fromkeys([*ids, *(name for key in ids for name in tree.get(key, ()))]))
    index = {key: j for j, key in enumerate(all_ids)}
    above = [[index[name] for name in tree.get(key, ()) if name in index] for key in all_ids]
    below: list[list[int]] = [[] for _ in all_ids]
    for j, ancestors in enumerate(above):
        for k in ancestors:
            below[k].append(j)
    if file and any(above):
        notes.append(
            f"By {file.name} a present label implies its ancestors, an absent one the absence of its descendants."
        )
    return Vocabulary(all_ids, names, above, below)


def _display_names(files: Sequence[Path], notes: list[str]) -> dict[str, str]:
    """Name of each label id, in the order of the files; the longest file comes first.

    Raises:
        LabelwiseError: a row without a name.
    """
    names: dict[str, str] = {}
    changed = 0
    for file in sorted(files, key=lambda file: -file.stat().st_size):
        for number, row in _rows(file):
            if row == ["LabelName", "DisplayName"]:
                continue
            if len(row) != 2 or not all(cell.strip() for cell in row):
                raise LabelwiseError(
                    f"{file}, line {number}: {','.join(row)[:80]!r}",
                    "a label id and its name",
                    "correct the line",
                )
            key, name = row[0].strip(), row[1].strip()
            changed += names.setdefault(key, name) != name
    if changed:
        notes.append(
            f"{changed:,} labels have other names in a second file of names: the longest file is used."
        )
    return names


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row of a CSV that is not empty."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            yield from ((reader.line_num, row) for row in reader if row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelwiseError(f"{file}: {first_line(error)}", "a CSV in UTF-8", "save it again") from None


def _hierarchy(tables: FolderTables, source: Source) -> Path | None:
    """The file of the hierarchy: that of the option, or the only one of the tables; `None` without one."""
    given = source.options.get("hierarchy", "")
    if given == "none":
        return None
    if given:
        if not Path(given).is_file():
            raise LabelwiseError(f"hierarchy={given!r}", "a file, or none", "correct the option")
        return Path(given)
    if len(tables.hierarchy) > 1:
        listed = ", ".join(str(file) for file in tables.hierarchy[:4])
        raise LabelwiseError(
            f"several hierarchies: {listed}", "one", "name it with hierarchy=FILE, or hierarchy=none"
        )
    return tables.hierarchy[0] if tables.hierarchy else None


def _ancestors_of(file: Path) -> dict[str, list[str]]:
    """The ancestors of each label of a hierarchy file, without the root, which every image would have.

    Raises:
        LabelwiseError: a file of another format.
    """
    try:
        return rules.ancestors_of(json.loads(file.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LabelwiseError(
            f"{file}: {type(error).__name__} ({first_line(error)})",
            "a tree of LabelName and Subcategory, such as bbox_labels_600_hierarchy.json",
            "check the file, or write hierarchy=none",
        ) from None


def chosen(
    vocabulary: Vocabulary, used: np.ndarray, source: Source, notes: list[str]
) -> tuple[Int64[np.ndarray, " A"], tuple[str, ...]]:
    """The column of each label, -1 for none, and the names of the columns.

    Args:
        vocabulary: all labels.
        used: `[A]`; which of them rows name or imply.
        source: its option `labels` is a list of ids or names, or a file with one in each line.
        notes: receives a sentence for each decision.

    Raises:
        LabelwiseError: a label that is neither in the rows nor in the files of names.
    """
    order = {key: position for position, key in enumerate(vocabulary.names)}
    index = {key: j for j, key in enumerate(vocabulary.ids)}
    if "labels" in source.options:
        ids = _chosen_ids(vocabulary, source)
        wanted = set(ids)
        left_out = sum(key not in wanted for key, flag in zip(vocabulary.ids, used, strict=True) if flag)
        if left_out:
            notes.append(f"{left_out:,} labels that labels= does not name were left out.")
    else:
        ids = [vocabulary.ids[j] for j in np.flatnonzero(used).tolist()]
        ids.sort(key=lambda key: (order.get(key, len(order)), key))
        if len(vocabulary.names) > len(ids):
            unused = len(vocabulary.names.keys() - set(ids))
            notes.append(f"{unused:,} labels of the files of names occur in no row and were left out.")
    column = np.full(len(vocabulary.ids), -1, np.int64)
    for position, key in enumerate(ids):
        if key in index:
            column[index[key]] = position
    return column, _distinct_names(ids, vocabulary.names)


def rules_of(vocabulary: Vocabulary, column: Int64[np.ndarray, " A"], labels: Sequence[str]) -> rules.Rules:
    """Rules of the hierarchy for labels that have a column: each implies its ancestors."""
    pairs = []
    for j, above in enumerate(vocabulary.above):
        if column[j] >= 0:
            pairs += [(labels[column[j]], labels[column[k]]) for k in above if column[k] >= 0]
    return rules.Rules(tuple(pairs))


def _chosen_ids(vocabulary: Vocabulary, source: Source) -> list[str]:
    """The ids of the labels that the option `labels` names by id or name."""
    text = source.options["labels"]
    ids_of: dict[str, list[str]] = {}
    for key in dict.fromkeys([*vocabulary.names, *vocabulary.ids]):
        ids_of.setdefault(vocabulary.names.get(key, key), []).append(key)
    known = {*vocabulary.names, *vocabulary.ids}
    ids = []
    for line in _first_cells(Path(text)) if Path(text).is_file() else source.names("labels"):
        matching = [line] if line in known else ids_of.get(line, [])
        if len(matching) != 1:
            meaning = "no label of the rows or of the files of names"
            if matching:
                meaning = f"the name of {', '.join(matching)}"
            raise LabelwiseError(
                f"labels={text}: {line!r} is {meaning}", "ids or names, one label each", "correct the option"
            )
        ids += matching
    if not ids:
        raise LabelwiseError(f"labels={text} without a label", "ids or names", "correct the option")
    return list(dict.fromkeys(ids))


def _first_cells(file: Path) -> list[str]:
    """The first cell of each line unless it is blank, without a header."""
    cells = [row[0].strip() for _, row in _rows(file) if row[0].strip()]
    return cells[1:] if cells[:1] == ["LabelName"] else cells


def _distinct_names(ids: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """A distinct name for each label: its display name, with the id if several share it, else the id."""
    texts = [names.get(key, key) for key in ids]
    count = Counter(texts)
    return tuple(f"{name} ({key})" if count[name] > 1 else name for key, name in zip(ids, texts, strict=True))
