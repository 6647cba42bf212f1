"""A long-tailed subset of the training images: sizes by the published rules, and limits of a sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pareto

import labelwise as lw
import tiny_runs
from labelwise.data.long_tail import long_tail_sizes, long_tailed, sample_long_tail
from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.training.fit import train


def test_exponential_sizes_fall_by_one_factor() -> None:
    sizes = long_tail_sizes(5, "exponential", 810, 10)
    assert sizes.tolist() == [810, 270, 90, 30, 10]
    assert long_tail_sizes(1, "exponential", 7, 3).tolist() == [7]


def test_pareto_sizes_are_those_of_scipys_density() -> None:
    """The reference of the published sets: the density of power 6 over its values up to the .99 quantile."""
    for labels, most, least in ((20, 800, 1), (80, 1200, 1), (7, 50, 4)):
        places = np.linspace(pareto.ppf(0, 6), pareto.ppf(0.99, 6), labels)
        expected = (pareto.pdf(places, 6) / 6 * (most - least) + least + 1e-9).astype(int)
        assert long_tail_sizes(labels, "pareto", most, least).tolist() == expected.tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from(["exponential", "pareto"]), st.integers(1, 6))
def test_no_label_has_more_than_its_rank_allows(seed: int, rule: Any, least: int) -> None:
    rng = np.random.default_rng(seed)
    chance = rng.permutation([0.6, 0.3, 0.2, 0.15, 0.1])
    positive = rng.random((300, 5)) < chance
    rows = sample_long_tail(positive, rule, 0, least, seed)
    counts, kept = positive.sum(0), positive[rows].sum(0)
    ranked = np.argsort(-counts, kind="stable")
    sizes = np.zeros(5, int)
    sizes[ranked] = long_tail_sizes(5, rule, int(counts.max()), least)
    assert (kept <= sizes).all()
    assert kept[ranked[-1]] == min(sizes[ranked[-1]], counts[ranked[-1]])
    assert positive[rows].any(1).all()
    assert rows.tolist() == sorted(set(rows.tolist()))
    # No other row could be added without exceeding the size of a label.
    rest = np.setdiff1d(np.flatnonzero(positive.any(1)), rows)
    assert all((kept[positive[row]] >= sizes[positive[row]]).any() for row in rest)


def test_labels_apart_get_their_sizes_exactly() -> None:
    positive = np.repeat(np.eye(4, dtype=bool), [200, 150, 120, 100], axis=0)
    rows = sample_long_tail(positive, "exponential", 160, 20, 1)
    assert positive[rows].sum(0).tolist() == [160, 80, 40, 20]
    assert np.array_equal(rows, sample_long_tail(positive, "exponential", 160, 20, 1))
    assert not np.array_equal(rows, sample_long_tail(positive, "exponential", 160, 20, 2))


def test_a_run_learns_from_the_tail_alone(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"parquet:{table}"
    data = {"source": source, "long_tail": "exponential", "long_tail_least": 2}
    run = train(make_config(tiny_runs.settings("", data=data, epochs=1)), tmp_path / "run")
    log = capsys.readouterr().err
    whole = lw.read(source)
    rows = long_tailed(whole, "train", "exponential", 0, 2, 0)
    counts = rows.split("train").positive.sum(0)
    assert 0 < counts.min() < 4
    number = rows.splits()["train"]
    assert (
        f"{number} of the 48 train images are a long tail (exponential, seed 0): {counts.max()} images" in log
    )
    assert f"of the commonest label, {counts.min()} of the rarest." in log
    results = json.loads((run.path / "results.json").read_text())
    assert results["training"]["images"] == number
    assert list(results["training"]["train_positives"].values()) == counts.tolist()
    assert rows.splits() | {"train": 0} == whole.splits() | {"train": 0}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"long_tail": "pareto", "train_images": 20}, "train_images=20 beside data.long_tail=pareto"),
        (
            {"long_tail_most": 20},
            "data.long_tail_most=20 without data.long_tail; expected data.long_tail=expo",
        ),
        ({"long_tail": "pareto", "long_tail_most": 1000}, "data.long_tail_most=1,000; expected at most the "),
        (
            {"long_tail": "pareto", "long_tail_most": 5, "long_tail_least": 9},
            "a long tail of 5 to 9 images; ",
        ),
        ({"long_tail": "steep"}, "data.long_tail = 'steep'; expected input should be 'none', 'exponential'"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, table: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        train(
            make_config(tiny_runs.settings("", data={"source": f"parquet:{table}", **data})),
            tmp_path / "run",
            quiet=True,
        )
    assert message in str(error.value)
