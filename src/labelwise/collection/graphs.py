"""Features of an exported graph, in place of those of its run."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from labelwise.collection.boxes import WHOLE, Box
from labelwise.collection.features import Embedded, Embedder
from labelwise.collection.schema import JOINED, LABEL
from labelwise.engines.runtimes import Describing
from labelwise.errors import LabelwiseError
from labelwise.export.engines import Eager
from labelwise.inference.predictor import Predictor


class GraphEmbedder:
    """Computes label features with a graph that `labelwise export --features` wrote; see `Embedder`.

    Raises:
        LabelwiseError: a graph without label features.
    """

    def __init__(self, predictor: Predictor) -> None:
        engine = predictor.engine
        if not isinstance(engine, Describing) or not engine.has_features:
            raise LabelwiseError(
                f"a graph without label features ({engine.name})",
                "a run, an export of weights, or an export with --features",
                "name the run, or export again with --features",
            )
        self.predictor, self._engine = predictor, engine
        shape = (1, 3, *predictor.transform.config.input_size)
        noise = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        features, whole = engine.describe(noise)[2:]
        self.kind, self.look_dim = LABEL, 0
        self.dim, self.whole_dim = features.shape[2], whole.shape[1]
        self.one_feature = features.shape[1] > 1 and bool((features == features[:, :1]).all())

    def __call__(
        self, images: UInt8[Tensor, "B 3 h w"], maps: bool = True, box: Box | None = None
    ) -> Embedded:
        """Features of outputs of the predictor's transform, as one batch; see `Embedder`.

        Raises:
            LabelwiseError: a box, since a graph computes its map itself.
        """
        if box not in (None, WHOLE):
            raise LabelwiseError(
                f"a box with a graph ({self._engine.name})",
                "a run or an export of its weights, whose map can be cut",
                "name the run, or leave the box out",
            )
        logits, evidence, features, whole = self._engine.describe(images)
        p = self.predictor.decisions.probabilities(logits)
        half = features.astype(np.float16), whole.astype(np.float16)
        return Embedded(p, self.predictor.decisions.select(p), half[0], evidence if maps else None, half[1])


def embedder_of(predictor: Predictor, kind: str | None = None) -> Embedder | GraphEmbedder:
    """What computes the features of a run, of an export of its weights, or of a graph.

    Args:
        predictor: the model.
        kind: kind of the features, see `FEATURES`; `None` for `joined`, of a graph for `label`.

    Raises:
        LabelwiseError: a graph without label features, or joined features of a graph.
    """
    if isinstance(predictor.engine, Eager):
        return Embedder(predictor, kind or JOINED)
    embedder = GraphEmbedder(predictor)
    if kind not in (None, LABEL):
        raise LabelwiseError(
            f"{kind} features of a graph ({predictor.engine.name})",
            "its label features, or a run",
            "give --feature label, or name the run",
        )
    return embedder
