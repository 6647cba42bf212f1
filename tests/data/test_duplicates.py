"""Duplicates among many images: exact results, bounded memory, and no repeated computation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tiny_runs
from labelwise.data import Dataset, UnreadableImage, contents, hamming, read
from labelwise.data import fingerprints as prints_module
from labelwise.data.cache import PrintCache, StoredThumbs, image_keys
from labelwise.data.check import check
from labelwise.data.contents import shared_content, shared_files
from labelwise.data.duplicates import (
    Fingerprints,
    close_pairs,
    content_codes,
    dataset_content_codes,
    fingerprints,
    near_duplicates,
    repeated_groups,
)
from labelwise.data.fingerprints import fingerprint_image
from labelwise.data.pack import pack
from labelwise.data.splits import ensure_splits, together
from labelwise.data.table import write_table
from labelwise.errors import LabelwiseError
from labelwise.runs.mistakes import shared_rows
from labelwise.types import LabelSet

Photo = Callable[..., Path]
KINDS = ("random", "clusters", "one ball", "few bits", "repeats")


def brute_pairs(hashes: np.ndarray, distance: int) -> np.ndarray:
    """Every pair, bit by bit."""
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32)
    apart = bits @ (1 - bits).T
    i, j = np.nonzero(np.triu(apart + apart.T <= distance, 1))
    return np.stack([i, j], 1)


def hashes_of(kind: str, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    random = rng.integers(0, 2**64, count, dtype=np.uint64)
    centres = {"clusters": max(1, count // 40), "one ball": 1, "repeats": max(1, count // 3)}.get(kind)
    if kind == "few bits":
        return random & np.uint64(0x8421_0000_0010_0843)
    if centres is None:
        return random
    hashes = random[rng.integers(0, centres, count)]
    for _ in range(0 if kind == "repeats" else 9):
        flip = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        hashes = np.where(rng.random(count) < 0.6, hashes ^ flip, hashes)
    return hashes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distance", [0, 1, 5, 11])
def test_close_pairs_are_those_of_every_pair(
    kind: str, distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = hashes_of(kind, 300, seed=distance)
    slow = brute_pairs(hashes, distance)
    assert close_pairs(hashes, distance).tolist() == slow.tolist()
    monkeypatch.setattr(hamming, "_MOST_COMPARED_DIRECTLY", 0)  # as with many hashes
    monkeypatch.setattr(hamming, "_BLOCK", 300)
    assert close_pairs(hashes, distance).tolist() == slow.tolist()
    monkeypatch.setattr(hamming, "_CROWDED_ROW", 3)
    monkeypatch.setattr(hamming, "_COMPARISONS_OF_BALL", 60)
    assert close_pairs(hashes, distance).tolist() == slow.tolist()
    if kind != "random":
        assert len(slow) > 100 or distance < 2


def test_ten_bits_in_every_way_over_the_halves() -> None:
    """Ten of 64 bits, with any number of them in the lower half; eleven are too many."""
    rng = np.random.default_rng(0)
    masks = hamming.masks(10)
    for low in range(11):
        for _ in range(200):
            places = [*rng.choice(32, low, replace=False), *(32 + rng.choice(32, 10 - low, replace=False))]
            flips = np.uint64(sum(1 << int(p) for p in places))
            assert (masks & flips == 0).any()
    assert hamming.bit_count(masks).tolist().count(16) == 92


def test_distances_that_no_mask_is_made_for() -> None:
    for distance in (-1, 12):
        with pytest.raises(ValueError, match="expected 0 to 11"):
            hamming.masks(distance)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_close_pairs_of_any_hashes(draw: st.DataObject) -> None:
    words = st.one_of(
        st.integers(0, 2**64 - 1),
        st.integers(0, 63).map(lambda b: 1 << b),
        st.sampled_from([0, 2**64 - 1, 2**63, 0xFFFFFFFF]),
    )
    some = draw.draw(st.lists(words, max_size=12))
    flips = draw.draw(st.lists(st.lists(st.integers(0, 63), max_size=11), max_size=30))
    words_near = [some[k % len(some)] ^ sum({1 << b for b in f}) for k, f in enumerate(flips)] if some else []
    hashes = np.array([*some, *words_near], np.uint64)
    distance = draw.draw(st.integers(0, 11))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "_MOST_COMPARED_DIRECTLY", 0)
        patch.setattr(hamming, "_CROWDED_ROW", draw.draw(st.sampled_from([0, 1, 32])))
        patch.setattr(hamming, "_COMPARISONS_OF_BALL", draw.draw(st.sampled_from([1, 9, 1 << 18])))
        patch.setattr(hamming, "_BALL_RADIUS", draw.draw(st.sampled_from([2, 16])))
        assert close_pairs(hashes, distance).tolist() == brute_pairs(hashes, distance).tolist()


def slow_groups(prints: Fingerprints) -> list[list[int]]:
    """Groups by the definition: every pair, and chains followed one by one."""
    rows = np.flatnonzero(prints.readable)
    thumbs = prints.thumbs[np.arange(len(prints.hashes))].astype(np.float32)
    contrast = thumbs.std((1, 2, 3))
    near: dict[int, set[int]] = {int(i): set() for i in rows}
    for i, j in brute_pairs(prints.hashes, 10).tolist():
        limit = min(16.0, 0.4 * min(contrast[i], contrast[j]))
        if i in near and j in near and np.abs(thumbs[i] - thumbs[j]).mean() <= limit:
            near[i].add(j)
            near[j].add(i)
    groups, seen = [], set()
    for start in near:
        group, waiting = set(), [start]
        while waiting:
            row = waiting.pop()
            if row not in group:
                group.add(row)
                waiting += near[row]
        if start not in seen and len(group) > 1:
            groups.append(sorted(group))
        seen |= group
    return sorted(groups)


@pytest.mark.parametrize(
    ("look", "kind"),
    [
        *(("own", kind) for kind in KINDS),
        *(("flat", "one ball"), ("flat", "repeats"), ("drifting", "one ball"), ("drifting", "clusters")),
    ],
)
def test_groups_are_those_of_the_definition(look: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(len(kind))
    count = 200
    if look == "own":  # eight pictures, a little noise
        thumbs = rng.integers(0, 256, (8, 16, 16, 3))[rng.integers(0, 8, count)]
        thumbs = thumbs + rng.integers(-6, 7, thumbs.shape)
    elif look == "flat":
        texture = rng.integers(0, 2, (16, 16, 3)) + (rng.random((count, 16, 16, 3)) < 0.02)
        thumbs = rng.integers(0, 40, (count, 1, 1, 1)) * 5 + texture
    else:  # each a little brighter than the one before: chains that no single row sees
        thumbs = np.arange(count)[:, None, None, None] / 4 + rng.integers(0, 128, (16, 16, 3))
    readable = rng.random(count) < 0.9
    prints = Fingerprints(hashes_of(kind, count, 3), np.clip(thumbs, 0, 255).astype(np.uint8), readable, ())
    expected = slow_groups(prints)
    assert near_duplicates(prints) == expected
    monkeypatch.setattr(hamming, "_MOST_COMPARED_DIRECTLY", 0)
    monkeypatch.setattr(hamming, "_CROWDED_ROW", 2)
    monkeypatch.setattr(hamming, "_BLOCK", 250)
    monkeypatch.setattr(hamming, "_COMPARISONS_OF_BALL", 50)
    monkeypatch.setattr("labelwise.data.duplicates._BLOCK", 64)
    assert near_duplicates(prints) == expected
    if kind == "one ball":
        assert expected


def test_an_image_is_compared_with_all_of_equal_hash() -> None:
    flat = np.full((3, 16, 16, 3), 200, np.uint8)
    flat[0] = 10
    prints = Fingerprints(np.full(3, 1 << 63, np.uint64), flat, np.ones(3, bool), ())
    assert near_duplicates(prints) == [[1, 2]]


def test_many_duplicates_have_linear_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = hashes_of("one ball", 20_000, 0)
    thumbs = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8), len(hashes), 0)
    comparisons = []
    original = hamming._Search._close_pairs

    def counted(self: hamming._Search, order: np.ndarray, low: np.ndarray, high: np.ndarray) -> object:
        comparisons.append(int(np.maximum(high - low, 0).sum()))
        return original(self, order, low, high)

    monkeypatch.setattr(hamming._Search, "_close_pairs", counted)
    groups = near_duplicates(Fingerprints(hashes, thumbs, np.ones(len(hashes), bool), ()))
    assert max(map(len, groups)) > 19_000
    assert sum(comparisons) < 200 * len(hashes)


@pytest.mark.parametrize("kind", ["one ball", "repeats of one"])
def test_many_images_with_only_close_hashes_are_compared_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Close hashes of different images: every pair is compared only once, not for each of 94 masks."""
    monkeypatch.setattr(hamming, "_MOST_COMPARED_DIRECTLY", 0)
    count = 1500
    hashes = hashes_of(kind, count, 0) if kind == "one ball" else np.full(count, 7, np.uint64)
    thumbs = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    comparisons: list[int] = []
    original = hamming._Search._close_pairs

    def counted(self: hamming._Search, order: np.ndarray, low: np.ndarray, high: np.ndarray) -> object:
        comparisons.append(int(np.maximum(high - low, 0).sum()))
        return original(self, order, low, high)

    monkeypatch.setattr(hamming._Search, "_close_pairs", counted)
    monkeypatch.setattr(hamming, "_COMPARISONS_OF_BALL", 1 << 12)
    assert near_duplicates(Fingerprints(hashes, thumbs, np.ones(count, bool), ())) == []
    assert sum(comparisons) < 1.5 * count * count


@pytest.mark.parametrize("detail", [0, 60])
def test_thumbnails_are_read_only_where_means_are_inconclusive(detail: int) -> None:
    """Pictures of single blocks are linked by their means; with detail within the blocks the pixels decide."""

    class Recorded(StoredThumbs):
        def __init__(self, thumbs: np.ndarray) -> None:
            self.thumbs, self.read = thumbs, list[int]()

        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            self.read += rows.tolist()
            return self.thumbs[rows]

    rng = np.random.default_rng(0)
    thumbs = rng.integers(0, 195, (300, 4, 4, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    thumbs[:] += np.array([0, detail], np.uint8)[np.indices((16, 16)).sum(0) % 2][..., None]
    thumbs[7] = thumbs[200]
    recorded = Recorded(thumbs)
    prints = Fingerprints(np.zeros(300, np.uint64), thumbs, np.ones(300, bool), ())
    object.__setattr__(prints, "thumbs", recorded)
    assert near_duplicates(prints) == [[7, 200]]
    assert sorted(recorded.read) == sorted([*range(300), *([7, 200] if detail else [])])


def test_repeated_groups() -> None:
    assert repeated_groups(np.array([3, 1, 3, 2, 1, 0, 3])) == [[0, 2, 6], [1, 4]]
    assert repeated_groups(np.zeros(0, np.int64)) == []


def slow_codes(contents: list[bytes | None]) -> list[int]:
    keys: dict[object, int] = {}
    return [keys.setdefault(c or i, len(keys)) for i, c in enumerate(contents)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 4095, 4096, 4097, 9000]), st.integers(0, 5)), max_size=20))
def test_content_codes_of_any_contents(shapes: list[tuple[int, int]]) -> None:
    """Contents of one length that differ at the start, at the end, or not at all; an empty one equals no other."""
    folder = Path(os.environ["LABELWISE_CACHE"]) / "contents"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    contents: list[bytes | None] = []
    for length, kind in shapes:
        content = bytearray(length)
        if length and kind in (1, 2):
            content[0 if kind == 1 else -1] = 1
        contents.append(None if kind == 5 else bytes(content))
    items: list[Path | bytes] = []
    for i, item in enumerate(contents):
        if item is not None and i % 3 == 0:
            items.append(item)
            continue
        items.append(folder / str(i))
        if item is not None:
            (folder / str(i)).write_bytes(item)
    assert content_codes(items).tolist() == slow_codes(contents)


def table_of(folder: Path, names: list[str]) -> Dataset:
    cells = "".join(f"{name},{i % 2}\n" for i, name in enumerate(names))
    (folder / "t.csv").write_text("image,cat\n" + cells)
    return read(f"csv:{folder / 't.csv'}")


@pytest.fixture
def photos(tmp_path: Path, photo: Photo) -> Dataset:
    """Eight photographs, the last three a copy, a link and another file of the first one's length."""
    for i in range(5):
        photo(tmp_path / f"{i}.jpg", seed=i, size=(90 + i, 70))
    whole = (tmp_path / "0.jpg").read_bytes()
    shutil.copy(tmp_path / "0.jpg", tmp_path / "5.jpg")
    os.link(tmp_path / "0.jpg", tmp_path / "6.jpg")
    (tmp_path / "7.jpg").write_bytes(whole[:30] + bytes([whole[30] ^ 1]) + whole[31:])
    return table_of(tmp_path, [f"{i}.jpg" for i in range(8)])


def test_content_codes_of_files_a_table_and_a_store(photos: Dataset, tmp_path: Path) -> None:
    expected = [0, 1, 2, 3, 4, 0, 0, 5]
    assert dataset_content_codes(photos).tolist() == expected
    write_table(photos, tmp_path / "t.parquet", embed_images=True)
    embedded = read(str(tmp_path / "t.parquet"))
    assert dataset_content_codes(embedded).tolist() == expected
    assert dataset_content_codes(embedded.take([6, 3, 5])).tolist() == [0, 1, 0]
    pack(photos, tmp_path / "store", size=100)
    store = read(f"packed:{tmp_path / 'store'}")
    codes = dataset_content_codes(store)
    assert codes.tolist() == slow_codes([bytes(store.encoded(i)) for i in range(8)])  # type: ignore[arg-type]
    assert dataset_content_codes(store.take([6, 3, 5])).tolist() == [0, 1, 0]


def test_missing_and_special_files_equal_no_other(
    photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "5.jpg").unlink()
    os.mkfifo(tmp_path / "5.jpg")
    (tmp_path / "1.jpg").unlink()
    assert dataset_content_codes(photos).tolist() == [0, 1, 2, 3, 4, 5, 0, 6]
    opened = open

    def gone(
        path: str, *rest: object, **more: object
    ) -> object:  # between the look at its length and at its end
        if str(path).endswith("0.jpg"):
            raise FileNotFoundError(path)
        return opened(path, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("labelwise.data.contents.open", gone, raising=False)
    assert len(set(dataset_content_codes(photos).tolist())) >= 7


def test_only_images_that_may_be_copies_are_read(photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read_rows = []
    original = contents._Contents.digest

    def noted(self: contents._Contents, row: int) -> bytes | None:
        read_rows.append(row)
        return original(self, row)

    monkeypatch.setattr(contents._Contents, "digest", noted)
    monkeypatch.setattr(contents, "_TAIL", 16)  # row 7 differs before its end
    dataset_content_codes(photos)
    assert sorted(read_rows) == [0, 5, 7]  # not the link, and no image of another length


def test_images_with_a_unique_hint_are_not_read(photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    visited, original = [], os.stat

    def noted(path: str, *rest: object, **more: object) -> os.stat_result:
        visited.append(os.path.basename(path))
        return original(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(contents.os, "stat", noted)
    hint = np.array([9, 1, 2, 8, 8, 9, 9, 3], np.uint64)  # 3 and 4 have one hash and other bytes
    assert dataset_content_codes(photos, hint).tolist() == [0, 1, 2, 3, 4, 0, 0, 5]
    assert sorted(visited) == ["0.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg"]


@pytest.fixture
def damaged(photos: Dataset, tmp_path: Path) -> Dataset:
    """A store with two images that could not be packed and one with changed bytes."""
    for name in ("2.jpg", "3.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    pack(photos, tmp_path / "bad", size=100)
    file = tmp_path / "bad" / "images-00000.arrow"
    whole = file.read_bytes()
    content = read(f"packed:{tmp_path / 'bad'}").encoded(4)
    assert isinstance(content, bytes)
    place = whole.index(content) + 40
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    return read(f"packed:{tmp_path / 'bad'}")


def test_unpacked_and_damaged_images_equal_no_other_and_are_counted(damaged: Dataset, tmp_path: Path) -> None:
    codes = dataset_content_codes(damaged)
    assert len(set(codes[[2, 3, 4]])) == 3
    assert np.bincount(codes)[codes[[2, 3, 4]]].tolist() == [1, 1, 1]
    report = check(f"packed:{tmp_path / 'bad'}")
    assert [name for name, _ in report.unreadable] == ["2.jpg", "3.jpg", "4.jpg"]
    assert "another checksum" in report.unreadable[2][1]
    again = check(f"packed:{tmp_path / 'bad'}")  # damage is detected with cached fingerprints too
    assert again.unreadable == report.unreadable
    assert check(f"packed:{tmp_path / 'bad'}", near=False).unreadable == report.unreadable
    split = ensure_splits(damaged)
    assert sum(split.splits().values()) == 8
    assert together(damaged, near=True) is not None
    assert shared_rows(damaged, damaged).tolist() == [0, 1, 5, 6, 7]


def test_splitting_a_store_keeps_the_rows_that_it_has_no_image_of(
    photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from labelwise.cli import app

    for name in ("2.jpg", "3.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    pack(photos, tmp_path / "bad", size=100)
    out = tmp_path / "split.parquet"
    done = CliRunner().invoke(app, ["data", "split", f"packed:{tmp_path / 'bad'}", str(out)])
    assert done.exit_code == 0, done.output
    again = read(str(out))
    assert len(again) == 8
    assert "2 images have no bytes in this table, as the store had none: 2.jpg, 3.jpg." in again.notes
    assert [row for row, _ in fingerprints(again).errors] == [2, 3]


def test_a_store_that_is_read_whole_stays_out_of_memory(tmp_path: Path, photo: Photo) -> None:
    """Eighty megabytes of images of one length, in pairs of copies: the memory of the process hardly grows."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak memory of a process can only be reset on Linux")
    for i in range(24):
        photo(tmp_path / "in" / f"{i}.jpg", seed=i // 2, size=(64, 64))
    names = [f"{i}.jpg" for i in range(24)]
    pack(table_of(tmp_path / "in", names), tmp_path / "store", size=1056, form="raw", workers=1)
    script = (
        "import sys\nfrom pathlib import Path\nfrom labelwise.data import read\n"
        "from labelwise.data.duplicates import dataset_content_codes, repeated_groups\n"
        "from labelwise.data.check import _unreadable\n"
        "def memory(kind):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024\n"
        "data = read(sys.argv[1])\n"
        "data.take([0]).encoded(0)\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"
        "before = memory('VmRSS')\n"
        "print(len(repeated_groups(dataset_content_codes(data))))\n"
        "print(len(_unreadable(data, False, [])))\n"
        "print(memory('VmHWM') - before)\n"
    )
    groups, bad, grown = tiny_runs.forked(f"packed:{tmp_path / 'store'}", script=script).out.split()
    assert (int(groups), int(bad)) == (12, 0)
    assert float(grown) < 40


def test_shared_images_are_found_across_two_sets(photos: Dataset, tmp_path: Path) -> None:
    one, other = photos.take([0, 1, 2]), photos.take([5, 3, 1, 6, 7])
    assert shared_content(one, other).tolist() == [True, False, True, True, False]
    assert shared_files(one, other).tolist() == [False, False, True, False, False]
    assert shared_files(replace(one, root=tmp_path / "." / "x" / ".."), other).tolist()[1] is False
    (tmp_path / "1.jpg").write_bytes(b"")
    assert not shared_content(one, photos.take([1]))[0]


def test_fingerprints_are_computed_once_for_an_image(
    photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Photo
) -> None:
    decoded: list[object] = []
    original = prints_module.decode_image

    def noted(image: Path | bytes, **options: int) -> object:
        decoded.append(image)
        return original(image, **options)

    monkeypatch.setattr(prints_module, "decode_image", noted)
    first = fingerprints(photos)
    assert len(decoded) == 8
    again = fingerprints(photos.take([3, 1, 7]))
    assert len(decoded) == 8
    np.testing.assert_array_equal(again.hashes, first.hashes[[3, 1, 7]])
    rows = np.arange(3)
    np.testing.assert_array_equal(again.thumbs[rows], first.thumbs[np.array([3, 1, 7])])
    photo(tmp_path / "1.jpg", seed=77)
    (tmp_path / "3.jpg").write_bytes(b"no image")
    changed = fingerprints(photos)
    assert len(decoded) == 10
    assert changed.hashes[1] != first.hashes[1]
    assert [row for row, _ in changed.errors] == [3]
    assert changed.readable.tolist() == [i != 3 for i in range(8)]
    fingerprints(photos)
    assert len(decoded) == 11  # unreadable images are tried again
    pack(photos, tmp_path / "store", size=100)
    store = read(f"packed:{tmp_path / 'store'}")
    fingerprints(store)
    assert len(decoded) == 18
    fingerprints(store.take([6, 2]))
    assert len(decoded) == 18


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (500, 333), (7, 200), (1, 1)])
def test_hashes_are_those_of_imagehash(size: tuple[int, int], photos: Dataset) -> None:
    rng = np.random.default_rng(size[0])
    smooth = Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    flat = Image.new("RGB", size, (90, 90, 90))
    files = [Image.open(photos.encoded(row)).convert("RGB").resize(size) for row in range(len(photos))]
    for picture in (smooth, noise, flat, *files):
        bits = imagehash.phash(picture).hash.reshape(-1)
        assert fingerprint_image(np.asarray(picture))[0] == int("".join(str(int(bit)) for bit in bits), 2)


def test_keys_of_images(photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = image_keys(photos)
    assert len({tuple(key) for key in keys.tolist()}) == 8
    monkeypatch.chdir(tmp_path)
    (tmp_path / "8.jpg").touch()
    here = replace(photos, root=None)
    np.testing.assert_array_equal(image_keys(here), keys)
    (tmp_path / "4.jpg").unlink()
    assert image_keys(photos)[4].tolist() == [0, 0]
    stat = os.stat(tmp_path / "5.jpg")
    os.utime(tmp_path / "5.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert (image_keys(photos) != keys).any(1).tolist() == [i in (4, 5) for i in range(8)]


def some_prints(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    keys = rng.integers(1, 2**64, (count, 2), dtype=np.uint64)
    return keys, keys[:, 0] >> np.uint64(3), rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def test_the_cache_returns_what_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwise.data.cache._BLOCK", 7)
    keys, hashes, thumbs = some_prints(50, 0)
    one, other = PrintCache(tmp_path / "a"), PrintCache(tmp_path / "a")
    first = one.add(keys[:20], hashes[:20], thumbs[:20])
    second = other.add(keys[20:], hashes[20:], thumbs[20:])  # as another process would
    assert [*first, *second] == list(range(50))
    order = np.random.default_rng(1).permutation(50)
    keys_to_find = np.concatenate(
        [keys[order], keys[:3] + np.uint64(1), np.zeros((1, 2), np.uint64), keys[:2]]
    )
    slots, cached = PrintCache(tmp_path / "a").find(keys_to_find)
    assert slots.tolist() == [*order.tolist(), -1, -1, -1, -1, 0, 1]
    np.testing.assert_array_equal(cached[:50], hashes[order])
    np.testing.assert_array_equal(one.thumbs(slots)[:50], thumbs[order])
    assert not one.thumbs(slots)[50:54].any()
    assert PrintCache(tmp_path / "b").find(keys_to_find)[0].tolist() == [-1] * 56


def test_an_interrupted_append_leaves_no_wrong_entry(tmp_path: Path) -> None:
    keys, hashes, thumbs = some_prints(6, 0)
    cache = PrintCache(tmp_path)
    cache.add(keys[:2], hashes[:2], thumbs[:2])
    for name, cut in (("keys", 30), ("thumbs", 800)):  # killed while it wrote the second of two more
        cache.add(keys[2:4], hashes[2:4], thumbs[2:4])
        with open(tmp_path / name, "rb+") as file:
            file.truncate(file.seek(0, os.SEEK_END) - cut)
        assert PrintCache(tmp_path).find(keys[3:4])[0].tolist() == [-1]
        slots = PrintCache(tmp_path).add(keys[4:], hashes[4:], thumbs[4:])
        np.testing.assert_array_equal(PrintCache(tmp_path).thumbs(slots), thumbs[4:])
        slots = PrintCache(tmp_path).find(keys[4:])[0]
        np.testing.assert_array_equal(cache.thumbs(slots), thumbs[4:])
    with open(tmp_path / "thumbs", "rb+") as file:
        file.truncate(100)
    with pytest.raises(LabelwiseError, match=r"without thumbnails that were in it; .*; delete this folder"):
        cache.thumbs(np.array([1]))


def test_a_cache_folder_that_cannot_be_written_is_not_needed(
    photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path / "file"))
    prints = fingerprints(photos)
    assert near_duplicates(prints)[0][:2] == [0, 5]
    assert (tmp_path / "file").read_bytes() == b""


def test_a_full_disk_is_reported_in_one_line(photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labelwise.data.cache.os.pwrite", full)
    with pytest.raises(
        LabelwiseError, match=r"could not be written to .* \(No space left on device\); .*LABELWISE"
    ):
        fingerprints(photos)


def test_tasks_wait_in_blocks(photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool never gets all rows at once."""
    from concurrent.futures import ThreadPoolExecutor

    from labelwise.data import check as check_module

    given: list[int] = []
    original = ThreadPoolExecutor.map

    def noted(self: ThreadPoolExecutor, task: object, rows: list[int]) -> object:
        given.append(len(rows))
        return original(self, task, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(ThreadPoolExecutor, "map", noted)
    many = replace(
        photos,
        images=pa.array(["0.jpg"] * 1200),
        values=np.zeros((1200, 1), np.uint8),
        known=np.ones((1200, 1), bool),
    )
    assert check_module._unreadable(many, False, []) == []
    assert max(given) <= 512
    assert sum(given) == 1200


def test_a_store_is_closed_when_it_is_freed(photos: Dataset, tmp_path: Path) -> None:
    pack(photos, tmp_path / "store", size=100)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        data = read(f"packed:{tmp_path / 'store'}")
        with pytest.raises(UnreadableImage, match="does not exist"):
            replace(data, numbers=np.full(8, -1)).store.read(-1)  # type: ignore[union-attr]
    del data
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2


@given(
    st.lists(st.text("./ab", max_size=6), min_size=1, max_size=8), st.sampled_from([None, "", "r", "/r/./s"])
)
def test_file_names_are_compared_as_normalised_paths(names: list[str], root: str | None) -> None:
    cells = np.ones((len(names), 1), np.uint8)
    folder = None if root is None else Path(root)
    data = Dataset(LabelSet(("a",)), pa.array(names), folder, cells, cells.astype(bool))
    paths = [Path(name) if folder is None else folder / name for name in names]
    first = data.take([0])
    assert shared_files(first, data).tolist() == [path == paths[0] for path in paths]
