"""Predictions of images: decisions and evidence. Nothing here needs PyTorch, except the engines that use it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwise.data.fixed import FixedTransform, Transform, shown_part
from labelwise.data.pixels import UnreadableImage
from labelwise.decisions.decisions import Decisions
from labelwise.engines.runtimes import Engine
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact
from labelwise.export.devices import on_device
from labelwise.export.opening import open_graph
from labelwise.inference.inputs import Image, as_images, decode_upright, name_of_image
from labelwise.inference.prediction import Prediction
from labelwise.labels import LabelSet

if TYPE_CHECKING:
    from labelwise.inference.familiarity import Watched
    from labelwise.runs.run import Run


class Predictor:
    """An engine with its transform and decisions.

    Args:
        labels: in column order; or an opened run instead of all four arguments.
        decisions: from logits to probabilities and selected labels.
        transform: from a decoded image to the engine's input.
        engine: from images to logits and maps.
        familiarity: of a run that `labelwise familiarity` was called for.

    Raises:
        LabelwiseError: a run without weights, or with damaged ones.
    """

    def __init__(
        self,
        labels: LabelSet | Run,
        decisions: Decisions | None = None,
        transform: Transform | None = None,
        engine: Engine | None = None,
        familiarity: Watched | None = None,
    ) -> None:
        if not isinstance(labels, LabelSet):
            from labelwise.inference.loading import parts_of_run

            labels, decisions, transform, engine, familiarity = parts_of_run(labels, None)
        if decisions is None or transform is None or engine is None:
            raise LabelwiseError(
                "a predictor of labels alone",
                "a run, or labels with decisions, transform and engine",
                "see labelwise.load",
            )
        self.labels, self.decisions, self.transform, self.engine = labels, decisions, transform, engine
        self.thresholds = dict(zip(labels.names, decisions.thresholds.tolist(), strict=True))
        self.familiarity = familiarity

    def prepare(self, images: int, say: Callable[[str], None] = lambda line: None) -> None:
        """Select the engine of a run's backbone for a number of images, and open a graph on its device.

        Args:
            images: expected number; many are worth the seconds of building a graph.
            say: prints a line to the user.
        """
        prepare = getattr(self.engine, "prepare", None)
        if prepare is not None:
            prepare(images, say)

    @property
    def never_selected(self) -> tuple[str, ...]:
        """Labels without a positive in training, which are never selected."""
        return tuple(self.labels.names[j] for j in self.decisions.never)

    def predict(
        self,
        images: Image | Iterable[Image],
        *,
        maps: bool = False,
        batch_size: int = 32,
        workers: int = 0,
    ) -> Iterator[Prediction]:
        """One prediction per image, in order; that of an unreadable image has an `error`.

        Args:
            images: one image or several: paths, encoded bytes, PIL images (turned upright by their EXIF orientation),
                arrays of RGB or grey, `[H, W, 3]` or `[H, W]`, uint8 or uint16, RGBA arrays `[H, W, 4]`, which are
                composited over white, and `[3, H, W]` uint8 tensors.
            maps: also return evidence.
            batch_size: images per batch.
            workers: decoding threads; 0 decodes between the batches.

        Raises:
            LabelwiseError: an object that is not an image, pixels of another type or shape, or maps of an export
                without maps; raised before anything is computed.
        """
        if maps and not self.engine.has_maps:
            raise LabelwiseError(
                "an export without evidence maps", "an export with maps", "export again with --maps"
            )
        sequence = as_images(images)
        self.prepare(len(sequence))
        return self._predict(sequence, maps, batch_size, workers)

    def _predict(
        self, images: Sequence[Image], maps: bool, batch_size: int, workers: int
    ) -> Iterator[Prediction]:
        """Predictions in order; threads decode the next batches meanwhile."""
        starts = range(0, len(images), batch_size)
        batches = (
            [images[i] for i in range(start, min(start + batch_size, len(images)))] for start in starts
        )
        if not workers or len(images) == 1:
            for batch in batches:
                yield from self._predictions_of([self._decoded_image(image) for image in batch], maps)
            return
        # Needless for one image, and slow to import.
        from concurrent.futures import Future, ThreadPoolExecutor

        with ThreadPoolExecutor(workers, "decode") as pool:
            pending = deque[list[Future[_Decoded]]]()
            try:
                for batch in batches:
                    pending.append([pool.submit(self._decoded_image, image) for image in batch])
                    if len(pending) * batch_size > batch_size + workers:
                        yield from self._predictions_of([image.result() for image in pending.popleft()], maps)
                while pending:
                    yield from self._predictions_of([image.result() for image in pending.popleft()], maps)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _decoded_image(self, image: Image) -> _Decoded:
        """An image as the engine takes it, or the reason why it cannot be read."""
        name, notes = name_of_image(image), list[str]()
        try:
            photograph = decode_upright(image, self.transform, notes)
        except UnreadableImage as error:
            return _Decoded(name, None, str(error))
        visible = shown_part(self.transform.config, int(photograph.shape[1]), int(photograph.shape[2]))
        return _Decoded(name, self.transform(photograph), None, visible, next(iter(notes), ""))

    def of_prepared(self, images: Sequence[Any], maps: bool = False) -> list[Prediction]:
        """Predictions for outputs of `transform`, as one batch; they have no names.

        Args:
            images: inputs of the engine, uint8 `[3, h, w]`, arrays or tensors.
            maps: also return evidence.
        """
        return self._predictions_of([_Decoded("", image) for image in images], maps)

    def with_bits(self, bits: int) -> Predictor:
        """The same model for images whose 16-bit grey uses `bits` bits, 8 to 16."""
        transform = self.transform.with_bits(bits)
        return Predictor(self.labels, self.decisions, transform, self.engine, self.familiarity)

    def evidence(self, images: Sequence[Image], labels: Sequence[int]) -> list[np.ndarray]:
        """Evidence of one label per image, given by its column, over the whole photograph."""
        predictions, names = self.predict(images, maps=True), self.labels.names
        return [
            p.over_photograph(names[j]) if p.maps is not None else np.zeros((1, 1))
            for p, j in zip(predictions, labels, strict=True)
        ]

    def _predictions_of(self, batch: list[_Decoded], maps: bool) -> list[Prediction]:
        """Predictions of one decoded batch, unreadable images included."""
        readable = [decoded.image for decoded in batch if decoded.image is not None]
        names, predictions = self.labels.names, []
        logits, evidence_maps = np.zeros((0, 0)), None
        if readable:
            with self.familiarity or nullcontext():
                logits, evidence_maps = self.engine(batch_of_inputs(readable), maps)
        p = self.decisions.probabilities(logits) if readable else logits
        chosen = self.decisions.select(p) if readable else p
        familiar = self.familiarity.of_batch(chosen, names) if self.familiarity and readable else []
        row = 0
        for decoded in batch:
            if decoded.image is None:
                predictions.append(Prediction(decoded.name, {}, self.thresholds, decoded.error, None, names))
                continue
            ranked = {names[j]: float(p[row, j]) for j in np.argsort(-p[row], kind="stable")}
            selected = frozenset(names[j] for j in np.flatnonzero(chosen[row]))
            evidence = None if evidence_maps is None else evidence_maps[row]
            familiarity = familiar[row] if familiar else (None, {})
            predictions.append(
                Prediction(
                    decoded.name,
                    ranked,
                    self.thresholds,
                    None,
                    evidence,
                    names,
                    selected,
                    decoded.shown,
                    decoded.note,
                    familiar=familiarity[0],
                    familiar_labels=familiarity[1],
                    groups=self.labels.groups,
                )
            )
            row += 1
        return predictions


class _Decoded(NamedTuple):
    """An image as the engine takes it; `None` with an `error` if it cannot be read."""

    name: str
    image: Any
    error: str | None = None
    shown: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    note: str = ""


def batch_of_inputs(images: Sequence[Any]) -> np.ndarray:
    """One batch of inputs of one size, contiguous in memory.

    Raises:
        LabelwiseError: too little memory.
    """
    try:
        batch = np.empty((len(images), *images[0].shape), np.uint8)
    except MemoryError:
        raise LabelwiseError(
            f"a batch of {len(images):,} images, for which there is too little memory",
            "a batch that fits into memory",
            "give a smaller --batch-size",
        ) from None
    for slot, image in zip(batch, images, strict=True):
        np.copyto(slot, np.asarray(image))
    return batch


def of_artefact(artefact: Artefact, device: str | None = None) -> Predictor:
    """A predictor from an opened artefact whose graph needs no PyTorch.

    Raises:
        LabelwiseError: a graph that cannot be opened here.
    """
    engine = on_device(artefact, device, open_graph(artefact))
    return Predictor(artefact.labels, artefact.decisions, FixedTransform(artefact.preprocessing), engine)
