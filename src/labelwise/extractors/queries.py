"""Label queries: learned, or computed from the labels' word vectors."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.extractors.attentive import Attentive
from labelwise.types import LabelMaps

QueryKind = Literal["learned", "text-start", "text"]


class LabelQueries(Attentive):
    """Base of extractors with one query per label.

    `learned`: the queries are parameters. `text-start`: they are parameters initialised by a random linear map of the
    labels' word vectors, so that labels with similar names start with similar queries. `text`: they are a learned
    linear map of the word vectors, so that a label without training images has a query too.

    Source: learned queries are published, without details of their initialisation; the rest is ours.
    """

    queries: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.text_queries: nn.Module | None = None

    def add_queries(
        self, kind: QueryKind, start: Float[Tensor, "L D"], text: LabelMaps | None, std: float
    ) -> None:
        """Register the queries.

        Args:
            kind: as above.
            start: `[L, D]` initial values of learned queries.
            text: builds the map of the word vectors.
            std: standard deviation of the initial queries.

        Raises:
            LabelwiseError: queries from text without word vectors.
        """
        if kind == "learned":
            self.queries = nn.Parameter(start)
            return
        if text is None:
            raise LabelwiseError(
                f"extractor.queries={kind} for a method without word vectors", "learned", "leave it out"
            )
        projection = text(start.shape[1], std, f"extractor.queries={kind}")
        if kind == "text":
            self.text_queries = projection
        else:
            with torch.no_grad():
                self.queries = nn.Parameter(projection().clone())

    def label_queries(self) -> Float[Tensor, "L D"]:
        """The queries of all labels."""
        return self.queries if self.text_queries is None else self.text_queries()
