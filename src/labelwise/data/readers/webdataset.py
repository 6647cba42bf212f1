"""WebDataset: tar files of samples; neighbouring members of the same name are an image and its labels."""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelwise.data.archives import ArchivedImages
from labelwise.data.dataset import Dataset
from labelwise.data.imagefiles import is_image_name
from labelwise.data.readers.columns import OPTIONS as COLUMN_OPTIONS
from labelwise.data.readers.name_doubts import few
from labelwise.data.readers.named import dataset_of_names, in_store
from labelwise.data.readers.sample_labels import is_label_member, label_table, member_of_labels
from labelwise.data.readers.shards import by_split, files_below
from labelwise.data.source import Source, WouldLose, joined_values
from labelwise.errors import LabelwiseError, first_line
from labelwise.lazy import require_package

FORM = "webdataset:SHARDS[?names=FILE]"
MEANING = (
    "tar files of images with json, cls or txt beside them: a file, a folder, x-{000..003}.tar or x-*.tar"
)
_OWN_OPTIONS = frozenset({"member", "names", "missing"})
OPTIONS = (COLUMN_OPTIONS - {"image", "images", "duplicates", "separator", "split", "group"}) | _OWN_OPTIONS
_BLOCK = 512  # bytes of a tar file's header
_REMOTE = re.compile(r"^(?:pipe|[a-z][a-z0-9+.-]*):(?://|\s)", re.IGNORECASE)


def recognises(path: Path) -> bool:
    """Whether a path is a tar file, or a folder of them, that begins with samples of an image and labels."""
    files = [path] if path.is_file() else [*path.glob("*.tar"), *path.glob("*/*.tar")]
    file = next(iter(sorted(files)), None)
    if file is None or file.suffix.lower() != ".tar":
        return False
    try:
        with tarfile.open(file, "r:") as archive:
            names = [member.name for member, _ in zip(archive, range(16), strict=False)]
    except (tarfile.TarError, OSError):
        return False
    images = {os.path.basename(name).partition(".")[0] for name in names if is_image_name(name)}
    others = {os.path.basename(name).partition(".")[0] for name in names if is_label_member(name)}
    return bool(images & others)


def read(source: Source) -> Dataset:
    """Reads shards; images stay in them and are read on access.

    Labels of a sample are in one member: `json` with a list `labels` or `tags`, or one key per label; `cls`, a class
    number or name; `txt`, `labels.txt` or `tags.txt`, names separated by commas. Without it they are unknown.

    Raises:
        LabelwiseError: missing, compressed or truncated shards, samples without an image, members without labels, or
            errors of `columns.dataset_of`.
    """
    require_package("webdataset", "webdataset: without the package", "webdataset")
    folder, shards = _shards(source)
    notes: list[str] = []
    samples = _Samples()
    for shard_number, (split, shard) in enumerate(shards):
        for key, members in _members_by_sample(folder / shard):
            samples.add(shard_number, split, f"{shard}/{key}", members)
    samples.settle(source, notes)
    member = member_of_labels({suffix: len(rows) for suffix, rows in samples.members.items()}, source, notes)

    def row_name(row: int) -> str:
        return samples.names[row]

    rows = samples.members[member]
    contents = [rows.get(row) for row in range(len(samples.names))]
    table, all_names, other_keys = label_table(contents, member, source, row_name, notes)
    if any(samples.splits):
        split_columns = [name for name in table.column_names if name.lower() == "split"]
        if split_columns:
            table = table.drop_columns(split_columns)
            notes.append(f"The key {split_columns[0]!r} was left out: names of shards are the splits.")
        table = table.append_column("split", pa.array([name or None for name in samples.splits], pa.string()))
    store = ArchivedImages([folder / shard for _, shard in shards], *np.array(samples.places, np.int64).T)
    removed = _OWN_OPTIONS | ({"labels"} if table.column_names[:1] == ["labels"] else set())
    inner = Source(source.kind, source.path, {k: v for k, v in source.options.items() if k not in removed})
    if keys := set(source.names("ignore")) & set(other_keys):
        inner = inner.with_option("ignore", joined_values(n for n in source.names("ignore") if n not in keys))
    column = next(name for name in ("image", "image in shard", "stored") if name not in table.column_names)
    table = table.add_column(0, column, in_store(table.num_rows))
    stored = pa.array(samples.names, pa.string()), store
    return dataset_of_names(table, all_names, inner, folder, row_name, stored).with_notes(*notes)


class _Samples:
    """The samples of all shards, one row each: the place of the image, and members that may hold labels."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.splits: list[str] = []
        self.places: list[tuple[int, int, int]] = []
        self.members: dict[str, dict[int, bytes]] = {}
        self._bare: list[str] = []
        self._others: list[str] = []

    def add(self, shard: int, split: str, name: str, members: Mapping[str, Any]) -> None:
        """Adds a sample with its image whose suffix has a single part, such as jpg beside mask.png."""
        images = [suffix for suffix in members if is_image_name(f"_.{suffix}")]
        single = [suffix for suffix in images if "." not in suffix] or images
        if len(single) > 1:
            raise LabelwiseError(
                f"{name} with several images: {', '.join(single)}",
                "one image per sample",
                "write the others to other samples",
            )
        if not single:
            self._bare.append(f"{name} ({', '.join(members) or 'empty'})")
            return
        self._others += [f"{name}.{suffix}" for suffix in images if suffix != single[0]]
        row = len(self.names)
        self.names.append(f"{name}.{single[0]}")
        self.splits.append(split)
        self.places.append((shard, *members[single[0]][:2]))
        for suffix, content in members.items():
            if suffix not in images:
                self.members.setdefault(suffix, {})[row] = content

    def settle(self, source: Source, notes: list[str]) -> None:
        """Refuses samples without an image, unless the source sets `missing=skip`."""
        policy = source.choice("missing", ("stop", "skip"))
        if not self.names:
            raise LabelwiseError(
                f"{source.path} without a sample that has an image",
                "images beside their labels",
                "check the shards",
            )
        if self._bare:
            listed = few(self._bare, 3)
            if policy == "stop":
                raise WouldLose(
                    f"{len(self._bare):,} of {len(self._bare) + len(self.names):,} samples without an image: {listed}",
                    "an image in every sample, beside its labels in the tar file",
                    "write the shards again, or add missing=skip to leave them out",
                    ("missing", "skip"),
                )
            notes.append(f"{len(self._bare):,} samples without an image were left out: {listed}.")
        if self._others:
            notes.append(f"{len(self._others):,} further images of samples were left out: {self._others[0]}.")


def _shards(source: Source) -> tuple[Path, list[tuple[str, str]]]:
    """The folder of all shards, and the split and path of each, in order."""
    if _REMOTE.match(source.path):
        raise LabelwiseError(f"{source.path!r}", "tar files on this disk", "fetch them first")
    path = Path(source.path)
    if path.is_dir():
        folder, files = path, files_below(path, ".tar", ".tar.gz", ".tgz")
    else:
        paths = [source.path] if path.is_file() else _expanded(source.path)
        missing = [name for name in paths if not os.path.isfile(name)]
        if missing:
            raise LabelwiseError(
                f"{len(missing):,} of {len(paths):,} shards missing: {', '.join(missing[:3])}",
                "tar files, a folder of them, or a pattern such as train-{000..003}.tar",
                "check the path",
            )
        folder = Path(os.path.commonpath([os.path.dirname(os.path.abspath(name)) for name in paths] or ["."]))
        files = [os.path.relpath(name, folder) for name in paths]
    if not files:
        raise LabelwiseError(
            f"{source.path!r} without tar files", "shards such as train-000000.tar", "check the path"
        )
    for name in files:
        with (folder / name).open("rb") as stream:
            if stream.read(2) == b"\x1f\x8b":
                raise LabelwiseError(
                    f"{folder / name}, a compressed shard", "a plain tar file", "run gunzip on it"
                )
    return folder, [(split, name) for split, names in by_split(files, source.path).items() for name in names]


def _expanded(pattern: str) -> list[str]:
    """The paths of a pattern with braces or a glob; a part without matches stays as it is."""
    from webdataset.shardlists import expand_urls

    try:
        paths = expand_urls(pattern)
    except (ValueError, AssertionError) as error:  # unclosed braces, or an unset variable
        raise LabelwiseError(
            f"{pattern!r} ({first_line(error)})", "a pattern such as x-{000..003}.tar", "correct it"
        ) from None
    return list(dict.fromkeys(name for path in paths for name in (sorted(glob.glob(path)) or [path])))


def _members_by_sample(shard: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields key and members of each sample of a shard: an image's offset and size, another member's content.

    Raises:
        LabelwiseError: a shard that is not a tar file, truncated or damaged, or a sample with a member twice.
    """
    from webdataset.tariterators import group_by_keys

    try:
        for sample in group_by_keys(_members(shard)):
            yield (
                sample.pop("__key__"),
                {suffix: v for suffix, v in sample.items() if not suffix.startswith("__")},
            )
    except ValueError as error:
        if isinstance(error, LabelwiseError):
            raise
        raise LabelwiseError(
            f"{shard}: {error.args[0]}", "each member of a sample once", "write the shard again"
        ) from None


def _members(shard: Path) -> Iterator[dict[str, Any]]:
    """Yields the regular members, without hidden ones."""
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]
                parts = member.name.split("/")
                if not member.isreg() or any(part.startswith((".", "__")) for part in parts if part != "."):
                    continue
                suffix = parts[-1].partition(".")[2].lower()
                if is_image_name(f"_.{suffix}"):
                    if member.issparse():
                        raise tarfile.ReadError("a sparse member")
                    value: Any = (member.offset_data, member.size)
                elif is_label_member(suffix):
                    content = archive.extractfile(member)
                    value = b"" if content is None else content.read()
                else:
                    value = b""
                yield {"fname": member.name, "data": value, "__url__": str(shard)}
            end = archive.offset
    except (tarfile.TarError, OSError, EOFError) as error:
        raise LabelwiseError(
            f"{shard} ({first_line(error)})", "a whole tar file", "write or copy it again"
        ) from None
    # Reading ends without an error at a damaged header, or at the end of the file.
    with shard.open("rb") as stream:
        stream.seek(end)
        if stream.read(_BLOCK) != bytes(_BLOCK):
            raise LabelwiseError(
                f"{shard}, which is truncated or damaged at byte {end:,}",
                "a whole tar file",
                "write or copy it again",
            )
