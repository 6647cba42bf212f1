"""Labels in the small files beside an image: JSON, a class, or names separated by commas."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from labelwise.data.readers.class_names import class_names
from labelwise.data.readers.name_doubts import few, refuse_negatives
from labelwise.data.readers.name_lists import is_multi_hot
from labelwise.data.readers.name_pieces import is_sentence, refuse_states
from labelwise.data.readers.roles import NAMES, key
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError, first_line

_KINDS = {"json": "json", "jsn": "json", "cls": "cls", "class": "cls", "txt": "txt", "text": "txt"}


def is_label_member(suffix: str) -> bool:
    """Whether a file of this suffix, such as `json` or `labels.txt`, may hold labels."""
    return suffix.rpartition(".")[2] in _KINDS


def member_of_labels(counts: Mapping[str, int], source: Source, notes: list[str]) -> str:
    """The suffix of the member that holds the labels: the only one, or one that is called labels or tags.

    Args:
        counts: number of samples with a member of each suffix.
        source: its option `member` selects one.
        notes: receives a sentence on what is left out.

    Raises:
        LabelwiseError: no member holds labels, or several do.
    """
    given = source.options.get("member", "").lower().lstrip(".")
    members = sorted(member for member in counts if is_label_member(member))
    titled = [member for member in members if key(member.split(".")[0]) in NAMES]
    listed = [f"{name} ({count:,})" for name, count in sorted(counts.items())]
    members_text = few(listed, 8) or "images alone"
    if given and given not in members:
        raise LabelwiseError(
            f"member={given} of {source.path}; its samples have {members_text}",
            "a member json, cls or txt that they have",
            "correct the option",
        )
    chosen = [given] if given else titled or members
    if not chosen:
        raise LabelwiseError(
            f"{source.path} without labels; its samples have {members_text}",
            "a member json, cls, txt, labels.txt or tags.txt beside each image",
            "write the labels into the shards",
        )
    if len(chosen) > 1:
        raise LabelwiseError(
            f"{source.path} with labels in several members, as samples have {members_text}",
            "one member of labels",
            f"say which, such as ?member={chosen[0]}",
        )
    others = [member for member in members if member != chosen[0]]
    if others:
        notes.append(f"Labels are in the members .{chosen[0]}; left out: .{', .'.join(others)}.")
    return chosen[0]


def label_table(
    contents: Sequence[bytes | None],
    member: str,
    source: Source,
    row_name: Callable[[int], str],
    notes: list[str],
) -> tuple[pa.Table, dict[str, tuple[str, ...]], list[str]]:
    """Parses the label members into a column `labels` of lists of names, or into one column per label.

    Args:
        contents: bytes of each sample's member; `None`, which becomes null, without one.
        member: its suffix.
        source: its option `names` lists all labels, in the order of class numbers; its option `labels` may name
            the key of the labels; its option `ignore` lists other keys.
        row_name: returns the name of a sample for messages.
        notes: receives a sentence for each decision.

    Returns:
        the table; all names of its column of names where they are listed; and the keys beside the labels.

    Raises:
        LabelwiseError: a member cannot be read, or holds no labels.
    """
    parse = _PARSERS[_KINDS[member.rpartition(".")[2]]]
    names = class_names(source)

    def each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        results = []
        for row, item in enumerate(items):
            try:
                results.append(None if item is None else function(item))
            except ValueError as error:
                raise LabelwiseError(
                    f"{row_name(row)}: .{member} ({first_line(error)})", _EXPECTED, "correct it"
                ) from None
        return results

    cells = each(lambda content: parse(content.decode("utf-8-sig")), contents)
    title, other_keys = _key_of_labels(cells, source, notes)
    if title is not None:
        whole = not title.lower().endswith("s")
        cells = each(lambda cell: _entries(cell.get(title), whole) if isinstance(cell, dict) else cell, cells)
    if any(isinstance(cell, dict) for cell in cells):
        return _state_table(each(_object_of_states, cells), names, member, notes), {}, other_keys
    if _are_vectors(cells, names, member):
        lists = each(lambda cell: _names_of_vector(cell, names), cells)
    else:
        entries = [[str(entry) for entry in cell] for cell in cells if cell]
        refuse_states({entry for row in entries for entry in row}, entries, f".{member}")
        lists = each(lambda cell: _names_of_entries(cell, names), cells)
        classes = {entry for cell in cells for entry in cell or () if isinstance(entry, int) and entry >= 0}
        if classes and not names:
            names = tuple(str(number) for number in sorted(classes))
            notes.append("Labels are class numbers; ?names=FILE sets their names.")
    table = pa.table({"labels": pa.array(lists, pa.list_(pa.string()))})
    return table, {"labels": tuple(names)} if names else {}, other_keys


_EXPECTED = "a list of names or classes, a key per label with 0 or 1, a class, or names separated by commas"


def _parsed_json(text: str) -> Any:
    """The labels of a JSON text."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if isinstance(value, dict):
        return value
    return _entries(value, whole=False)


def _parsed_class(text: str) -> list[str | int] | None:
    """The class numbers or the name in a text; `None`, which means unknown, for an empty one."""
    text = text.strip()
    if text[:1] == "[":
        return _entries(json.loads(text), whole=True)
    if not text:
        return None
    return [int(text) if text.lstrip("-").isascii() and text.lstrip("-").isdigit() else text]


def _parsed_text(text: str) -> list[str]:
    """Names with commas or line ends between them; raises `ValueError` for a sentence."""
    parts = [part.strip() for line in text.splitlines() for part in line.split(",")]
    sentence = next(filter(is_sentence, parts), None)
    if sentence is not None:
        raise ValueError(f"a sentence, not names: {sentence[:60]!r}")
    return [part for part in parts if part]


_PARSERS: dict[str, Callable[[str], Any]] = {"json": _parsed_json, "cls": _parsed_class, "txt": _parsed_text}


def _entries(value: Any, whole: bool) -> Any:
    """A JSON value as a list of names or class numbers, or a mapping of names to states; `None` means unknown.

    Args:
        value: any JSON value.
        whole: whether a text is one name rather than several with commas.
    """
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, str):
        return [value] if whole else _parsed_text(value)
    entries = value if isinstance(value, list) else [value]
    if all(isinstance(entry, str | int) for entry in entries):
        return entries
    raise ValueError(f"of another kind: {json.dumps(value)[:60]}")


def _key_of_labels(cells: Sequence[Any], source: Source, notes: list[str]) -> tuple[str | None, list[str]]:
    """The key of names in objects (by the option `labels`, else `labels`, `tags` or similar), and the other keys."""
    objects = [cell for cell in cells if isinstance(cell, dict)]
    keys = list(dict.fromkeys(name for item in objects for name in item))
    chosen = source.names("labels")
    if chosen:
        titles = [name for name in chosen if any(isinstance(o.get(name), list | str | dict) for o in objects)]
        if len(chosen) > 1 or not titles:
            return None, []
    else:
        by_role = {key(name): name for name in reversed(keys)}
        titles = [by_role[role] for role in NAMES if role in by_role]
    if not titles:
        return None, []
    others = [name for name in keys if name != titles[0]]
    refuse_negatives(set(others) - set(source.names("ignore")), source)
    if others:
        notes.append(f"Labels are under the key {titles[0]!r}; left out: {few(others, 8)}.")
    return titles[0], others


def _object_of_states(cell: Any) -> dict[str, Any]:
    """The object itself; raises `ValueError` for a list."""
    if not isinstance(cell, dict):
        raise ValueError("a list beside objects with one key per label")
    return cell


def _are_vectors(cells: Sequence[Any], names: Sequence[str], member: str) -> bool:
    """Whether lists hold 0 or 1 for each label, not classes; raises `LabelwiseError` if they may be either."""
    lists = [cell for cell in cells if isinstance(cell, list) and cell]
    binary = [cell for cell in lists if all(isinstance(entry, int) and entry in (0, 1) for entry in cell)]
    if any(len(set(cell)) < len(cell) or any(isinstance(e, bool) for e in cell) for cell in binary):
        return True  # a list names a class only once
    if len(binary) < len(lists):
        return False
    if len(names) > 1 and {len(cell) for cell in lists} == {len(names)}:
        return True
    return is_multi_hot([tuple(cell) for cell in lists], f".{member}")


def _names_of_vector(cell: list[Any], names: Sequence[str]) -> list[str]:
    """Names of the labels with a 1; raises `ValueError` unless there is a 0 or 1 for each name."""
    if len(cell) != len(names):
        detail = f"for {len(names):,} names" if names else "without names; list them with ?names=FILE"
        raise ValueError(f"a list of {len(cell):,} numbers 0 and 1 {detail}")
    if not all(isinstance(entry, int) and entry in (0, 1) for entry in cell):
        raise ValueError("a list of classes beside lists of 0 and 1")
    return [name for name, entry in zip(names, cell, strict=True) if entry]


def _names_of_entries(cell: list[Any], names: Sequence[str]) -> list[str] | None:
    """Names of classes; -1 is no class, and a list of -1 alone is unknown."""
    labels = []
    for entry in cell:
        if isinstance(entry, str):
            if names and entry.strip() not in names:
                raise ValueError(f"label {entry!r}, which names= does not list")
            labels.append(entry.strip())
        elif entry < -1 or (names and entry >= len(names)):
            raise ValueError(f"class {entry} of {len(names):,} names" if names else f"class {entry}")
        elif entry >= 0:
            labels.append(names[entry] if names else str(entry))
    return labels if labels or not cell else None


def _state_table(
    cells: Sequence[dict[str, Any] | None], names: Sequence[str], member: str, notes: list[str]
) -> pa.Table:
    """The table of objects with one key per label."""
    if names:
        raise LabelwiseError(
            f"names= with members .{member} that have one key per label", "class numbers", "leave names= out"
        )
    keys = list(dict.fromkeys(key for cell in cells if cell for key in cell))
    missing = sum(not cell for cell in cells)
    if missing:
        notes.append(f"{missing:,} samples without labels are all-unknown.")
    return pa.table({key: _column([cell.get(key) if cell else None for cell in cells]) for key in keys})


def _column(values: list[Any]) -> pa.Array:
    """JSON values as a column of their type, or of text if they have several."""
    if not any(isinstance(cell, dict | list) for cell in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # numbers beside texts
            pass
    return pa.array([cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in values])
