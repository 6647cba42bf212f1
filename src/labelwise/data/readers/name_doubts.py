"""Label names with a likely other meaning: unknown, no label, several names, or a state for each label."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name
from labelwise.data.source import Source, as_option, escaped
from labelwise.errors import LabelwiseError

_UNANSWERED = "todo,to do,unknown,unlabeled,unlabelled,unclear,uncertain,unsure,tbd,pending,?"
UNANSWERED = frozenset(_UNANSWERED.split(","))
"""Texts that likely mean `unknown`, as a label's name or beside two states."""
_NOTHING = (
    "no finding,no findings,no label,no labels,nothing,background only,none of these,none of the above,no object,"
    "no objects,no tag,no tags,no class,no annotation,no annotations,not applicable"
)
NOTHING = frozenset(_NOTHING.split(","))
"""Names that mean that no label is present, if they are always alone in their cells."""
OF_NAMES = "Labels are names in"
"""The start of the note on a column of label names."""
_EMPTY = NOTHING | {"0", "none", "empty", "background", "negative", "negatives", "normal", "healthy", "blank"}
"""Names of labels that may mean that no label is present."""


def doubtful_names(data: Dataset, source: Source, takes: Collection[str]) -> list[str]:
    """A warning for each kind of label names that may have another meaning.

    Args:
        data: the data set with the labels.
        source: the source of the data.
        takes: names of the options of its reader, which a warning may suggest.
    """
    names = data.labels.names
    return [
        *similar_names(names),
        *unanswered_names(names, takes, any(note.startswith(OF_NAMES) for note in data.notes)),
        *([] if "none" in source.options else empty_names(names, source.kind, takes)),
        *([] if data.boxes is not None else number_names(names, source)),
    ]


def unanswered_names(names: Sequence[str], takes: Collection[str], of_cells: bool) -> list[str]:
    """A warning on labels with names that likely mean `unknown`.

    Args:
        names: of all labels.
        takes: names of the options of their reader.
        of_cells: whether the names are values of cells, rather than names of columns of states.
    """
    unanswered = [n for n in names if spaced(n) in UNANSWERED or not any(c.isalnum() for c in n)]
    if not unanswered:
        return []
    entries = list({name.casefold(): name for name in reversed(unanswered)}.values())[::-1]
    todo = "leave them out of the file."
    if {"unknown", "ignore"} <= set(takes):
        todo = f"add ?unknown={as_option(entries)}." if of_cells else f"add ?ignore={as_option(unanswered)}."
    return [f"Read as labels: {few(unanswered)}; if such rows are not labelled yet, {todo}"]


def empty_names(names: Sequence[str], kind: str, takes: Collection[str]) -> list[str]:
    """A warning on labels with names that may mean that no label is present."""
    empty = [name for name in names if spaced(name) in _EMPTY]
    if not empty or (empty == ["0"] and all(name.isdigit() for name in names)):
        return []
    otherwise = "call it _none." if kind == "folder" else "leave it out of the file."
    todo = _advice("none", empty[:1], takes) or otherwise
    return [f"{empty[0]!r} is read as a label; if it means that no label is present, {todo}"]


def _advice(option: str, names: Sequence[str], takes: Collection[str]) -> str:
    """The options to add for names in a column of names, and for such columns; empty if the reader lacks them."""
    if not {option, "ignore"} <= set(takes):
        return ""
    value = as_option(names)
    return f"add ?{option}={value}. A column of that name is left out by ?ignore={value}."


def spaced(name: str) -> str:
    """A name in lower case, with blanks for underscores.

    >>> spaced("No_Finding")
    'no finding'
    """
    return name.casefold().replace("_", " ")


def similar_names(names: Sequence[str]) -> list[str]:
    """A warning on labels that differ only in case, outer blanks or blanks for underscores.

    >>> similar_names(("Car", "car", "dog"))
    ['Labels that differ in spelling only are kept apart: Car and car.']
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(spaced(name).replace("-", " ").split()), []).append(name)
    groups = [" and ".join(group) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    listed = "; ".join(groups[:5]) + ("; ..." if len(groups) > 5 else "")
    return [f"Labels that differ in spelling only are kept apart: {listed}."]


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names, with `...` if there are more.

    >>> few(["a", "b", "c"], 2)
    'a, b, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


_JOINT = re.compile(r"\s*(?:<\w+\s*/?>|[^\w\s]+|_+)\s*|\s*[\r\n\x1c-\x1f]+\s*| and ")
"""What may separate two names: marks of any kind, line ends, `and`."""
_AND = frozenset({"and", "und", "et", "y", "e", "och", "en"})
"""Conjunctions between the last two of several names."""


def refuse_joined(names: Collection[str], where: str, mark: str | None) -> None:
    """Refuses names that are likely several: other names of the same place with a mark between them.

    Args:
        names: distinct names, after separation.
        where: the column, for the message.
        mark: the separator; `None` without one.

    Raises:
        LabelwiseError: most names with such a mark consist of other names, or names separated by blanks include a mark.
    """
    lone = next((n for n in sorted(names) if n in _AND or not any(c.isalnum() for c in n)), None)
    if mark == " " and lone is not None:
        option = f"%20{lone}%20" if lone in _AND else escaped(lone)
        raise LabelwiseError(
            f"{where} with {lone!r} between names",
            "names with one mark between them",
            f"add ?separator={option} if it separates names, or ?separator= if each cell is one name",
        )
    joined = joined_name(names, mark)
    if joined is not None:
        name, joint = joined
        option = escaped(joint).replace(" ", "%20")
        raise LabelwiseError(
            f"{where} with {name!r}, whose parts are names in other cells too",
            "one mark between names",
            f"add ?separator={option} if it separates names, or ?separator= if each cell is one name"
            if mark is None
            else f"write {mark!r} between all names, or add ?separator={escaped(mark)} if it is one name",
        )


def joined_name(names: Collection[str], mark: str | None) -> tuple[str, str] | None:
    """A name that is likely several, and the mark that joins them: most names with it have parts that are names.

    >>> joined_name({"cat", "dog", "cat+dog"}, None), joined_name({"cat", "hot-dog", "dog"}, None)
    (('cat+dog', '+'), None)
    """
    by_joint: dict[str, list[str]] = {}
    for name in names:
        text = name.strip()
        marks = {m[0].strip() or m[0] for m in _JOINT.finditer(text) if m.start() > 0 and m.end() < len(text)}
        for joint in marks | ({" "} if mark and " " in text else set()):
            by_joint.setdefault(joint, []).append(name)
    for joint in sorted(by_joint.keys() - {mark}):
        with_joint = by_joint[joint]
        of_names = [n for n in with_joint if all(part.strip() in names for part in n.split(joint))]
        if of_names and len(of_names) >= 0.8 * len(with_joint):
            return min(of_names), joint
    return None


_DENIED = frozenset({"negative", "negatives", "neg", "absent", "uncertain", "unsure", "rejected"})


def refuse_negatives(columns: Collection[str], source: Source) -> None:
    """Raises `LabelwiseError` for columns or keys beside label names that list absent or uncertain labels."""
    odd = [name for name in columns if _DENIED & words_of(name)]
    if odd:
        raise LabelwiseError(
            f"{source.path}: {', '.join(odd[:4])} beside label names: by the name, labels that are absent or unclear",
            "names of the present labels, so that all others are absent",
            f"add ?ignore={as_option(odd)} if that holds; else write a column of 1, 0 and blank for each label",
        )


def words_of(name: str) -> set[str]:
    """The parts of a column's or key's name, in lower case.

    >>> sorted(words_of("neg_categoryNames"))
    ['category', 'names', 'neg']
    """
    return {part.casefold() for part in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", name)}


_DENIAL = re.compile(r"(?:[-!~¬–]|(?:no|not|non|without|kein|keine)[ _-])\s*(.+)", re.IGNORECASE)
_DOUBT = re.compile(r"(.+?)\s*(?:\?|\(\?\))")
_SHARE = r"(?:[01]?[.,]\d+|\d{1,3}\s*%|[01])"
_WITH_SHARE = re.compile(rf".+(?:[:=]\s*{_SHARE}|\(\s*{_SHARE}\s*\))")


def refuse_marked(names: Collection[str], column: str, mark: str | None) -> None:
    """Raises `LabelwiseError` for names that include a state: `-dog` or `dog?` beside `dog`, and `dog:0.9`."""
    option = escaped(mark or "").replace(" ", "%20")
    todo = f"write a column of 1, 0 and blank for each label, or add ?separator={option} if they are names"
    for name in sorted(names):
        match = _DENIAL.fullmatch(name) or _DOUBT.fullmatch(name)
        if match and match[1] in names:
            state = "absent" if _DENIAL.fullmatch(name) else "uncertain"
            raise LabelwiseError(
                f"{column} with {name!r} beside {match[1]!r}, which may mean that it is {state}",
                "names of labels that are present",
                todo,
            )
    if names and all(_WITH_SHARE.fullmatch(name) for name in names):
        raise LabelwiseError(f"{column} with numbers after names, as {min(names)!r}", "names alone", todo)


def number_names(names: Sequence[str], source: Source) -> list[str]:
    """A suggestion for labels that are numbers beside a file that likely holds their names."""
    if not source.path or "names" in source.options or not all(name.isdecimal() for name in names):
        return []
    path = Path(source.path)
    given = {path, *map(Path, source.path.split(","))}
    folder = path if path.is_dir() else Path(source.path.split(",")[0]).parent
    paths = [folder / file for file in _CLASS_FILES]
    beside = [file for file in paths if file.is_file() and file not in given and not _lists_images(file)]
    return [f"Labels are numbers; ?names={beside[0]} takes their names from that file."] if beside else []


_OPENING = 4096  # bytes read to see whether a file lists images


def _lists_images(file: Path) -> bool:
    """Whether the first lines of a file hold names of images, or the header of such a column."""
    with file.open("rb") as opened:
        lines = opened.read(_OPENING).decode("utf-8", "replace").splitlines()
    cells = [cell.strip() for line in lines for cell in re.split(r"[,;\t|\s\"':\[\]{}]+", line)]
    head = re.split(r"[,;\t|]", lines[0].casefold()) if lines else []
    has_header = len(head) > 1 and any(re.match(r"\W*(?:image|img|file|photo|path)", cell) for cell in head)
    return has_header or any(map(is_image_name, cells))


_CLASS_FILES = (
    *("classes.txt", "labels.txt", "label.txt", "names.txt", "class_names.txt", "obj.names", "classes.csv"),
    *("labels.csv", "labels.json", "classes.json", "data.yaml"),
)


def refuse_bits(names: Collection[str], where: str) -> None:
    """Raises `LabelwiseError` for names such as `010` and `110`: a 0 or 1 for each label rather than a name.

    >>> refuse_bits(["cat", "010"], "column 'labels'")
    """
    bits = all(re.fullmatch(r"[01](?:[ ,;|\t]?[01])*", name) for name in names)
    lengths = {len(name) for name in names}
    if bits and len(names) > 1 and len(lengths) == 1 and min(lengths) > 2 and any(n[0] == "0" for n in names):
        raise LabelwiseError(
            f"{where} with texts such as {min(names)!r} and {max(names)!r}: a 0 or 1 for each label",
            "names of labels",
            "write the names, or a column of 0 and 1 for each label",
        )
