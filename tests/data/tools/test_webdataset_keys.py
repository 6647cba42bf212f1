"""Keys of absent labels beside the labels in a WebDataset's JSON."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from labelwise.data import read
from labelwise.errors import LabelwiseError

pytest.importorskip("webdataset", reason="the package `webdataset` is not installed")


def test_absent_names_beside_the_labels_are_refused(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    rows = [{"labels": ["cat"], "negative": ["dog"], "id": 1}, {"labels": ["dog"], "negative": []}]
    with tarfile.open(tmp_path / "train.tar", "w") as shard:
        for number, row in enumerate(rows):
            for suffix, content in (("png", image.getvalue()), ("json", json.dumps(row).encode())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    source = f"webdataset:{tmp_path / 'train.tar'}"
    with pytest.raises(LabelwiseError, match=r"negative beside label names.*add \?ignore=negative"):
        read(source)
    assert read(f"{source}?ignore=negative").values.tolist() == [[1, 0], [0, 1]]
    with pytest.raises(LabelwiseError, match="ignore=absent"):
        read(f"{source}?ignore=negative,absent")
