"""Stratified splits: sizes, shares, groups, presence of every label."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.data import ensure_splits, read, stratified_split
from labelwise.data.fingerprints import fingerprints
from labelwise.data.splits import fewer_rows, split_dataset, together, whole_shares
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
FRACTIONS = (0.7, 0.15, 0.15)


def labels(rows: int, seed: int, chance: tuple[float, ...] = (0.5, 0.2, 0.05, 0.02)) -> np.ndarray:
    return (np.random.default_rng(seed).random((rows, len(chance))) < chance).astype(np.uint8)


def known(values: np.ndarray) -> np.ndarray:
    return np.ones(values.shape, bool)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 400), st.integers(0, 99), st.sampled_from([FRACTIONS, (0.9, 0.1), (0.25,) * 4, (1.0,)]))
def test_sizes_are_exact_and_the_seed_decides(rows: int, seed: int, fractions: tuple[float, ...]) -> None:
    values = labels(rows, seed)
    codes = stratified_split(values, known(values), fractions, seed)
    expected = whole_shares(rows, np.array(fractions))
    np.testing.assert_array_equal(np.bincount(codes, minlength=len(fractions)), expected)
    assert np.abs(expected - np.array(fractions) * rows).max() < 1
    np.testing.assert_array_equal(codes, stratified_split(values, known(values), fractions, seed))


def test_shares_of_each_label_are_kept() -> None:
    values = labels(4000, 1, (0.6, 0.3, 0.1, 0.03, 0.01))
    codes = stratified_split(values, known(values), FRACTIONS, seed=3)
    total = values.sum(0)
    for split, share in enumerate(FRACTIONS):
        assert np.abs(values[codes == split].sum(0) - share * total).max() <= 2
    random_codes = np.random.default_rng(3).choice(3, len(values), p=FRACTIONS)
    assert np.abs(values[random_codes == 1].sum(0) - 0.15 * total).max() > 2
    assert (codes != stratified_split(values, known(values), FRACTIONS, seed=4)).any()


@pytest.mark.parametrize("seed", range(12))
def test_a_label_with_three_rows_is_in_all_three_splits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.zeros((300, 25), np.uint8)
    for label in range(25):
        values[rng.choice(300, 3 + label % 4, replace=False), label] = 1
    values[:, 0] = rng.random(300) < 0.5
    codes = stratified_split(values, known(values), FRACTIONS, seed)
    assert all(values[codes == split].any(0).all() for split in range(3))
    assert np.bincount(codes).tolist() == [210, 45, 45]


def missing_labels(seeds: range, fractions: tuple[float, ...]) -> int:
    """Number of labels that a split lacks, over many small tables of 12 labels with 4 positives each."""
    missing = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        values = np.zeros((60, 12), np.uint8)
        for label in range(12):
            values[rng.choice(60, 4, replace=False), label] = 1
        codes = stratified_split(values, known(values), fractions, seed)
        missing += sum(int((~values[codes == split].any(0)).sum()) for split in range(len(fractions)))
    return missing


def test_swaps_add_labels_that_greedy_assignment_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    after = missing_labels(range(40), (0.6, 0.2, 0.2))
    monkeypatch.setattr("labelwise.data.splits._swap_units", lambda *_: None)
    before = missing_labels(range(40), (0.6, 0.2, 0.2))
    assert after == 0 < before


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 300), st.integers(0, 99), st.integers(1, 40))
def test_groups_stay_together_and_sizes_are_near(rows: int, seed: int, groups: int) -> None:
    values = labels(rows, seed)
    group = np.random.default_rng(seed).integers(0, groups, rows) * 1000 - 7
    codes = stratified_split(values, known(values), FRACTIONS, seed, group)
    assert all(len(set(codes[group == code])) == 1 for code in set(group.tolist()))
    largest = np.unique(group, return_counts=True)[1].max()
    off = np.bincount(codes, minlength=3) - whole_shares(rows, np.array(FRACTIONS))
    assert np.abs(off).max() <= largest


def test_unknown_cells_are_ignored() -> None:
    values = labels(200, 0)
    mask = np.random.default_rng(1).random(values.shape) < 0.5
    hidden = np.where(mask, values, 1 - values).astype(np.uint8)
    first = stratified_split(values, mask, FRACTIONS)
    np.testing.assert_array_equal(first, stratified_split(hidden, mask, FRACTIONS))


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (1.2, -0.2), (), (0.5, 0.5, 0.0)])
def test_odd_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    values = labels(10, 0)
    with pytest.raises(
        LabelwiseError, match=r"positive fractions with sum 1; write for example \.7,\.15,\.15"
    ):
        stratified_split(values, known(values), fractions)


def table(folder: Path, photo: Photo, lines: list[str], head: str = "image,cat") -> str:
    for i, line in enumerate(lines):
        path = folder / line.split(",")[0]
        if not path.exists():
            photo(path, seed=i)
    (folder / "t.csv").write_text("\n".join([head, *lines]) + "\n")
    return f"csv:{folder / 't.csv'}"


def test_ensure_splits_from_nothing_keeps_copies_and_groups_together(tmp_path: Path, photo: Photo) -> None:
    first = photo(tmp_path / "0.jpg", seed=0)
    for i in (10, 11, 12):
        shutil.copy(first, tmp_path / f"{i}.jpg")
    lines = [f"{i}.jpg,{'g' if i in (0, 3, 4) else i},{i % 2}" for i in range(30)]
    data = ensure_splits(read(table(tmp_path, photo, lines, "image,group,cat")), seed=1)
    assert set(data.splits()) == {"train", "val", "test"}
    assert sum(data.splits().values()) == 30
    assert data.split_of is not None
    assert len({int(data.split_of[i]) for i in (0, 3, 4, 10, 11, 12)}) == 1
    assert data.notes[-1] == "Stratified split: train 70%, val 15%, test 15% (seed 1)."


def test_ensure_splits_makes_val_from_train_alone(tmp_path: Path, photo: Photo) -> None:
    lines = [f"{i}.jpg,{'train' if i < 40 else 'test'},{i % 2}" for i in range(50)]
    before = read(table(tmp_path, photo, lines, "image,split,cat"))
    data = ensure_splits(before)
    assert data.splits() == {"train": 36, "test": 10, "val": 4}
    assert data.split("test").images.to_pylist() == before.split("test").images.to_pylist()
    assert data.split("val").positive.sum() == 2
    assert "val is a stratified 4 of the 40 train rows (10 %, seed 0)." in data.notes
    assert before.splits() == {"train": 40, "test": 10}
    assert ensure_splits(data) is data


def test_notes_name_the_labels_that_a_split_lacks(tmp_path: Path, photo: Photo) -> None:
    """A label with two positives is in at most two of three splits; one of 1 and blank has no negative."""
    rows = [f"{i}.jpg,{i % 2},{int(i in (3, 9))},{'1' if i % 3 else ''},0" for i in range(30)]
    plain = read(table(tmp_path, photo, rows, "image,even,rare,blank,never"))
    data = ensure_splits(plain)
    made = data.notes[len(plain.notes) :]
    rare = [name for name in data.splits() if not data.split(name).positive[:, 1].any()]
    assert rare
    assert list(made) == [
        "Stratified split: train 70%, val 15%, test 15% (seed 0).",
        "No known positive in any split: never.",
        *(f"No known positive in {name}: rare." for name in rare),
        "No known negative in any split: blank.",
    ]
    two = split_dataset(plain, ("train", "test"), (0.9, 0.1), seed=1)
    assert all(two.split(name).positive[:, 1].any() for name in two.splits())
    assert [note for note in two.notes if "rare" in note] == []


def test_notes_of_a_val_made_from_train_are_of_those_two(tmp_path: Path, photo: Photo) -> None:
    lines = [f"{i}.jpg,{'train' if i < 40 else 'test'},{i % 2},{int(i == 7)}" for i in range(50)]
    data = ensure_splits(read(table(tmp_path, photo, lines, "image,split,cat,rare")))
    assert [note for note in data.notes if "No known" in note] == ["No known positive in val: rare."]


def test_many_labels_are_counted_not_listed(tmp_path: Path, photo: Photo) -> None:
    names = [f"l{j}" for j in range(14)]
    lines = [",".join([f"{i}.jpg", str(i % 2), *("0" * 13)]) for i in range(20)]
    data = ensure_splits(read(table(tmp_path, photo, lines, ",".join(["image", *names]))))
    note = "No known positive in any split: " + ", ".join(names[1:11]) + " and 3 more."
    assert data.notes[-1] == note


def test_a_split_without_rows_counts_as_absent(tmp_path: Path, photo: Photo) -> None:
    """The images of val and test are missing: val is a tenth of train, as for a table without val."""
    lines = [f"{i}.jpg,train,{i % 2}" for i in range(40)]
    gone = [f"{split}{i}.jpg,{split},{i % 2}" for split in ("val", "test") for i in range(4)]
    source = table(tmp_path, photo, [*lines, *gone], "image,split,cat")
    for line in gone:
        (tmp_path / line.split(",")[0]).unlink()
    with pytest.raises(LabelwiseError, match=r"val_as=train .* expected a source with train and val"):
        read(f"{source}?missing=skip&val_as=train")
    data = read(f"{source}?missing=skip")
    assert data.splits() == {"train": 40, "val": 0, "test": 0}
    made = ensure_splits(data)
    assert made.splits() == {"train": 36, "val": 4}
    assert "Splits without a row count as absent: val, test." in made.notes
    assert "val is a stratified 4 of the 40 train rows (10 %, seed 0)." in made.notes


def test_a_split_without_rows_between_others_keeps_theirs(tmp_path: Path, photo: Photo) -> None:
    lines = [f"{i}.jpg,{split},{i % 2}" for i, split in enumerate(["train"] * 20 + ["test"] * 5 + [""] * 3)]
    source = table(tmp_path, photo, [*lines, "gone.jpg,val,1"], "image,split,cat")
    (tmp_path / "gone.jpg").unlink()
    data = read(f"{source}?missing=skip")
    made = ensure_splits(data)
    assert made.splits() == {"train": 18, "test": 5, "val": 2}
    assert made.split("test").images.to_pylist() == [f"{i}.jpg" for i in range(20, 25)]


def test_a_train_without_rows_is_refused_in_one_line(tmp_path: Path, photo: Photo) -> None:
    lines = ["gone.jpg,train,1", *(f"{i}.jpg,val,{i % 2}" for i in range(4))]
    source = table(tmp_path, photo, lines, "image,split,cat")
    (tmp_path / "gone.jpg").unlink()
    data = read(f"{source}?missing=skip")
    with pytest.raises(
        LabelwiseError, match=r"splits train \(no row\), val; expected a split called train, with rows"
    ) as caught:
        ensure_splits(data)
    assert "\n" not in str(caught.value)


def test_ensure_splits_refusals(tmp_path: Path, photo: Photo) -> None:
    only_test = read(table(tmp_path, photo, ["0.jpg,test,1"], "image,split,cat"))
    with pytest.raises(LabelwiseError, match="with splits test; expected a split called train"):
        ensure_splits(only_test)
    with pytest.raises(LabelwiseError, match=r"1 rows of .* to split; expected at least 3"):
        ensure_splits(read(table(tmp_path, photo, ["0.jpg,1"])))


def test_fewer_rows_are_a_nested_sample_of_one_split(tmp_path: Path, photo: Photo) -> None:
    lines = [f"{i}.jpg,{'train' if i < 40 else 'test'},{i % 2}" for i in range(50)]
    data = read(table(tmp_path, photo, lines, "image,split,cat"))
    few, more, other = (
        fewer_rows(data, "train", 5),
        fewer_rows(data, "train", 20),
        fewer_rows(data, "train", 5, 1),
    )
    assert few.splits() == {"train": 5, "test": 10}
    assert more.splits() == {"train": 20, "test": 10}
    kept = [set(part.rows_of("train").tolist()) for part in (few, more, other)]
    assert kept[0] < kept[1] < set(range(40))
    assert kept[2] != kept[0]
    assert few.notes[-1] == "5 of the 40 train images are sampled (seed 0)."
    assert data.splits() == {"train": 40, "test": 10}
    assert fewer_rows(data, "train", 40).splits() == data.splits()
    for number in (0, 41):
        with pytest.raises(
            LabelwiseError, match=f"{number} of the 40 train images; expected at most as many"
        ):
            fewer_rows(data, "train", number)


def test_near_duplicates_stay_together_on_request(tmp_path: Path, photo: Photo) -> None:
    lines = [f"{i}.jpg,{i % 2}" for i in range(12)]
    for i in range(12):
        photo(tmp_path / f"{i}.jpg", seed=i % 3, size=(48 + 6 * i, 32 + 4 * i))
    data = split_dataset(read(table(tmp_path, photo, lines)), ("train", "test"), (0.5, 0.5), 0, near=True)
    assert data.split_of is not None
    assert all(len(set(data.split_of[kind::3].tolist())) == 1 for kind in range(3))


def test_kept_fingerprints_spare_the_files(
    tmp_path: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = photo(tmp_path / "0.jpg", seed=0)
    shutil.copy(first, tmp_path / "7.jpg")
    data = read(table(tmp_path, photo, [f"{i}.jpg,{i % 2}" for i in range(12)], "image,cat"))
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path / "cache"))
    before = together(data)
    fingerprints(data)
    opened, original = [], open
    monkeypatch.setattr(
        "builtins.open", lambda *of, **more: opened.append(str(of[0])) or original(*of, **more)
    )
    after = together(data)
    assert before is not None
    assert after is not None
    assert np.array_equal(before, after)
    assert {Path(name).name for name in opened if name.endswith(".jpg")} == {"0.jpg", "7.jpg"}
