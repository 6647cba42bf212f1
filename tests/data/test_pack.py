"""The packed store: the same rows and, for some settings, the same batches to the bit as from files."""

from __future__ import annotations

import errno
import json
import pickle
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import tiny_runs
from labelwise.data import Dataset, UnreadableImage, decode_image, eval_loader, read, train_loader
from labelwise.data.dataset import BOX_TYPE
from labelwise.data.pack import pack
from labelwise.data.store import PackedImages
from labelwise.data.table import write_table
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.errors import LabelwiseError
from labelwise.types import Batch, LabelSet

Photo = Callable[..., Path]
SIDES = [(48, 32), (70, 90), (200, 64), (33, 41), (64, 64), (120, 80)]


@pytest.fixture
def data(tmp_path: Path, photo: Photo) -> Dataset:
    names = [photo(tmp_path / "in" / f"{i}.jpg", i, side).name for i, side in enumerate(SIDES)]
    cells = np.arange(12).reshape(6, 2)
    box = {"label": 1, "x0": 0.1, "y0": 0.2, "x1": 0.3, "y1": 0.4}
    return Dataset(
        LabelSet(("dog", "cat")),
        pa.array(names),
        tmp_path / "in",
        (cells % 3 == 0).astype(np.uint8) * (cells % 5 > 0),
        cells % 5 > 0,
        split_of=np.array([0, 0, 1, 0, -1, 1], np.int16),
        split_names=("train", "test"),
        group=np.array([1, 1, 2, 3, 4, 2], np.int64),
        boxes=pa.array([[box], [], [box], [], [], []], BOX_TYPE),
        source="made here",
    )


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) > 0 and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.index, b.index)
        and torch.equal(a.targets.values, b.targets.values)
        and torch.equal(a.targets.known, b.targets.known)
        for a, b in zip(one, other, strict=True)
    )


def batches(data: Dataset, config: TransformConfig, train: bool) -> list[Batch]:
    transform = build_transform(config, train)
    if train:
        return list(train_loader(data, transform, batch_size=2, seed=3, workers=0).epoch(1))
    return list(eval_loader(data, transform, batch_size=4, workers=0))


def test_rows_are_read_back_completely(data: Dataset, tmp_path: Path) -> None:
    packed = pack(data, tmp_path / "out", size=32, form="raw", workers=2)
    assert (packed.rows, packed.unreadable, packed.kept) == (6, (), 0)
    again = read(str(tmp_path / "out"))
    assert again.source == f"packed:{tmp_path / 'out'}"
    assert again.labels == data.labels
    for name in ("values", "known", "split_of", "group"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))
    assert [again.boxes_of(i) for i in range(6)] == [data.boxes_of(i) for i in range(6)]
    assert [again.image_id(i) for i in range(6)] == [data.image_id(i) for i in range(6)]
    assert "Packed from made here: images are squashed to 32 x 32 pixels." in again.notes
    part = again.split("test").take([1])
    assert part.image_id(0) == "5.jpg"
    assert torch.equal(part[0].image, again[5].image)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_raw_pixels_of_the_size_give_the_batches_of_the_files(
    data: Dataset, tmp_path: Path, resize: str
) -> None:
    """Evaluation of squashed images, and training without random windows; a crop needs the original."""
    pack(data, tmp_path / "out", size=40, form="raw", workers=1)
    packed = read(f"packed:{tmp_path / 'out'}")
    config = TransformConfig(
        image_size=40, resize=resize, multi_scale=(1.0,), pad=3, cutout=0.3, randaugment_ops=2
    )
    for train in (False, True):
        assert same(batches(data, config, train), batches(packed, config, train)) == (resize == "squash")
    several = TransformConfig(image_size=40)
    assert same(batches(data, several, False), batches(packed, several, False))
    assert not same(batches(data, several, True), batches(packed, several, True))


def test_small_jpeg_files_stay_as_they_are_and_give_the_same_batches(data: Dataset, tmp_path: Path) -> None:
    pack(data, tmp_path / "out", size=90, form="jpeg", workers=1)
    packed = read(f"packed:{tmp_path / 'out'}")
    assert [packed.encoded(i) for i in range(6)] == [data.encoded(i).read_bytes() for i in range(6)]
    for train in (False, True):
        config = TransformConfig(image_size=24, resize="crop")
        assert same(batches(data, config, train), batches(packed, config, train))


def test_larger_images_are_resized_to_the_short_side(data: Dataset, tmp_path: Path) -> None:
    turned = Image.open(data.encoded(5))
    exif = Image.Exif()
    exif[274] = 6
    turned.save(data.encoded(5), quality=95, exif=exif)
    pack(data, tmp_path / "out", size=40, form="jpeg", workers=1)
    packed = read(f"packed:{tmp_path / 'out'}")
    assert [tuple(packed[i].image.shape[1:]) for i in (1, 2, 5)] == [(51, 40), (40, 125), (60, 40)]
    for i in (1, 2, 5):
        height, width = packed[i].image.shape[1:]
        picture = Image.fromarray(data[i].image.permute(1, 2, 0).contiguous().numpy())
        plain = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        # Pure colours at a few pixels are the hardest case.
        assert np.abs(packed[i].image.permute(1, 2, 0).numpy() - plain).mean() < 4
    assert packed.encoded(0) == data.encoded(0).read_bytes()


def test_unreadable_images_stay_unreadable_with_their_reason(data: Dataset, tmp_path: Path) -> None:
    data.encoded(1).write_bytes(data.encoded(1).read_bytes()[:300])
    data.encoded(3).unlink()
    for form in ("raw", "jpeg"):
        result = pack(data, tmp_path / form, size=32, form=form)
        assert [row for row, _ in result.unreadable] == [1, 3]
        packed = read(f"packed:{tmp_path / form}")
        assert packed.notes[-1] == "2 images could not be decoded when they were packed."
        with pytest.raises(UnreadableImage, match=r"1.jpg is truncated; .*pack again"):
            packed.encoded(1)
        config = TransformConfig(image_size=32)
        files, store = batches(data, config, False), batches(packed, config, False)
        assert [batch.unreadable for batch in store] == [batch.unreadable for batch in files]
        assert store[0].index.tolist() == [0, 2]


def test_a_store_serves_as_a_source_of_tables_and_of_stores(data: Dataset, tmp_path: Path) -> None:
    pack(data, tmp_path / "one", size=32, form="raw")
    one = read(f"packed:{tmp_path / 'one'}")
    write_table(one.take([4, 2]), tmp_path / "t.parquet")
    table = read(str(tmp_path / "t.parquet"))
    assert torch.equal(table[1].image, one[2].image)
    pack(one.take([4, 2]), tmp_path / "two", size=32, form="raw")
    two = read(f"packed:{tmp_path / 'two'}")
    assert two.image_id(0) == "4.jpg"
    assert torch.equal(two[0].image, one[4].image)
    embedded = replace(table, source="bytes")
    pack(embedded, tmp_path / "three", size=32, form="raw")
    assert read(f"packed:{tmp_path / 'three'}").image_id(1) == "row 1"


def test_workers_open_the_store_themselves(data: Dataset, tmp_path: Path) -> None:
    pack(data, tmp_path / "out", size=32, form="raw")
    packed = read(f"packed:{tmp_path / 'out'}")
    assert len(pickle.dumps(packed.store)) < 500
    transform = build_transform(TransformConfig(image_size=32), False)
    tiny_runs.forks()
    apart = eval_loader(packed, transform, batch_size=4, workers=1, context="forkserver")
    assert same(list(apart), list(eval_loader(packed, transform, batch_size=4, workers=0)))
    apart.close()


def test_every_changed_byte_of_an_image_is_noticed(data: Dataset, tmp_path: Path) -> None:
    pack(data, tmp_path / "out", size=32, form="raw")
    file = tmp_path / "out" / "images-00000.arrow"
    whole = file.read_bytes()
    content = read(f"packed:{tmp_path / 'out'}").encoded(2)
    for offset in (20, 1000, len(content) - 1):
        place = whole.index(content) + offset
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        store = PackedImages(tmp_path / "out")
        store.read(1)
        with pytest.raises(UnreadableImage, match=r"image 2 of .*out with another checksum"):
            store.read(2)


def test_a_store_of_more_files_than_may_be_open(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(data, tmp_path / "out", 32)

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("labelwise.data.store.os.open", refuse)
        with pytest.raises(LabelwiseError, match=r"more files than may be open at once.*ulimit -n"):
            PackedImages(tmp_path / "out")


def test_damaged_stores_are_refused_when_they_are_opened(data: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    pack(data, folder, size=32, form="raw")
    described = json.loads((folder / "packed.json").read_text())
    file = folder / "images-00000.arrow"
    whole, table = file.read_bytes(), (folder / "table.parquet").read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(LabelwiseError, match=message) as caught:
            read(f"packed:{folder}")
        assert "\n" not in str(caught.value)

    file.write_bytes(whole[:-100])
    refused(
        rf"out is damaged: images-00000.arrow of .* bytes; expected {len(whole):,} bytes, .*; pack again$"
    )
    file.write_bytes(whole[:-100] + bytes(100))
    refused(r"out is damaged: images-00000.arrow \(")
    file.unlink()
    refused("out is damaged: no images-00000.arrow")
    file.write_bytes(whole)
    (folder / "table.parquet").write_bytes(table[:50] + bytes([table[50] ^ 1]) + table[51:])
    refused("table.parquet with another checksum")
    (folder / "table.parquet").write_bytes(table)
    (folder / "packed.json").write_text(json.dumps({**described, "format": 2}))
    refused("in store format 2; expected format 1; update labelwise")
    (folder / "packed.json").write_text(json.dumps({**described, "rows": 7}))
    refused("out is damaged: 6 images; expected 7, as written")
    (folder / "packed.json").write_text("{")
    refused("without a readable packed.json; expected a folder that `labelwise data pack` wrote")
    with pytest.raises(LabelwiseError, match="does not exist"):
        read(f"packed:{tmp_path / 'nowhere'}")


def test_refusals(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"in, which exists; expected a new folder"):
        pack(data, tmp_path / "in")
    with pytest.raises(LabelwiseError, match="form 'png'; expected jpeg or raw"):
        pack(data, tmp_path / "out", form="png")
    with pytest.raises(LabelwiseError, match="size 4; expected 8 to 4096 pixels"):
        pack(data, tmp_path / "out", size=4)
    with pytest.raises(LabelwiseError, match="in a folder that does not exist"):
        pack(data, tmp_path / "no" / "out")


def test_an_interrupted_run_resumes_and_another_plan_restarts(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelwise.data.pack.ROWS_OF_FILE", 2)
    monkeypatch.setattr("labelwise.data.pack.ROWS_OF_BATCH", 1)
    data.encoded(0).write_bytes(b"no image")

    def stop_at(row: int) -> Callable[[int], None]:
        def tick(done: int) -> None:
            if done == row:
                raise KeyboardInterrupt

        return tick

    with pytest.raises(KeyboardInterrupt):
        pack(data, tmp_path / "out", 32, "raw", 1, stop_at(5))
    assert not (tmp_path / "out").exists()
    part = tmp_path / ".out.part"
    assert sorted(p.name for p in part.iterdir()) == ["images-00000.arrow", "images-00001.arrow", "plan.json"]
    first = (part / "images-00000.arrow").stat().st_mtime_ns
    result = pack(data, tmp_path / "out", 32, "raw", 1)
    assert result.kept == 4
    assert [row for row, _ in result.unreadable] == [0]
    assert (tmp_path / "out" / "images-00000.arrow").stat().st_mtime_ns == first
    pack(data, tmp_path / "whole", 32, "raw", 1)
    one, other = (PackedImages(tmp_path / name) for name in ("out", "whole"))
    assert [one.read(i) for i in range(1, 6)] == [other.read(i) for i in range(1, 6)]
    with pytest.raises(KeyboardInterrupt):
        pack(data, tmp_path / "new", 32, "raw", 1, stop_at(5))
    assert pack(data, tmp_path / "new", 40, "raw", 1).kept == 0
    assert decode_image(PackedImages(tmp_path / "new").read(5)).shape == (3, 40, 40)


LIMITED = """
import resource, sys
from pathlib import Path
from labelwise.data import read
from labelwise.data.pack import pack
from labelwise.errors import LabelwiseError
data = read(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
try:
    pack(data, Path(sys.argv[2]), 96, "raw", 1)
except LabelwiseError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
def test_a_full_disk_is_reported_and_leaves_no_partial_file(data: Dataset, tmp_path: Path) -> None:
    write_table(data, tmp_path / "t.parquet")
    out = tmp_path / "out"
    process = tiny_runs.forked(tmp_path / "t.parquet", out, script=LIMITED)
    assert process.code == 0, process.err
    assert f"{out} could not be written (File too large); expected a writable disk" in process.out
    assert not out.exists()
    assert [p.name for p in (tmp_path / ".out.part").iterdir()] == ["plan.json"]
    pack(data, out, 96, "raw", 1)
    assert len(read(f"packed:{out}")) == 6


def test_the_command(data: Dataset, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from labelwise.cli import app

    write_table(data, tmp_path / "t.parquet")
    options = ["--size", "32", "--form", "raw", "--json"]
    run = CliRunner().invoke(
        app, ["data", "pack", str(tmp_path / "t.parquet"), str(tmp_path / "out"), *options]
    )
    assert run.exit_code == 0
    report = json.loads(run.stdout)
    assert (report["images"], report["kept"], report["unreadable"]) == (6, 0, [])
    run = CliRunner().invoke(app, ["data", "check", f"packed:{tmp_path / 'out'}", "--json"])
    assert json.loads(run.stdout)["rows_after"] == 6
    broken = data.encoded(2)
    broken.write_bytes(b"no image")
    run = CliRunner().invoke(app, ["data", "pack", str(tmp_path / "t.parquet"), str(tmp_path / "bad")])
    assert run.exit_code == 1
    assert "written: " in run.output
    assert "2.jpg is not an image file" in run.output
