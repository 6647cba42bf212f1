"""Decisions under rules: they satisfy every rule, and the exact forms select the best set."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawn_rules import NAMES, every_set, keeps, rules
from labelwise.decisions import Decisions
from labelwise.decisions import projection as module
from labelwise.decisions.projection import AllSets, Forest, OneGroup, Projection, Repair, projection
from labelwise.errors import LabelwiseError
from labelwise.rules import IndexedRules, Rules
from labelwise.types import Group, LabelSet

# Types are checked with random numbers of their own.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
TREE = Rules((("pug", "dog"), ("dog", "animal"), ("pug", "animal"), ("cat", "animal")))
KINDS = ("pug", "dog", "animal", "cat")


def decisions(some: Rules, seed: int, names=NAMES, **more) -> Decisions:
    plain = Decisions.plain(LabelSet(names, rules=some))
    return replace(plain, thresholds=np.random.default_rng(seed).random(len(names)), **more)


def probabilities(seed: int, width: int = len(NAMES)) -> np.ndarray:
    """Scores that are often equal, 0 or 1."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((30, width)) < 0.2, rng.integers(0, 2, (30, width)), rng.random((30, width)))


@settings(max_examples=40, deadline=None)
@given(rules(), st.integers(0, 10_000), st.integers(0, 3), st.sets(st.integers(0, 5)))
def test_a_decision_keeps_every_rule(some: Rules, seed: int, top_k: int, never: set[int]) -> None:
    d = decisions(some, seed, top_k=top_k, never=tuple(never))
    for row in d.select(probabilities(seed)):
        assert keeps(some, {name for name, yes in zip(NAMES, row, strict=True) if yes})


@settings(max_examples=40, deadline=None)
@given(rules(), st.integers(0, 10_000))
def test_no_set_that_keeps_the_rules_gains_more(some: Rules, seed: int) -> None:
    d, p, sets = decisions(some, seed), probabilities(seed), every_set(some)
    gain = p - d.thresholds
    chosen = d.select(p)
    best = (gain @ sets.T.astype(float)).max(1)
    np.testing.assert_allclose((gain * chosen).sum(1), best, atol=1e-12)
    alone = d.select(p, with_rules=False)
    np.testing.assert_array_equal(alone, p >= d.thresholds)
    kept = d.rules.kept(alone)
    np.testing.assert_array_equal(chosen[kept], alone[kept])


@settings(max_examples=40, deadline=None)
@given(rules(), st.integers(0, 10_000))
def test_a_repair_keeps_every_rule_and_the_surest_label(some: Rules, seed: int) -> None:
    gain = probabilities(seed) - 0.5
    for part in some.over(NAMES).components:
        columns = list(part.columns)
        first = every_set(some)[0, columns]
        chosen = np.zeros(gain.shape, bool)
        chosen[:, columns] = Repair(part, first).choose(gain[:, columns])
        assert part.kept(chosen).all()
        if not part.exactly_one:  # whatever is wanted first is possible
            top = np.abs(gain[:, columns]).argmax(1)
            wanted = gain[:, columns][np.arange(len(gain)), top] >= 0
            np.testing.assert_array_equal(chosen[:, columns][np.arange(len(gain)), top], wanted)


@settings(max_examples=40, deadline=None)
@given(rules(), st.integers(0, 10_000), st.integers(1, 4))
def test_the_limit_on_their_number_gives_way_to_needed_labels_alone(some: Rules, seed: int, k: int) -> None:
    free, p = decisions(some, seed), probabilities(seed)
    whole, few = free.select(p), replace(free, top_k=k).select(p)
    assert (whole | ~few).all()
    needed = sorted({j for group in free.exactly_one for j in group})
    for row in np.flatnonzero(few.sum(1) > k):
        # The remaining labels are required, or implied by required ones.
        held = set(np.flatnonzero(few[row]).tolist())
        above = {a for j in held & set(needed) for a in free.rules.above.get(j, ())}
        assert held <= above | set(needed)


def test_each_form_is_used_where_it_is_exact() -> None:
    def parts(some: Rules, names=NAMES) -> list[type]:
        return [type(part) for part in projection(some.over(names)).parts]

    assert parts(TREE, KINDS) == [Forest]  # the pug's animal follows from its dog
    assert parts(Rules((), (("a", "b"),), (("c", "d"),))) == [OneGroup, OneGroup]
    assert parts(Rules((("a", "b"), ("a", "c")))) == [AllSets]
    assert parts(Rules((("a", "b"),), (), (("b", "c"),))) == [AllSets]


def test_a_child_brings_its_parent_or_goes_with_it() -> None:
    d = Decisions.plain(LabelSet(KINDS, rules=TREE))
    p = np.array(
        [
            [0.9, 0.8, 0.4, 0.1],  # .4 + .3 - .1: the animal comes along
            [0.55, 0.3, 0.2, 0.1],  # a pug alone is not worth a dog and an animal
            [0.1, 0.9, 0.05, 0.6],  # .4 + .1 - .45: both are, just
            [0.1, 0.5, 0.5, 0.1],  # at its threshold is over it
        ]
    )
    assert d.select(p).tolist() == [
        [True, True, True, False],
        [False, False, False, False],
        [False, True, True, True],
        [False, True, True, False],
    ]


def test_exactly_one_takes_the_nearest_even_if_nothing_taught_it() -> None:
    d = Decisions.plain(LabelSet(("day", "night", "dog"), rules=Rules((), (("day", "night"),))))
    p = np.array([[0.2, 0.4, 0.4], [0.9, 0.8, 0.4]])
    assert d.select(p).tolist() == [[False, True, False], [True, False, False]]
    assert replace(d, never=(0,)).select(p).tolist() == [[False, True, False], [False, True, False]]
    assert replace(d, never=(0, 1)).select(p)[:, :2].sum(1).tolist() == [1, 1]


def test_scores_that_are_no_numbers_select_nothing_that_rules_do_not_need() -> None:
    d = Decisions.plain(LabelSet(("a", "b", "c"), rules=Rules((("c", "a"),), (("a", "b"),))))
    selected = d.select(np.full((1, 3), np.nan))
    assert selected.sum() == 1
    assert not selected[0, 2]


def test_many_tied_labels_are_decided_too(monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"l{j}" for j in range(60))
    some = Rules(
        tuple((names[j], names[k]) for j in range(20, 60) for k in (j % 20, (j + 7) % 20)),
        (names[:2],),
        (names[20:40],),
    )
    d = decisions(some, 1, names)
    assert [type(part) for part in projection(d.rules).parts] == [Repair]
    assert d.rules.kept(d.select(probabilities(3, 60))).all()
    # Without any search steps, there is still a set that satisfies the rules.
    monkeypatch.setattr(module, "STEPS", 0)
    assert d.rules.kept(d.select(probabilities(4, 60))).all()


def test_a_deep_tree_and_a_wide_group_are_quick_and_exact() -> None:
    n = 3000
    chain = IndexedRules(n, tuple((j, j + 1) for j in range(n - 1)))
    gain = np.full((2, n), -1e-4)
    gain[0, 5], gain[1, 5] = 1, 0.1
    chosen = Projection(chain)(gain)
    assert chosen.sum(1).tolist() == [n - 5, 0]
    wide = Projection(IndexedRules(n, (), (tuple(range(n)),)))
    assert wide(gain).sum(1).tolist() == [1, 1]


def test_rules_are_stored_and_read_back_by_name() -> None:
    labels = LabelSet(
        NAMES, {"g": Group(("d", "e"), True)}, Rules((("a", "b"),), (("b", "c"),), (("e", "f"),))
    )
    d = Decisions.plain(labels)
    stored = json.loads(json.dumps({**labels.to_json(), **d.to_json(NAMES)}))
    turned = LabelSet(NAMES[::-1])
    back = Decisions.from_json(stored, turned)
    p = probabilities(2)
    np.testing.assert_array_equal(back.select(p[:, ::-1])[:, ::-1], d.select(p))
    # A run without decisions has those of its labels.
    plain = Decisions.from_json(labels.to_json(), LabelSet.from_json(labels.to_json()))
    np.testing.assert_array_equal(plain.select(p), d.select(p))
    del stored["rules"]["implies"], stored["rules"]["exactly_one"]
    assert Decisions.from_json(stored, turned).implies == ()
    stored["rules"]["implies"] = [["a", "b", "c"]]
    with pytest.raises(LabelwiseError, match=r"decisions in labels\.json"):
        Decisions.from_json(stored, turned)


def test_rules_that_nothing_keeps_are_refused() -> None:
    with pytest.raises(LabelwiseError, match="that no image keeps; expected rules that can all be kept"):
        Decisions(
            np.ones(3) / 2, np.ones(3), np.zeros(3), ((0, 2), (1, 2)),
            implies=((0, 2), (1, 2)), exactly_one=((0, 1),),
        )  # fmt: skip
