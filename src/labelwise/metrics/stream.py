"""Exact ranking metrics of scores that do not fit in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from labelwise.errors import LabelwiseError
from labelwise.metrics import ranking
from labelwise.metrics.arrays import Array, Cells, one_of
from labelwise.metrics.threshold import column_sums

_NEGATIVE, _POSITIVE, _UNKNOWN = 0, 1, 2
_CELL_BYTES = 5  # bytes: a float32 score and a state


class RankingStream:
    """`average_precision` of scores that are written image by image to a file and read label by label.

    Batches are collected in memory until they fill a buffer, which is then written to a temporary file label by
    label. The scores of a label are therefore contiguous for each buffer, and each label is computed from all of its
    scores, exactly as in `average_precision`. Memory holds one buffer, or 64 labels of all images, whichever is more;
    the file takes 5 bytes per cell.

    Args:
        folder: folder of the file until `close`; `None` for the system's folder for temporary files.
        buffer_bytes: size of the buffer.

    >>> with RankingStream() as stream:
    ...     stream.update(np.array([[0.9, 0.2]]), np.array([[1, 0]]))
    ...     stream.update(np.array([[0.1, 0.3]]), np.array([[0, 1]]))
    ...     stream.mean_average_precision()
    1.0
    """

    def __init__(self, folder: str | Path | None = None, buffer_bytes: int = 256 << 20) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the stream
        self._buffer_bytes, self._end, self._labels = buffer_bytes, 0, -1
        self._buffer: list[tuple[np.ndarray, np.ndarray]] = []
        self._chunks: list[tuple[int, int]] = []  # offset and number of images of each
        self._positives = np.zeros(0, np.int64)

    def __enter__(self) -> RankingStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes and deletes the file."""
        self._file.close()

    def update(self, scores: Array, targets: Array, known: Array | None = None) -> None:
        """Adds a batch: `[B, L]` each, as in `average_precision`; scores are stored as float32.

        Raises:
            LabelwiseError: on shapes that differ, soft targets, NaN or infinite scores, or another number of labels.
        """
        cells = Cells.read(scores, targets, known)
        if self._labels not in (-1, cells.scores.shape[1]):
            raise LabelwiseError(
                f"scores of shape {cells.scores.shape}",
                f"[images, {self._labels}], as before",
                "use one stream for each set of labels",
            )
        if self._labels == -1:
            self._labels = cells.scores.shape[1]
            self._positives = np.zeros(self._labels, np.int64)
        positive = cells.positive()
        states = positive.astype(np.uint8)
        cells.check_scores()
        if cells.known is not None:
            states[~cells.known] = _UNKNOWN
        self._positives += column_sums(positive)
        self._buffer.append((np.array(cells.scores, np.float32), states))
        if sum(len(s) for s, _ in self._buffer) * self._labels * _CELL_BYTES >= self._buffer_bytes:
            self._flush()

    def average_precision(self, kind: str = "raw") -> Float[np.ndarray, " L"]:
        """Average precision of each label, `[L]` float64; NaN without a known positive or a known negative.

        Raises:
            LabelwiseError: no batch was added, or an unknown kind.
        """
        self._flush()
        if not self._chunks:
            raise LabelwiseError("a stream without scores", "at least one batch", "call update before")
        parts = []
        for start in range(0, self._labels, ranking.MAX_BLOCK):
            stop = min(start + ranking.MAX_BLOCK, self._labels)
            scores, states = self._read(start, stop)
            known = None if (states != _UNKNOWN).all() else states != _UNKNOWN
            values = ranking.average_precision(
                scores.T, (states == _POSITIVE).T, None if known is None else known.T, kind
            )
            parts.append(np.asarray(values))
        return np.concatenate(parts)

    def mean_average_precision(self, kind: str = "raw", empty: str = "skip") -> float:
        """Mean of `average_precision` over labels; `empty` as in the function of that name."""
        one_of("empty", empty, ranking.EMPTY)
        values = self.average_precision(kind)
        return ranking.mean_over_labels(
            values, np.flatnonzero(self._positives == 0) if empty == "zero" else ()
        )

    def _flush(self) -> None:
        """Writes the buffer to the file, label by label."""
        images = sum(len(scores) for scores, _ in self._buffer)
        if not images:
            return
        self._file.seek(self._end)
        for column in (0, 1):
            for start in range(0, self._labels, ranking.MAX_BLOCK):
                block = slice(start, start + ranking.MAX_BLOCK)
                parts = [batch[column][:, block].T for batch in self._buffer]
                self._file.write(np.ascontiguousarray(np.concatenate(parts, axis=1)).data)
        self._chunks.append((self._end, images))
        self._end += images * self._labels * _CELL_BYTES
        self._buffer = []

    def _read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and states `[l, N]` of some labels."""
        labels, images = stop - start, sum(n for _, n in self._chunks)
        scores, states = np.empty((labels, images), np.float32), np.empty((labels, images), np.uint8)
        first = 0
        for chunk_start, count in self._chunks:
            rows = slice(first, first + count)
            for array, offset in ((scores, chunk_start), (states, chunk_start + 4 * count * self._labels)):
                self._file.seek(offset + start * count * array.itemsize)
                data = self._file.read(labels * count * array.itemsize)
                array[:, rows] = np.frombuffer(data, array.dtype).reshape(labels, count)
            first += count
        return scores, states
