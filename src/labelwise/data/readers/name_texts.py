"""Texts with one or several label names: separated by a mark, or as a list that a tool wrote as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from labelwise.data.readers.name_doubts import refuse_bits, refuse_joined, refuse_marked
from labelwise.data.readers.name_lists import HOT, hot_rows, is_list_text, list_of
from labelwise.data.readers.name_pieces import refuse_open_states, refuse_pieces, refuse_states, unquoted
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError

MARKS = ("\n", ";", "|", ",", "#", "\t", "；", "，", "、")
"""Separators of names, in order of precedence."""


def named_texts(
    texts: Sequence[str], name: str, source: Source, where: Callable[[int], str]
) -> tuple[list[list[str]], str, tuple[str, ...]]:
    """Label names in texts.

    Args:
        texts: `[N]`.
        name: of the column.
        source: as for `named_rows`.
        where: returns the name of a text for messages.

    Returns:
        the names of each text; how they were separated, for a note; and all labels in their order if the texts are
        lists of 0 and 1.

    Raises:
        LabelwiseError: as `named_rows`.
    """
    given = source.options.get("separator")
    if given is None and any(map(is_list_text, texts)):
        listed = [list_of(text, name, where, index) for index, text in enumerate(texts)]
        plain_rows = [index for index, text in enumerate(texts) if text and not is_list_text(text)]
        if plain_rows and not any("choices" in text for text in texts):
            inner, _, _ = named_texts(
                [texts[index] for index in plain_rows], name, source, lambda i: where(plain_rows[i])
            )
            for index, names in zip(plain_rows, inner, strict=True):
                listed[index] = names
        if (hot := hot_rows(listed, name)) is not None:
            return hot[0], HOT, hot[1]
        distinct = {part for row in listed for part in row}
        refuse_states(distinct, listed, f"column {name!r}")
        refuse_pieces(distinct, f"column {name!r}")
        choices = any("choices" in text for text in texts)
        return listed, "from lists written as text" + (" with choices" if choices else ""), ()
    mark = next((m for m in MARKS if any(m in text for text in texts)), None) if given is None else given
    if given is None and mark is None and any(" " in text for text in texts):
        mark = _blank_mark(texts, name)
    if given and not any(given in text for text in texts):
        raise LabelwiseError(
            f"separator={given!r}, which no cell of the column {name!r} holds",
            "the mark between names; empty for one name per cell",
            "correct the option or leave it out",
        )
    parts = (text.split(mark) if mark else [text] for text in texts)
    listed = [[part.strip() for part in row if part.strip()] for row in parts]
    if given is None:
        if (hot := hot_rows(listed, name)) is not None:
            return hot[0], HOT, hot[1]
        listed = unquoted(listed)
        distinct = {part for row in listed for part in row}
        refuse_states(distinct, listed, f"column {name!r}")
        refuse_pieces(distinct, f"column {name!r}")
        refuse_bits(distinct, f"column {name!r}")
        if "unknown" not in source.options:
            refuse_open_states(distinct, f"column {name!r}")
        refuse_marked(distinct, f"column {name!r}", mark)
        refuse_joined(distinct, f"column {name!r}", mark)
    how = f"separated by {mark!r}" if mark else "one in each cell, as no separator occurs"
    return listed, how if mark or given == "" else how + _one_with_blanks(texts), ()


def _blank_mark(texts: Sequence[str], name: str) -> str | None:
    """A blank if it separates names: the parts of most cells with blanks occur in other cells too; else `None`."""
    cells = {text for text in texts if text}
    if all(text.replace(" ", "").isdecimal() for text in cells):
        return " "  # no number holds a blank
    uses: dict[str, int] = {}
    for cell in cells:
        for part in set(cell.split()):
            uses[part] = uses.get(part, 0) + 1
    with_blanks = [cell for cell in cells if " " in cell]
    repeated = [cell for cell in with_blanks if all(uses[part] > 1 for part in cell.split())]
    if len(repeated) >= 0.8 * len(with_blanks):
        return " "
    if len(repeated) <= 0.2 * len(with_blanks):
        return None
    raise LabelwiseError(
        f"column {name!r} with cells such as {with_blanks[0]!r}, in which a blank may separate names or belong to one",
        "one of the two",
        "add ?separator=%20 if it separates names, or ?separator= if each cell is one name",
    )


def _one_with_blanks(texts: Sequence[str]) -> str:
    """A note on a name with blanks if a part of it is a name too, or occurs in half of such names; else empty."""
    cells = {text for text in texts if text}
    with_blanks = sorted(cell for cell in cells if " " in cell)
    uses = Counter(part for cell in with_blanks for part in set(cell.split()))
    often = {part for part, count in uses.items() if len(with_blanks) > 2 and 2 * count >= len(with_blanks)}
    doubtful = [
        (cell, part) for cell in with_blanks for part in cell.split() if part in cells or part in often
    ]
    if not doubtful:
        return ""
    cell, part = doubtful[0]
    return f" ({cell!r} is one label, though {part!r} occurs elsewhere too; ?separator=%20 would split it)"
