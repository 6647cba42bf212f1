"""Where the queries of the labels come from: learned, or made from the labels' word vectors."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labelwise.errors import LabelwiseError
from labelwise.types import LabelMaps

QueryKind = Literal["learned", "text-start", "text"]


class LabelQueries(nn.Module):
    """An extractor with a query for each label.

    `learned`: the queries are parameters. `text-start`: they are parameters too, and start as a random linear map of
    the labels' word vectors, so that labels of like names start with like queries. `text`: they are a learned linear
    map of the word vectors, so that a label without a training image has a query as well.

    Source: methods of this kind leave the start of queries open; learned queries are published, the rest is ours.
    """

    queries: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.text_queries: nn.Module | None = None

    def add_queries(
        self, kind: QueryKind, start: Float[Tensor, "L D"], text: LabelMaps | None, std: float
    ) -> None:
        """Registers the queries.

        Args:
            kind: as above.
            start: `[L, D]` learned queries at the start.
            text: makes the map of the word vectors.
            std: standard deviation of a query's numbers at the start.

        Raises:
            LabelwiseError: queries from text where there are no word vectors.
        """
        if kind == "learned":
            self.queries = nn.Parameter(start)
            return
        if text is None:
            raise LabelwiseError(
                f"extractor.queries={kind} for a method without word vectors", "learned", "leave it out"
            )
        made = text(start.shape[1], std, f"extractor.queries={kind}")
        if kind == "text":
            self.text_queries = made
        else:
            with torch.no_grad():
                self.queries = nn.Parameter(made().clone())

    def label_queries(self) -> Float[Tensor, "L D"]:
        """The queries of all labels."""
        return self.queries if self.text_queries is None else self.text_queries()
