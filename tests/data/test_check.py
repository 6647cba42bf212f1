"""The check report, duplicates, and the three data commands."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

from labelwise.cli.data import app
from labelwise.data import Dataset, read
from labelwise.data.balance import commonest_pairs
from labelwise.data.check import check
from labelwise.data.duplicates import (
    close_pairs,
    content_codes,
    fingerprint_image,
    fingerprints,
    near_duplicates,
)
from labelwise.errors import LabelwiseError
from labelwise.types import LabelSet

Photo = Callable[..., Path]


def write(folder: Path, text: str) -> str:
    (folder / "t.csv").write_text(text)
    return f"csv:{folder / 't.csv'}"


@pytest.fixture
def sound(tmp_path: Path, photo: Photo) -> str:
    for i in range(6):
        photo(tmp_path / f"{i}.jpg", seed=i)
    rows = [
        "0.jpg,train,1,0",
        "1.jpg,train,0,1",
        "2.jpg,val,1,",
        "3.jpg,val,0,0",
        "4.jpg,test,1,1",
        "5.jpg,test,,",
    ]
    return write(tmp_path, "image,split,cat,dog\n" + "\n".join(rows) + "\n")


@pytest.fixture
def troubled(tmp_path: Path, photo: Photo) -> str:
    first = photo(tmp_path / "0.jpg", seed=0)
    shutil.copy(first, tmp_path / "copy.jpg")
    second = photo(tmp_path / "1.jpg", seed=1, size=(96, 64))
    with Image.open(second) as image:
        image.resize((60, 40)).save(tmp_path / "smaller.jpg", quality=70)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    cut = photo(tmp_path / "cut.jpg", seed=9, size=(300, 200))
    cut.write_bytes(cut.read_bytes()[:1500])
    rows = [
        "0.jpg,train,1,0",
        "copy.jpg,test,1,0",
        "1.jpg,train,1,0",
        "smaller.jpg,val,1,0",
        "broken.jpg,train,0,0",
    ]
    rows += ["cut.jpg,test,0,1", "gone.jpg,train,1,1", "0.jpg,train,0,0"]
    return write(tmp_path, "image,split,cat,dog\n" + "\n".join(rows) + "\n")


def test_a_sound_source(sound: str) -> None:
    report = check(sound, decode=True)
    assert report.problems == []
    assert (report.rows_before, report.rows_after) == (6, 6)
    assert report.splits == {"train": 2, "val": 2, "test": 2}
    cat, dog = report.labels
    assert (cat.positive, cat.negative, cat.unknown, cat.by_split) == (
        3,
        2,
        1,
        {"train": 1, "val": 1, "test": 1},
    )
    assert (dog.positive, dog.negative, dog.unknown) == (2, 2, 2)
    assert (report.without_positive, report.without_known) == (2, 1)
    assert report.together == [("cat", "dog", 1)]
    assert (report.unreadable, report.exact, report.near, report.leaks) == ([], [], [], [])
    assert check(sound, near=False).near is None


def test_a_troubled_source(troubled: str) -> None:
    with pytest.raises(LabelwiseError, match="contradict each other"):
        read(troubled)
    report = check(troubled)
    assert (report.rows_before, report.rows_after) == (8, 6)
    assert [name for name, _ in report.unreadable] == ["broken.jpg", "cut.jpg"]
    assert report.exact == [["0.jpg [train]", "copy.jpg [test]"]]
    assert report.near == [["1.jpg [train]", "smaller.jpg [val]"]]
    assert report.leaks == [*report.exact, *report.near]
    problems = " | ".join(report.problems)
    for part in (
        "1 images with rows that contradict each other: 0.jpg (row 2, row 9) on cat",
        "1 of 7 image files missing",
        "2 images cannot be read",
        "2 groups of copies or near copies in several splits",
        "1 label has no positive in train: dog.",
    ):
        assert part in problems


def test_headers_alone_do_not_find_a_cut_file(troubled: str) -> None:
    names = [[name for name, _ in check(troubled, near=False, decode=d).unreadable] for d in (False, True)]
    assert names == [["broken.jpg"], ["broken.jpg", "cut.jpg"]]


def test_spread_groups_are_a_problem(tmp_path: Path, photo: Photo) -> None:
    for i in range(3):
        photo(tmp_path / f"{i}.jpg", seed=i)
    source = write(tmp_path, "image,split,group,cat\n0.jpg,train,p,1\n1.jpg,test,p,1\n2.jpg,test,q,0\n")
    assert check(source).problems == ["1 group is spread over several splits."]


def test_close_pairs_by_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 40).astype(np.uint64)
    flips = np.uint64(1) << rng.integers(0, 63, 160).astype(np.uint64)
    hashes = np.concatenate([base, np.repeat(base, 4) ^ flips])
    slow = [
        [i, j]
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= 2
    ]
    assert sorted(close_pairs(hashes, 2).tolist()) == slow
    assert len(slow) > 100
    assert close_pairs(hashes[:0], 2).shape == (0, 2)


def test_content_codes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    items = [tmp_path / "a", b"one", tmp_path / "b", tmp_path / "gone", tmp_path / "gone", b"three"]
    assert content_codes(items).tolist() == [0, 0, 1, 2, 3, 4]


def test_fingerprints_survive_size_and_compression_but_not_another_picture(
    tmp_path: Path, photo: Photo
) -> None:
    for i in range(8):
        photo(tmp_path / f"{i}.jpg", seed=i, size=(120, 90))
        with Image.open(tmp_path / f"{i}.jpg") as image:
            image.resize((200, 150)).save(tmp_path / f"{i}-large.png")
    rows = "".join(f"{i}.jpg,1\n{i}-large.png,1\n" for i in range(8))
    groups = near_duplicates(fingerprints(read(write(tmp_path, "image,cat\n" + rows))))
    assert groups == [[2 * i, 2 * i + 1] for i in range(8)]


def test_uniform_images_of_different_grey_have_other_thumbnails() -> None:
    shades = [fingerprint_image(np.full((32, 32, 3), grey, np.uint8)) for grey in (100, 108)]
    assert shades[0][0] == shades[1][0]
    assert (shades[0][1] != shades[1][1]).all()


def test_check_command(sound: str, troubled: str) -> None:
    runner = CliRunner()
    bad = runner.invoke(app, ["check", troubled])
    assert bad.exit_code == 1
    assert "problem: 2 groups of copies or near copies in several splits" in bad.stdout
    assert "cat\t" in bad.stdout
    again = runner.invoke(app, ["check", troubled, "--json", "--no-near-duplicates"])
    assert again.exit_code == 1
    report = json.loads(again.stdout)
    assert report["ok"] is False
    assert report["near"] is None
    assert len(report["problems"]) == 5


def test_check_command_on_a_sound_source(sound: str) -> None:
    good = CliRunner().invoke(app, ["check", sound])
    assert good.exit_code == 0
    assert "no image is lost and none leaks; 2 doubts" in good.stdout
    assert "cat\t3\t2\t1\t1\t1\t1" in good.stdout


def test_import_and_split_commands(sound: str, tmp_path: Path) -> None:
    runner = CliRunner()
    out = tmp_path / "t.parquet"
    done = runner.invoke(app, ["import", sound, str(out), "--embed-images"])
    assert done.exit_code == 0, done.output
    assert "6 images, 2 labels" in done.stdout
    assert read(str(out)).splits() == {"train": 2, "val": 2, "test": 2}
    split = runner.invoke(app, ["split", sound, str(out), "--fractions", ".5,.5", "--json"])
    assert json.loads(split.stdout)["splits"] == {"train": 3, "test": 3}
    for arguments, message in (
        (
            ["split", sound, str(out), "--fractions", "half"],
            "--fractions 'half'; expected two or three numbers",
        ),
        (["import", sound, str(tmp_path / "t.csv")], r"a file name that ends in .parquet"),
        (["check", "nothing.csv"], "'nothing.csv', which does not exist"),
    ):
        result = runner.invoke(app, arguments)
        assert isinstance(result.exception, LabelwiseError)
        assert message in str(result.exception)


def test_what_a_check_cannot_know_is_said(tmp_path: Path, photo: Photo) -> None:
    for i in range(6):
        photo(tmp_path / f"{i}.jpg", seed=i)
    head, whole = (
        "image,split,cat,dog,cow\n",
        [("train", i) for i in range(3)] + [("val", i) for i in range(3, 6)],
    )
    marks = write(tmp_path, head + "".join(f"{i}.jpg,{s},1,,\n" for s, i in whole))
    report = check(marks, near=False)
    assert not report.problems
    assert any("No label has a known negative" in doubt for doubt in report.doubts)
    assert any("The label cat is present on every image." in doubt for doubt in report.doubts)
    assert any("each is unknown on every image: dog, cow" in doubt for doubt in report.doubts)
    printed = CliRunner().invoke(app, ["check", marks, "--no-near-duplicates"]).stdout
    assert "doubts that only you can settle" in printed
    assert "nothing is lost" not in printed

    some = write(tmp_path, head + "".join(f"{i}.jpg,{s},{i % 2},-1,{int(i > 2)}\n" for s, i in whole))
    report = check(some + "?unknown=-1", near=False)
    assert any("cow cannot be evaluated in val" in doubt for doubt in report.doubts)
    assert "Read with the options unknown=-1." in report.notes

    sound = write(tmp_path, head + "".join(f"{i}.jpg,{s},{i % 2},{1 - i % 2},{i % 2}\n" for s, i in whole))
    assert check(sound, near=False).doubts == []
    assert "nothing is lost and nothing leaks" in CliRunner().invoke(app, ["check", sound]).stdout


def test_empty_files_are_no_copies_of_one_another(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "2.jpg", seed=2)
    for name in ("0.jpg", "1.jpg"):
        (tmp_path / name).touch()
    source = write(tmp_path, "image,split,cat\n0.jpg,train,1\n1.jpg,test,1\n2.jpg,train,0\n")
    report = check(source)
    assert (report.exact, report.leaks) == ([], [])
    assert len(report.problems) == 1
    assert report.problems[0].startswith("2 images cannot be read")
    assert (
        len(set(content_codes([b"", b"", tmp_path / "0.jpg", tmp_path / "0.jpg", b"a", b"a"]).tolist())) == 5
    )


def test_groups_of_copies_are_counted_as_groups(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "0.jpg", seed=0)
    for name in ("1.jpg", "2.jpg"):
        shutil.copy(tmp_path / "0.jpg", tmp_path / name)
    source = write(tmp_path, "image,split,cat\n0.jpg,train,1\n1.jpg,test,1\n2.jpg,val,1\n")
    assert check(source).problems == ["1 group of copies or near copies in several splits."]


def _rows(values: np.ndarray, labels: int) -> Dataset:
    return Dataset(
        labels=LabelSet(tuple(f"l{j}" for j in range(labels))),
        images=pa.array([f"{i}.jpg" for i in range(len(values))]),
        root=None,
        values=values,
        known=np.ones(values.shape, bool),
    )


def test_pairs_of_labels_by_a_slow_loop() -> None:
    values = (np.random.default_rng(0).random((60, 9)) < 0.4).astype(np.uint8)
    count = {
        (f"l{i}", f"l{j}"): int((values[:, i] & values[:, j]).sum())
        for i in range(9)
        for j in range(i + 1, 9)
    }
    best = sorted(count.items(), key=lambda item: -item[1])[:10]
    pairs, notes = commonest_pairs(_rows(values, 9), values.sum(0, dtype=np.int64))
    assert pairs == [(*names, number) for names, number in best]
    assert notes == []


def test_pairs_of_many_labels_are_counted_among_the_commonest() -> None:
    """A count for each pair of 10,000 labels would be 400 MB, and their order 800."""
    values = np.zeros((64, 10_000), np.uint8)
    values[np.arange(64), 9_000 + np.arange(64)] = 1
    values[:40, [7_000, 9_999]] = 1
    positive = values.sum(0, dtype=np.int64)
    tracemalloc.start()
    pairs, notes = commonest_pairs(_rows(values, 10_000), positive)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs[0] == ("l7000", "l9999", 40)
    assert notes == ["Pairs of labels were counted among the 1,024 commonest of 10,000 labels."]
    assert peak < 100e6
