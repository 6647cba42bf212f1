"""Rules drawn at random, and slow forms to compare with."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import strategies as st

from labelwise.errors import LabelwiseError
from labelwise.rules import Rules

NAMES = tuple("abcdef")


@st.composite
def rules(draw, names=NAMES) -> Rules:
    """Rules that some set of labels keeps, acyclic, and under which every label can be present."""
    order = draw(st.permutations(names))
    pairs = draw(st.sets(st.tuples(*[st.integers(0, len(names) - 1)] * 2), max_size=6))
    implies = tuple((order[i], order[j]) for i, j in sorted(pairs) if i < j)
    group = st.lists(st.sampled_from(names), min_size=2, max_size=4, unique=True).map(tuple)
    kinds = {"implies": implies, "exactly_one": (), "at_most_one": ()}
    for kind in ("at_most_one", "exactly_one"):
        for some in draw(st.lists(group, max_size=2)):
            further = {**kinds, kind: (*kinds[kind], some)}
            try:
                Rules(**further).check(names)
            except LabelwiseError:
                continue
            kinds = further
    return Rules(**kinds)


def keeps(rules: Rules, present: set[str]) -> bool:
    """Whether a set of labels keeps every rule, said rule by rule."""
    return (
        all(parent in present for child, parent in rules.implies if child in present)
        and all(sum(name in present for name in group) == 1 for group in rules.exactly_one)
        and all(sum(name in present for name in group) <= 1 for group in rules.at_most_one)
    )


def every_set(rules: Rules, names=NAMES) -> np.ndarray:
    """All sets of labels that keep the rules, `[S, L]` bool."""
    sets = [
        one
        for one in product((False, True), repeat=len(names))
        if keeps(rules, {n for n, y in zip(names, one, strict=True) if y})
    ]
    return np.array(sets, bool).reshape(-1, len(names))
