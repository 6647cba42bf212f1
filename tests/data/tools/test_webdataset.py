"""WebDataset shards of the package itself, compared with the result of the package."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import pickle
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelwise.cli import main
from labelwise.data import Dataset, read
from labelwise.data.cache import image_keys
from labelwise.data.contents import dataset_content_codes
from labelwise.data.decode import UnreadableImage
from labelwise.data.readers import webdataset as reader
from labelwise.data.source import WouldLose
from labelwise.errors import LabelwiseError

wds = pytest.importorskip("webdataset", reason="the package `webdataset` is not installed")

TAGS: list[list[str] | None] = [["cat", "a dog"], [], ["bird"], ["cat"], ["a dog", "bird"], ["cat"], []]


def picture(seed: int, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), (seed * 7 % 256, 90, 30)).save(buffer, form)
    return buffer.getvalue()


def write(folder: Path, samples: Sequence[dict[str, Any]], name: str = "train", size: int = 3) -> str:
    """Writes shards of samples with an image each; returns the pattern of their names."""
    folder.mkdir(exist_ok=True)
    with wds.ShardWriter(str(folder / f"{name}-%06d.tar"), maxcount=size, verbose=0) as writer:
        for i, sample in enumerate(samples):
            writer.write({"__key__": f"{name}{i:04d}", "png": picture(i), **sample})
    return str(folder / f"{name}-{{000000..{(len(samples) - 1) // size:06d}}}.tar")


def cells(data: Dataset) -> list[list[int | None]]:
    return [
        [int(v) if k else None for v, k in zip(*row, strict=True)]
        for row in zip(data.values, data.known, strict=True)
    ]


def states(
    pattern: str, names: Sequence[str], tags: Callable[[dict[str, bytes]], Any]
) -> list[list[int | None]]:
    """States that the package reads, one row per sample."""
    rows = []
    for sample in wds.WebDataset(pattern, shardshuffle=False):
        present = tags(sample)
        rows.append([None if present is None else int(name in present) for name in names])
    return rows


WAYS: dict[str, tuple[Callable[[list[str]], dict[str, Any]], Callable[[dict[str, bytes]], Any]]] = {
    "labels": (lambda t: {"json": {"labels": t, "id": 3}}, lambda s: json.loads(s["json"])["labels"]),
    "tags": (lambda t: {"json": {"Tags": t}}, lambda s: json.loads(s["json"])["Tags"]),
    "list": (lambda t: {"json": t}, lambda s: json.loads(s["json"])),
    "text": (lambda t: {"json": {"tags": ", ".join(t)}}, lambda s: json.loads(s["json"])["tags"].split(", ")),
    "txt": (lambda t: {"txt": ", ".join(t)}, lambda s: s["txt"].decode().split(", ")),
    "lines": (lambda t: {"labels.txt": "\n".join(t)}, lambda s: s["labels.txt"].decode().split("\n")),
    "tags.txt": (
        lambda t: {"tags.txt": ",".join(t), "txt": "A cat sits on a red mat."},
        lambda s: s["tags.txt"].decode().split(","),
    ),
    "states": (
        lambda t: {"json": {name: name in t for name in ("a dog", "bird", "cat")}},
        lambda s: [name for name, there in json.loads(s["json"]).items() if there],
    ),
    "mapping": (
        lambda t: {"json": {"labels": {name: int(name in t) for name in ("a dog", "bird", "cat")}}},
        lambda s: [name for name, there in json.loads(s["json"])["labels"].items() if there],
    ),
    "vector": (
        lambda t: {"json": {"labels": [int(name in t) for name in ("a dog", "bird", "cat")]}},
        lambda s: np.array(["a dog", "bird", "cat"])[np.array(json.loads(s["json"])["labels"]) > 0],
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_labels_in_every_kind_of_member(tmp_path: Path, way: str) -> None:
    written, tags = WAYS[way]
    pattern = write(tmp_path / "w", [written(row or []) for row in TAGS])
    names = "?names=a dog,bird,cat" if way == "vector" else ""
    for place in (pattern, tmp_path / "w", tmp_path / "w" / "train-*.tar"):
        data = read(f"webdataset:{place}{names}")
        assert data.labels.names == ("a dog", "bird", "cat")
        assert cells(data) == states(pattern, data.labels.names, tags)
        assert data.splits() == {"train": 7}
    one = read(f"webdataset:{tmp_path / 'w' / 'train-000001.tar'}{names}")
    assert [one.encoded(i) for i in range(len(one))] == [picture(i) for i in range(3, 6)]


def test_images_are_read_from_their_shards(tmp_path: Path) -> None:
    pattern = write(tmp_path / "w", [{"json": {"labels": row}} for row in TAGS])
    data = read(f"webdataset:{pattern}")
    assert data.store is not None
    assert data.embedded
    expected = [sample["png"] for sample in wds.WebDataset(pattern, shardshuffle=False)]
    copy = pickle.loads(pickle.dumps(data))
    assert [copy.encoded(i) for i in range(len(copy))] == expected
    assert [data.take([5, 1]).encoded(i) for i in (0, 1)] == [expected[5], expected[1]]
    assert data.image_id(4) == "train-000001.tar/train0004.png"
    assert data[2].image.shape == (3, 8, 12)
    shard = tmp_path / "w" / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(UnreadableImage, match="became shorter"):
        data.encoded(4)
    shard.unlink()
    with pytest.raises(UnreadableImage, match="the file that was listed"):
        data.encoded(4)


def test_fingerprints_are_of_the_image_and_not_of_its_number(tmp_path: Path) -> None:
    """A shard has the same cache keys of fingerprints alone and among others."""
    pattern = write(tmp_path / "w", [{"cls": i} for i in range(7)])
    whole = image_keys(read(f"webdataset:{pattern}"))
    alone = image_keys(read(f"webdataset:{tmp_path / 'w' / 'train-000001.tar'}"))
    assert np.array_equal(whole[3:6], alone)
    assert len(np.unique(whole, axis=0)) == 7


def test_equal_images_are_found(tmp_path: Path) -> None:
    pattern = write(tmp_path / "w", [{"cls": 1, "png": picture(i % 4)} for i in range(7)])
    assert dataset_content_codes(read(f"webdataset:{pattern}")).tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_splits_by_the_names_of_shards(tmp_path: Path) -> None:
    for name, rows in (("train", TAGS), ("val", TAGS[:2]), ("test", TAGS[3:6])):
        write(tmp_path / "w", [{"json": {"labels": row}} for row in rows], f"birds-{name}")
    data = read(f"webdataset:{tmp_path / 'w'}")
    assert data.splits() == {"train": 7, "val": 2, "test": 3}
    write(tmp_path / "w", [{"json": {"labels": ["cat"]}}], "extra")
    with pytest.raises(
        LabelwiseError, match=r"extra-000000\.tar, without a split in its name, beside birds-"
    ):
        read(f"webdataset:{tmp_path / 'w'}")


def test_splits_by_the_folders_of_shards(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        (tmp_path / split).mkdir()
        with wds.TarWriter(str(tmp_path / split / "0.tar")) as writer:
            for i in range(count):
                writer.write({"__key__": f"{i}", "png": picture(i), "cls": i % 2})
    assert read(f"webdataset:{tmp_path}").splits() == {"train": 4, "val": 2}


@pytest.mark.parametrize("as_file", [False, True])
def test_classes_by_number(tmp_path: Path, as_file: bool) -> None:
    pattern = write(tmp_path / "w", [{"cls": number} for number in (2, 0, 10, -1, 2)])
    data = read(f"webdataset:{pattern}")
    assert data.labels.names == ("0", "2", "10")
    assert cells(data) == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [None] * 3, [0, 1, 0]]
    assert "Labels are class numbers; ?names=FILE sets their names." in data.notes
    names = [f"class {i}" for i in range(12)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    named = read(f"webdataset:{pattern}?names={tmp_path / 'names.txt' if as_file else ','.join(names)}")
    assert named.labels.names == tuple(names)
    known = named.known.all(1)
    assert known.tolist() == [True, True, True, False, True]
    assert np.argwhere(named.values).tolist() == [[0, 2], [1, 0], [2, 10], [4, 2]]
    with pytest.raises(LabelwiseError, match=r"train0002\.png: \.cls \(class 10 of 3 names\)"):
        read(f"webdataset:{pattern}?names=a,b,c")


def test_classes_by_name_and_lists_of_numbers(tmp_path: Path) -> None:
    pattern = write(tmp_path / "w", [{"cls": name} for name in ("cat", "toy dog, small", "")])
    data = read(f"webdataset:{pattern}")
    assert data.labels.names == ("cat", "toy dog, small")
    assert cells(data) == [[1, 0], [0, 1], [None, None]]
    pattern = write(tmp_path / "n", [{"json": {"label": row}} for row in ([2, 0], [1], [], 2)])
    data = read(f"webdataset:{pattern}?names=a,b,c")
    assert cells(data) == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_samples_without_labels_are_unknown(tmp_path: Path) -> None:
    rows = [
        {"json": {"labels": ["cat"]}},
        {},
        {"json": {"labels": None}},
        {"json": {}},
        {"json": {"labels": []}},
    ]
    pattern = write(tmp_path / "w", rows)
    assert cells(read(f"webdataset:{pattern}")) == [[1], [None], [None], [None], [0]]
    pattern = write(
        tmp_path / "s", [{"json": {"cat": 1, "dog": 0}}, {}, {"json": {"dog": 1}}, {"json": {"cat": None}}]
    )
    data = read(f"webdataset:{pattern}")
    assert cells(data) == [[1, 0], [None, None], [None, 1], [None, None]]
    assert "1 samples without labels are all-unknown." in data.notes


def test_keys_that_are_no_labels_are_named(tmp_path: Path) -> None:
    pattern = write(
        tmp_path / "w", [{"json": {"cat": i % 2, "url": f"https://x/{i}", "width": 300}} for i in range(4)]
    )
    with pytest.raises(LabelwiseError, match=r"\?ignore=url,width"):
        read(f"webdataset:{pattern}")
    assert read(f"webdataset:{pattern}?ignore=url,width").labels.names == ("cat",)
    assert read(f"webdataset:{pattern}?labels=cat").labels.names == ("cat",)


def test_the_key_of_the_labels_can_be_named(tmp_path: Path) -> None:
    rows = [{"json": {"seen": ["cat"], "tags": ["2024"]}}, {"json": {"seen": ["dog", "cat"], "tags": []}}]
    data = read(f"webdataset:{write(tmp_path / 'w', rows)}?labels=seen")
    assert data.labels.names == ("cat", "dog")
    assert "Labels are under the key 'seen'; left out: tags." in data.notes


def test_one_of_several_members(tmp_path: Path) -> None:
    pattern = write(
        tmp_path / "w", [{"json": {"labels": row}, "cls": 1, "txt": "A cat. It sits."} for row in TAGS]
    )
    with pytest.raises(
        LabelwiseError, match=r"as samples have cls \(7\), json \(7\), txt \(7\); .* \?member="
    ):
        read(f"webdataset:{pattern}")
    data = read(f"webdataset:{pattern}?member=json")
    assert "Labels are in the members .json; left out: .cls, .txt." in data.notes
    with pytest.raises(
        LabelwiseError, match=r"train0000\.png: \.txt \(a sentence, not names: 'A cat\. It sits\.'"
    ):
        read(f"webdataset:{pattern}?member=txt")
    with pytest.raises(LabelwiseError, match=r"member=npy of .*; its samples have cls"):
        read(f"webdataset:{pattern}?member=npy")


def test_a_mask_beside_the_image(tmp_path: Path) -> None:
    pattern = write(tmp_path / "w", [{"mask.png": picture(99), "cls": i} for i in range(3)])
    data = read(f"webdataset:{pattern}")
    assert [data.encoded(i) for i in range(3)] == [picture(i) for i in range(3)]
    assert "3 further images of samples were left out: train-000000.tar/train0000.mask.png." in data.notes
    pattern = write(tmp_path / "two", [{"jpg": picture(1, "JPEG"), "cls": 1}])
    with pytest.raises(LabelwiseError, match="train0000 with several images: "):
        read(f"webdataset:{pattern}")


def test_members_of_other_tools(tmp_path: Path) -> None:
    """Folders, upper case, system files, members without a suffix, and links, as `tar` writes them."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, content in (
            ("./a/1.JPG", picture(1, "JPEG")),
            ("./a/1.CLS", b"cat\n"),
            ("./a/._1.jpg", b"junk"),
            ("__MACOSX/a/1.jpg", b"junk"),
            ("./a/readme", b"hello"),
            ("./a/2.webp", picture(2, "WEBP")),
            ("./a/2.cls", b"dog"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("a/3.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "1.JPG"
        tar.addfile(link)
    data = read(f"webdataset:{tmp_path / 'x.tar'}")
    assert data.labels.names == ("cat", "dog")
    assert [data.encoded(i) for i in (0, 1)] == [picture(1, "JPEG"), picture(2, "WEBP")]
    assert data.splits() == {}
    assert reader.recognises(tmp_path / "x.tar")
    assert reader.recognises(tmp_path)


def test_samples_without_an_image(tmp_path: Path) -> None:
    with wds.TarWriter(str(tmp_path / "x.tar")) as writer:
        for i in range(4):
            writer.write({"__key__": f"{i}", "cls": i, **({} if i == 1 else {"jpg": picture(i, "JPEG")})})
    with pytest.raises(WouldLose, match=r"1 of 4 samples without an image: x\.tar/1 \(cls\)") as caught:
        read(f"webdataset:{tmp_path / 'x.tar'}")
    assert caught.value.option == ("missing", "skip")
    data = read(f"webdataset:{tmp_path / 'x.tar'}?missing=skip")
    assert data.labels.names == ("0", "2", "3")
    assert "1 samples without an image were left out: x.tar/1 (cls)." in data.notes


def one_shard(folder: Path, **members: Any) -> Path:
    write(folder / "w", [members or {"cls": 1}] * 2)
    return folder / "w" / "train-000000.tar"


def cut(at: int) -> Callable[[Path], Path]:
    def damage(folder: Path) -> Path:
        shard = one_shard(folder)
        shard.write_bytes(shard.read_bytes()[:at])
        return shard

    return damage


def cut_behind_a_member(folder: Path) -> Path:
    shard = one_shard(folder)
    with tarfile.open(shard) as tar:
        end = tar.getmembers()[2].offset
    shard.write_bytes(shard.read_bytes()[:end])
    return shard


def damaged_header(folder: Path) -> Path:
    """A plain tar file with a damaged header, at which Python's own module stops without an error."""
    shard = folder / "plain.tar"
    with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(3):
            for name, content in ((f"{i}.png", picture(i)), (f"{i}.cls", b"1")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    with tarfile.open(shard) as tar:
        place = tar.getmembers()[4].offset
    content = bytearray(shard.read_bytes())
    content[place : place + 512] = b"x" * 512
    shard.write_bytes(content)
    return shard


def compressed(folder: Path) -> Path:
    shard = one_shard(folder)
    (folder / "w" / "train-0.tar.gz").write_bytes(gzip.compress(shard.read_bytes()))
    return folder / "w" / "train-0.tar.gz"


def twice(folder: Path) -> Path:
    shard = one_shard(folder)
    with tarfile.open(shard, "a") as tar:
        for _ in range(2):
            info = tarfile.TarInfo("z.cls")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"1"))
    return shard


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut(0), "expected a whole tar file"),
        (cut(300), "expected a whole tar file"),
        (cut(1600), "expected a whole tar file"),
        (cut(3000), "expected a whole tar file"),
        (cut_behind_a_member, "truncated or damaged at byte"),
        (damaged_header, "plain.tar, which is truncated or damaged at byte"),
        (compressed, "a compressed shard; expected a plain tar file; run gunzip"),
        (twice, "z.cls: duplicate file name in tar file cls"),
        (lambda folder: one_shard(folder, json=b"{"), ".json (Expecting property name"),
        (lambda folder: one_shard(folder, json=b"\xff\xff"), ".json ("),
        (lambda folder: one_shard(folder, json=b"[" * 100_000), ".json (nested too deeply"),
        (lambda folder: one_shard(folder, json={"labels": [{"name": "cat"}]}), ".json (of another kind: [{"),
        (
            lambda folder: one_shard(folder, json={"labels": [0, 1, 1]}),
            "without names; list them with ?names=FILE",
        ),
        (lambda folder: one_shard(folder, txt="a photo of two cats on a mat"), "a sentence, not names"),
        (lambda folder: one_shard(folder, npy=b"x"), "without labels; its samples have npy (2)"),
        (lambda folder: folder / "nothing.tar", "1 of 1 shards missing"),
        (lambda folder: folder / "train-{000..002}.tar", "3 of 3 shards missing"),
        (lambda folder: folder / "train-{000..002.tar", "pattern"),
        (lambda folder: folder, "without tar files"),
        (lambda folder: "https://example.org/x.tar", "expected tar files on this disk"),
    ],
)
def test_what_cannot_be_read(
    tmp_path: Path,
    damage: Callable[[Path], Path],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["labelwise", "data", "check", f"webdataset:{damage(tmp_path)}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert message in line


def test_names_for_keys_are_refused(tmp_path: Path) -> None:
    pattern = write(tmp_path / "w", [{"json": {"cat": 1}}, {"json": {"cat": 0}}])
    with pytest.raises(LabelwiseError, match="leave names= out"):
        read(f"webdataset:{pattern}?names=a,b")
    with pytest.raises(LabelwiseError, match=r"names=nowhere\.txt, which is no file"):
        read(f"webdataset:{write(tmp_path / 'c', [{'cls': 0}])}?names=nowhere.txt")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "webdataset" else find(name)
    )
    with pytest.raises(LabelwiseError, match=r"run: pip install 'labelwise\[webdataset\]'"):
        read(f"webdataset:{tmp_path}")


def test_tar_files_of_other_things_are_not_recognised(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "code.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("src/a.py"))
        tar.addfile(tarfile.TarInfo("src/a.png"))
    assert not reader.recognises(tmp_path / "code.tar")
    assert not reader.recognises(tmp_path / "nothing.tar")
    (tmp_path / "code.tar").write_bytes(b"no tar at all")
    assert not reader.recognises(tmp_path / "code.tar")
