"""Which files of a folder are images: the same for the reader of label folders and for predictions."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from labelwise.data import read
from labelwise.data.decode import decode_image
from labelwise.data.imagefiles import IMAGE_SUFFIXES, is_clutter, is_image_name, walk_images
from labelwise.errors import LabelwiseError
from labelwise.inference.output import find_images

Photo = Callable[..., Path]
JUNK = (
    "dog/._1.jpg",
    "dog/.ipynb_checkpoints/1-checkpoint.jpg",
    "dog/@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "dog/Thumbs.db",
    "dog/DESKTOP.INI",
    "__MACOSX/dog/1.jpg",
    "__MACOSX/._dog.jpg",
    "$RECYCLE.BIN/2.png",
    "System Volume Information/3.png",
    ".DS_Store",
    "._4.jpg",
    "Icon\r",
)


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    """Four photographs of two labels among system files."""
    root = tmp_path / "photos"
    for seed, name in enumerate(("dog/1.JPG", "dog/2.png", "cat/deep/3.webp", "cat/4.tif")):
        photo(root / name, seed=seed)
    for name in JUNK:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\0\5\x16\7")
    return root


def test_reader_and_predictions_take_the_same_files(folder: Path) -> None:
    data = read(f"folder:{folder}")
    ours = {str(folder / data.image_id(i)) for i in range(len(data))}
    notes: list[str] = []
    assert sorted(ours) == find_images([str(folder)], notes)
    assert len(ours) == 4
    assert data.labels.names == ("cat", "dog")
    shown = "$RECYCLE.BIN, ._1.jpg, ._4.jpg, .ipynb_checkpoints, @eaDir, ..."
    assert notes == [f"7 hidden or system files and folders were left out: {shown}."]
    assert notes[0] in data.notes


def test_splits_do_not_see_clutter_either(folder: Path, tmp_path: Path) -> None:
    split_folder = tmp_path / "split_folder"
    (split_folder / "__MACOSX").mkdir(parents=True)
    os.rename(folder, split_folder / "train")
    data = read(str(split_folder))
    assert data.splits() == {"train": 4}
    assert any("8 hidden or system files and folders" in note for note in data.notes)


def test_what_is_named_outright_is_taken_whatever_its_name(folder: Path) -> None:
    hidden = str(folder / "dog" / "._1.jpg")
    assert find_images([hidden]) == [hidden]
    inside = str(folder / "__MACOSX")
    assert find_images([inside]) == [str(folder / "__MACOSX" / "dog" / "1.jpg")]


def test_globs_leave_clutter_that_they_do_not_name(folder: Path) -> None:
    assert find_images([str(folder / "**" / "*.*")]) == find_images([str(folder)])
    named = folder / "__MACOSX"
    assert find_images([str(named / "**" / "*.jpg")]) == [str(named / "dog" / "1.jpg")]
    assert find_images([str(folder / "*" / "._*")]) == [
        str(named / "._dog.jpg"),
        str(folder / "dog" / "._1.jpg"),
    ]


def test_an_inner_folder_counts_for_the_outer_label_with_a_note(tmp_path: Path, photo: Photo) -> None:
    for seed, name in enumerate(("bus/1.jpg", "bus/red/2.jpg", "bus/red/old/3.jpg", "car/4.jpg")):
        photo(tmp_path / name, seed=seed)
    data = read(f"folder:{tmp_path}")
    assert data.labels.names == ("bus", "car")
    assert data.values.sum(0).tolist() == [3, 1]
    inner = os.path.join("bus", "red")
    note = f"2 images lie deeper than their label folder and have its label alone, as those in {inner}: bus."
    assert note in data.notes


def test_a_split_folder_is_no_label_folder(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "train" / "bus" / "1.jpg", seed=1)
    photo(tmp_path / "val" / "bus" / "2.jpg", seed=2)
    photo(tmp_path / "val" / "car" / "3.jpg", seed=3)
    assert not any("deeper" in note for note in read(f"folder:{tmp_path}").notes)


def test_a_folder_that_cannot_be_listed_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", closed)
    for reader in (lambda: find_images([str(folder)]), lambda: read(f"folder:{folder}")):
        with pytest.raises(LabelwiseError, match=r"deep \(Permission denied\); .*check its permissions"):
            reader()


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".jpe", "JPEG"),
        (".apng", "PNG"),
        (".pgm", "PPM"),
        (".jp2", "JPEG2000"),
        (".avif", "AVIF"),
        (".webp", "WEBP"),
        (".TIF", "TIFF"),
        (".mpo", "MPO"),
    ],
)
def test_listed_kinds_are_read(tmp_path: Path, suffix: str, kind: str) -> None:
    buffer = io.BytesIO()
    picture = Image.new("L" if suffix == ".pgm" else "RGB", (12, 10), 200)
    try:
        picture.save(buffer, kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    file = tmp_path / f"a{suffix}"
    file.write_bytes(buffer.getvalue())
    assert find_images([str(tmp_path)]) == [str(file)]
    assert decode_image(file).shape == (3, 10, 12)


def test_the_rule_in_words() -> None:
    assert all(suffix == suffix.lower() and is_image_name(f"x{suffix.upper()}") for suffix in IMAGE_SUFFIXES)
    assert not is_image_name("jpg")
    assert not any(map(is_clutter, ("_none", "thumbs.jpg", "dog.", "macosx", "recycle", "temporary")))
    assert walk_images().images == []
