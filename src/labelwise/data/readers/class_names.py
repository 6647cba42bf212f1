"""Names of the labels of a source that holds only their numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from labelwise.data.dataset import Dataset
from labelwise.data.readers.exports import text_lines
from labelwise.data.readers.name_doubts import few
from labelwise.data.source import Source
from labelwise.errors import LabelwiseError, first_line
from labelwise.types import LabelSet


def class_names(source: Source) -> tuple[str, ...]:
    """The names in the option `names`, in the order of their numbers; empty without the option.

    Args:
        source: its option is a file (one name per line; or JSON or YAML with a list, or an object from number to
            name, also under the key `names`), or names separated by commas.

    Raises:
        LabelwiseError: neither a file nor a list, or a file of another form.
    """
    given = source.options.get("names")
    if given is None:
        return ()
    file = Path(given)
    if "," in given and not file.is_file():
        return _distinct_names(source.names("names"), given)
    if not file.is_file():
        raise LabelwiseError(
            f"names={given}, which is no file",
            "a file with one name per line, or names separated by commas",
            "correct the option",
        )
    structured = file.suffix.lower() in (".json", ".yaml", ".yml")
    content = _structured(file) if structured else [line for _, line in text_lines(file)]
    return _distinct_names(content, given)


def _structured(file: Path) -> Any:
    """The list of names in a JSON or YAML file."""
    try:
        content = yaml.safe_load(file.read_bytes())  # JSON is YAML
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise LabelwiseError(f"{file} ({first_line(error)})", "a list of names", "correct the file") from None
    if isinstance(content, dict) and "names" in content:
        content = content["names"]
    if isinstance(content, dict):
        content = [content.get(i, content.get(str(i))) for i in range(len(content))]
    return content


def _distinct_names(names: Any, given: str) -> tuple[str, ...]:
    """The names without outer blanks; raises `LabelwiseError` unless they are distinct texts."""
    are_texts = isinstance(names, list) and names and all(isinstance(n, str) and n.strip() for n in names)
    if not are_texts or len({name.strip() for name in names}) < len(names):
        raise LabelwiseError(
            f"names={given} without a list of distinct names",
            "one name per line, or a list, in the order of the numbers",
            "correct the file or the option",
        )
    return tuple(name.strip() for name in names)


def with_class_names(data: Dataset, source: Source) -> Dataset:
    """The data set with names in place of numbers, and a label for each name of the option `names` in its order.

    Numbers count from 0, or from 1 if no label is 0 and the last equals the number of names. A label that no row
    names is absent from every row with known labels.

    Args:
        data: its labels are all numbers, without boxes.
        source: as in `class_names`; without the option the data set is returned unchanged.

    Raises:
        LabelwiseError: labels that are not numbers, boxes, groups or rules over them, or a number without a name.
    """
    names = class_names(source)
    if not names:
        return data
    given = source.options["names"]
    bare = data.boxes is None and not data.labels.groups and not data.labels.rules
    if not bare or not all(name.isdecimal() for name in data.labels):
        raise LabelwiseError(
            f"names={given} for labels such as {few(data.labels.names)}",
            "labels that are numbers",
            "leave the option out",
        )
    numbers = [int(name) for name in data.labels]
    start = int(0 not in numbers and max(numbers) == len(names))
    if max(numbers) - start >= len(names):
        raise LabelwiseError(
            f"label {max(numbers)} and {len(names)} names in names={given}",
            "a name for each number, counted from 0",
            "complete the names",
        )
    columns = [number - start for number in numbers]
    values = np.zeros((len(data), len(names)), data.values.dtype)
    known = np.repeat(data.known.any(1, keepdims=True), len(names), 1)
    values[:, columns], known[:, columns] = data.values, data.known
    named = replace(data, labels=LabelSet(names), values=values, known=known)
    return named.with_notes(f"Labels are numbers from {start}, with the names of names={given}.")
