"""The table that every reader returns: images by reference, label states, splits, groups and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Float32, Int, Int64, UInt8

from labelwise.data.archives import ImageStore
from labelwise.data.decode import decode_image
from labelwise.errors import LabelwiseError
from labelwise.lazy import torch
from labelwise.types import LabelSet

BOX_TYPE = pa.list_(
    pa.struct([("label", pa.int32()), *((side, pa.float32()) for side in ("x0", "y0", "x1", "y1"))])
)


@dataclass(frozen=True)
class Sample:
    """One image with its label states.

    Args:
        id: the path as given, or `row <i>` for embedded bytes.
        image: `[3, H, W]` uint8 RGB, upright.
        values: `[L]` float32 in [0, 1]; 0 where not known.
        known: `[L]` bool.
    """

    id: str
    image: UInt8[torch.Tensor, "3 H W"]
    values: Float[torch.Tensor, " L"]
    known: Bool[torch.Tensor, " L"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with label states, as arrays that are small for a million rows and shared by forked workers.

    Args:
        labels: the `L` labels in column order.
        images: `[N]` strings (paths, absolute or under `root`) or binary (encoded image files).
        root: folder that relative paths are under.
        values: `[N, L]` uint8 (0 or 1) when all are hard, else float32 in [0, 1]; 0 where not known.
        known: `[N, L]` bool; False where the label is unknown.
        split_of: `[N]` codes into `split_names`, -1 for a row in no split; `None` without splits.
        split_names: names of the splits.
        group: `[N]` int64; rows with the same code must stay in one split.
        boxes: `[N]` lists of `{label, x0, y0, x1, y1}`, fractions of the upright image's width and height.
        source: the SOURCE text it was read from.
        notes: decisions of the reader, one sentence each.
        rows_in_source: rows of the source before repeated or missing ones were removed.
        numbers: `[N]` int64, each row's number in its original table, which names an embedded image; `None` where
            the rows are in their original order.
        store: the packed or archived images, by `numbers`; `images` are then their names. `None` without a
            store.
    """

    labels: LabelSet
    images: pa.Array | pa.ChunkedArray
    root: Path | None
    values: UInt8[np.ndarray, "N L"] | Float32[np.ndarray, "N L"]
    known: Bool[np.ndarray, "N L"]
    split_of: Int[np.ndarray, " N"] | None = None
    split_names: tuple[str, ...] = ()
    group: Int64[np.ndarray, " N"] | None = None
    boxes: pa.Array | pa.ChunkedArray | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    rows_in_source: int | None = None
    numbers: Int64[np.ndarray, " N"] | None = None
    store: ImageStore | None = None

    def __post_init__(self) -> None:
        shape = (len(self.images), len(self.labels))
        for name, array in (("values", self.values), ("known", self.known)):
            if array.shape != shape:
                raise LabelwiseError(
                    f"{name} of shape {list(array.shape)} for {shape[0]} images and {shape[1]} labels",
                    f"the shape {list(shape)}",
                    "give one row per image and one column per label",
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def embedded(self) -> bool:
        """Whether the rows or a store hold encoded image files instead of paths."""
        return self.store is not None or self.holds_bytes

    @property
    def holds_bytes(self) -> bool:
        """Whether `images` are encoded image files."""
        return pa.types.is_binary(self.images.type) or pa.types.is_large_binary(self.images.type)

    def image_id(self, i: int) -> str:
        """The path as given, or for embedded bytes `row <n>`, the same in every subset of the data set."""
        if not self.holds_bytes:
            return self.images[i].as_py()
        return f"row {self._number(i)}"

    def image_ids(self, rows: Int64[np.ndarray, " K"]) -> list[str]:
        """`image_id` of each of these rows."""
        if self.holds_bytes:
            return [f"row {self._number(row)}" for row in rows.tolist()]
        return self.images.take(pa.array(rows)).to_pylist()

    def encoded(self, i: int) -> Path | bytes:
        """The image file of a row: its path (absolute where the root is) or its bytes.

        Raises:
            UnreadableImage: for an image of a store that could not be packed or is damaged.
        """
        if self.store is not None:
            return self.store.read(self._number(i))
        value = self.images[i].as_py()
        if self.holds_bytes:
            return value
        return Path(value) if self.root is None else self.root / value

    def absent(self, i: int) -> bool:
        """Whether the store has no bytes of a row's image, which could not be packed."""
        return self.store is not None and bool(self.store.lengths[self._number(i)] < 0)

    def _number(self, i: int) -> int:
        """The number of a row in the original table or in the store."""
        return i if self.numbers is None else int(self.numbers[i])

    def boxes_of(self, i: int) -> list[tuple[int, float, float, float, float]]:
        """`(label, x0, y0, x1, y1)` of each box of a row; sides are fractions of the upright image."""
        cell = None if self.boxes is None else self.boxes[i].as_py()
        return [(b["label"], b["x0"], b["y0"], b["x1"], b["y1"]) for b in cell or ()]

    def __getitem__(self, i: int) -> Sample:
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        i = int(i) % len(self)
        return Sample(
            self.image_id(i),
            decode_image(self.encoded(i)),
            torch.from_numpy(self.values[i].astype(np.float32)),
            torch.from_numpy(self.known[i].copy()),
        )

    def splits(self) -> dict[str, int]:
        """Name of each split and the number of its rows."""
        if self.split_of is None:
            return {}
        return {name: int((self.split_of == code).sum()) for code, name in enumerate(self.split_names)}

    def rows_of(self, name: str) -> Int64[np.ndarray, " M"]:
        """Row numbers, ascending, of a split, or of several written as `train+val`.

        Raises:
            LabelwiseError: a split that the data set lacks, with the names of its splits.
        """
        codes: list[int] = []
        for part in name.split("+"):
            if self.split_of is None or part not in self.split_names:
                available = ", ".join(f"{n} ({c})" for n, c in self.splits().items()) or "no splits at all"
                raise LabelwiseError(
                    f"split {part!r} of {self.source or 'this data set'}",
                    f"a split that it has: {available}",
                    "name one of them" if self.splits() else "make splits with `labelwise data split`",
                )
            codes.append(self.split_names.index(part))
        return np.flatnonzero(np.isin(np.asarray(self.split_of), codes)).astype(np.int64)

    def split(self, name: str) -> Dataset:
        """The rows of a split (or of several: `train+val`), in their order and with only these splits.

        Raises:
            LabelwiseError: as `rows_of`.
        """
        rows = self.take(self.rows_of(name))
        names = tuple(split for split in self.split_names if split in name.split("+"))
        new_codes = np.array([names.index(split) if split in names else -1 for split in self.split_names])
        return rows.with_split(new_codes[np.asarray(rows.split_of)], names)

    def by_split(self) -> Dataset:
        """The same rows in stable order of their split, so that the cells of a split need no copy."""
        if self.split_of is None or bool((np.diff(self.split_of) >= 0).all()):
            return self
        return self.take(np.argsort(self.split_of, kind="stable"))

    def take(self, rows: np.ndarray | Sequence[int]) -> Dataset:
        """The same data set with these rows, in this order (int row numbers, or a `[N]` bool mask).

        Cells of consecutive rows are shared with this data set, others are copied.
        """
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64).reshape(-1)
        arrow_index = pa.array(index, pa.int64())
        consecutive = len(index) > 0 and index[0] >= 0 and bool((np.diff(index) == 1).all())
        selection = slice(int(index[0]), int(index[-1]) + 1) if consecutive else index
        return replace(
            self,
            images=self.images.take(arrow_index),
            values=self.values[selection],
            known=self.known[selection],
            split_of=None if self.split_of is None else self.split_of[index],
            group=None if self.group is None else self.group[index],
            boxes=None if self.boxes is None else self.boxes.take(arrow_index),
            numbers=(np.arange(len(self)) if self.numbers is None else self.numbers)[index],
        )

    def with_split(self, codes: np.ndarray, names: Sequence[str]) -> Dataset:
        """The same rows under other splits: `codes [N]` into `names`, -1 for a row in none."""
        return replace(self, split_of=np.asarray(codes).astype(np.int16), split_names=tuple(names))

    def with_known(self, known: Bool[np.ndarray, "N L"]) -> Dataset:
        """The same rows with fewer known labels: a cell stays known where both masks are True."""
        both = self.known & known
        return replace(self, known=both, values=np.where(both, self.values, np.zeros_like(self.values)))

    def with_labels(self, names: Sequence[str]) -> Dataset:
        """The same rows with these label columns in this order, by name; raises for an unknown name.

        Other labels are removed, with their boxes and from groups and rules.
        """
        columns = [self.labels.index(name) for name in names]
        boxes = self.boxes
        if boxes is not None:
            codes = {old: new for new, old in enumerate(columns)}
            cells = [
                None if c is None else [{**b, "label": codes[b["label"]]} for b in c if b["label"] in codes]
                for c in boxes.to_pylist()
            ]
            boxes = pa.array(cells, boxes.type)
        groups = {
            name: replace(group, labels=tuple(label for label in group.labels if label in names))
            for name, group in self.labels.groups.items()
        }
        nonempty = {name: group for name, group in groups.items() if group.labels}
        labels = LabelSet(tuple(names), nonempty, self.labels.rules.among(names))
        return replace(
            self, labels=labels, values=self.values[:, columns], known=self.known[:, columns], boxes=boxes
        )

    def with_unknown_labels(self, names: Sequence[str]) -> Dataset:
        """The same rows with additional labels at the end, unknown in every row, and a note that names them."""
        cells = np.zeros((len(self), len(names)), self.values.dtype)
        return replace(
            self,
            labels=replace(self.labels, names=(*self.labels.names, *names)),
            values=np.concatenate([self.values, cells], 1),
            known=np.concatenate([self.known, cells.astype(bool)], 1),
        ).with_notes(f"unknown in every image, for the data lack them: {', '.join(names)}.")

    def with_notes(self, *notes: str) -> Dataset:
        """The same rows with additional notes."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def positive(self) -> Bool[np.ndarray, "N L"]:
        """Mask of the cells that are known and at least 0.5."""
        present = self.values.astype(bool) if self.values.dtype == np.uint8 else self.values >= 0.5
        return self.known & present

    def summary(self) -> str:
        """A few lines: source, number of images, splits, label balance, and the notes."""
        count = self.positive.sum(0)
        order = np.argsort(-count, kind="stable")
        unknown = 1 - self.known.mean() if self.known.size else 0.0
        listed = [f"{self.labels.names[j]} {count[j]:,}" for j in order]
        if len(listed) > 8:
            listed = [*listed[:4], "...", *listed[-3:]]
        lines = [
            *self._size(),
            f"positives: {count.sum():,}, {count.sum() / max(len(self), 1):.2f} an image; "
            f"{unknown:.1%} of the cells unknown",
            "labels: " + ", ".join(listed),
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        """One line, whatever the number of images."""
        return f"<Dataset {'; '.join(self._size())}>"

    def _size(self) -> tuple[str, str]:
        """The lines of the summary on the numbers of images, labels and rows of splits."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.splits().items())
        return (
            f"{self.source.removesuffix(':') or 'data set'}: {len(self):,} images, {len(self.labels):,} labels",
            f"splits: {splits or 'none'}",
        )
