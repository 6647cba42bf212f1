"""Sources of several files, with the split of each in its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelwise.data.readers.files import source_file
from labelwise.data.readers.split_names import are_splits, split_in_name, splits_together
from labelwise.data.source import Source, WouldLose
from labelwise.errors import LabelwiseError


def split_of(file: Path) -> str:
    """The split in a file's name, else in the name of the nearest parent folder that is a split; or empty.

    >>> split_of(Path("oid/oidv6-train-annotations-human-imagelabels.csv")), split_of(Path("valid/labels/all.csv"))
    ('train', 'val')
    """
    return split_in_name(_named_by(file)) or ""


def _named_by(file: Path) -> str:
    """The part of a path with the split: the file's name, or that of a near parent folder."""
    folders = (folder.name for folder in list(file.parents)[:3] if are_splits([folder.name], least=1))
    return next(filter(split_in_name, (file.stem, *folders)), "")


def files_with_splits(source: Source, what: str) -> list[tuple[Path, str]]:
    """The files of a source, separated by commas, and the split of each; a single file has none.

    Args:
        source: `FILE` or `FILE,FILE`.
        what: kind of file, for messages.

    Raises:
        LabelwiseError: a file that does not exist or is listed twice, or one of several without a split in its name.
    """
    is_file = Path(source.path).exists()
    names = [source.path] if is_file else [text.strip() for text in source.path.split(",") if text.strip()]
    files = [source_file(Source(source.kind, name), what) for name in names or [source.path]]
    if len(set(files)) < len(files):
        raise LabelwiseError(f"a file twice in {str(source)!r}", "each file once", "correct the SOURCE")
    if len(files) == 1:
        return [(files[0], "")]
    splits = [split_of(file) for file in files]
    if not all(splits):
        raise LabelwiseError(
            f"{files[splits.index('')].name}, one of several files, without a split",
            "train, val or test in the name of every file or of its folder",
            "rename it",
        )
    return list(zip(files, splits_together([_named_by(file) for file in files], splits), strict=True))


@contextmanager
def named_by(place: str) -> Iterator[None]:
    """Adds the name of one of several files to errors that are raised inside."""
    try:
        yield
    except LabelwiseError as error:
        if place in error.given:
            raise
        given = f"{place}: {error.given}"
        if isinstance(error, WouldLose):
            raise WouldLose(given, error.expected, error.todo, error.option) from None
        raise LabelwiseError(given, error.expected, error.todo) from None
