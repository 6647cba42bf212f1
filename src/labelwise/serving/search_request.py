"""What a search in a collection asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labelwise.collection.boxes import Box
from labelwise.collection.where import Condition, Has, Joined, Not, Score


@dataclass(frozen=True)
class SearchRequest:
    """A search.

    Args:
        label: the label that is compared; `None` for the most probable stored label of the first photograph, or,
            without a photograph, for all images.
        like: ids of photographs to be like.
        unlike: ids of photographs to be unlike.
        present: labels that must be selected.
        absent: labels that must not be selected.
        least: least probability of the label.
        by: `feature`, the order of likeness; or `score`, that of the label's probability.
        boxes: an id of `like` or `unlike`, and the box of the photograph that is compared.
    """

    label: str | None = None
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    least: float = 0.0
    by: str = "feature"
    boxes: tuple[tuple[str, Box], ...] = ()

    def condition(self, label: str | None, names: Sequence[str]) -> Condition | None:
        """The condition of the search, apart from the label that is compared.

        Args:
            label: that label.
            names: labels in the order of the column `scores`.
        """
        parts: list[Condition] = [*map(Has, self.present), *(Not(Has(name)) for name in self.absent)]
        if label is not None and self.least > 0:
            parts.append(Score(names.index(label), ">=", self.least))
        return Joined("and", tuple(parts)) if parts else None
