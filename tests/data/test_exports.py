"""Each export is recognised by its own reader and by no other; archives and broken texts are refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data.readers import cvat, datumaro, fiftyone, labelstudio, paddlex, tags
from labelwise.data.readers.exports import beginning, json_content, text_lines
from labelwise.data.source import parse
from labelwise.errors import LabelwiseError

Photo = Callable[..., Path]
READERS = {m.__name__.rpartition(".")[2]: m for m in (cvat, datumaro, fiftyone, labelstudio, paddlex, tags)}
TOOLS = Path(__file__).parent / "tools"


def owners(path: Path) -> list[str]:
    return [name for name, reader in READERS.items() if reader.recognises(path)]


def test_files_that_tools_wrote() -> None:
    kinds = {}
    for folder in TOOLS.iterdir():
        for path in [folder, *folder.rglob("*")]:
            if owners(path):
                kinds[path.relative_to(TOOLS).as_posix()] = owners(path)
    studio, by_datumaro = "label-studio-sdk-2.1.2", "datumaro-1.13.12"
    subsets = ("train", "val", "test")
    assert kinds == {
        **{
            f"{studio}/{name}": ["labelstudio"]
            for name in ("JSON.json", "JSON_MIN.json", "CSV.csv", "TSV.tsv")
        },
        **{
            f"fiftyone-1.22.1/{name}{end}": ["fiftyone"]
            for name in ("indices", "names")
            for end in ("", "/labels.json")
        },
        **{f"{by_datumaro}/{name}": ["datumaro"] for name in ("datumaro", "imagenet_txt")},
        **{f"{by_datumaro}/datumaro/annotations/{name}.json": ["datumaro"] for name in subsets},
        **{f"{by_datumaro}/{name}": ["cvat"] for name in ("cvat", *(f"cvat/{n}.xml" for n in subsets))},
    }


def test_files_of_other_kinds(tmp_path: Path, photo: Photo) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")

    for place in ("voc/JPEGImages", "folder/cat", "yolo", "prose", "paddlex", "fiftyone/data", "csv"):
        photo(tmp_path / place / "1.jpg")
        photo(tmp_path / place / "2.jpg", seed=2)
    write("voc/Annotations/1.xml", "<annotation><object><name>cat</name></object></annotation>")
    write("voc/ImageSets/Main/train.txt", "1\n2\n")
    write("coco/instances.json", json.dumps({"images": [], "annotations": [], "categories": []}))
    write("folder/cat/1.txt", "not by each")
    write("yolo/1.txt", "0 .5 .5 .1 .1\n")
    write("yolo/2.txt", "")
    write("yolo/classes.txt", "cat\n")
    write("prose/1.txt", "A dog runs over the wide green field")
    write("prose/2.txt", "Two cats sit on a red wooden chair")
    write("paddlex/train.txt", "1.jpg\t1,0\n")
    write("paddlex/label.txt", "0 a\n1 b\n")
    write("fiftyone/labels.json", json.dumps({"classes": ["a"], "labels": {"1": 0}}))
    write("csv/labels.csv", "image,choice,id\n1.jpg,cat,1\n")
    write("csv/labels.txt", "1.jpg cat\n")
    kinds = {
        path.relative_to(tmp_path).as_posix(): owners(path) for path in tmp_path.rglob("*") if owners(path)
    }
    assert kinds == {"fiftyone": ["fiftyone"], "fiftyone/labels.json": ["fiftyone"], "paddlex": ["paddlex"]}


def test_every_reader_refuses_an_archive_or_a_path_that_is_not_there(tmp_path: Path) -> None:
    packed = tmp_path / "export.zip"
    packed.write_bytes(gzip.compress(b"[]"))
    for name, reader in READERS.items():
        for path in (packed, tmp_path / "absent"):
            assert not reader.recognises(path)
            with pytest.raises(LabelwiseError) as caught:
                reader.read(parse(f"{name}:{path}"))
            assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("labelstudio:label-studio-sdk-2.1.2/JSON.json", "blank duplicates missing control image images"),
        ("cvat:datumaro-1.13.12/cvat", "blank duplicates missing images"),
        ("datumaro:datumaro-1.13.12/datumaro", "blank duplicates missing images"),
    ],
)
def test_no_option_is_without_effect(place: str, options: str) -> None:
    kind, _, path = place.partition(":")
    assert frozenset(options.split()) == READERS[kind].OPTIONS
    for option in options.split():
        with pytest.raises(LabelwiseError, match=rf"{option}|image folder 'odd'"):
            READERS[kind].read(parse(f"{kind}:{TOOLS / path}?{option}=odd"))


def test_openings_and_texts(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for raw, text in (
        (b"\xef\xbb\xbf{", "{"),
        ("é[".encode("utf-16"), "é["),
        (b"a\x00b", ""),
        (b"caf\xe9", "caf"),
    ):
        file.write_bytes(raw)
        assert beginning(file) == text
    assert beginning(tmp_path) == beginning(tmp_path / "absent") == ""
    file.write_text("\ufeff a \r\n\r\nb\u2028c", encoding="utf-8")
    assert text_lines(file) == [(1, "a"), (3, "b\u2028c")]
    for raw in (b'{"a": [1, 2', b"[" * 100_000, b"\xff\xff", b"9" * 5000 + b"]", b""):
        file.write_bytes(raw)
        with pytest.raises(LabelwiseError, match=r"x: not JSON \(.*\); expected lists"):
            json_content(file, "lists")
