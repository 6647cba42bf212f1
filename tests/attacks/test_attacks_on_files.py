"""Tables, archives and models made to run something, to read what lies elsewhere, or to fill the memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save as to_safetensors

import official_layouts as layouts
from labelwise.backbones.weights import load_weights
from labelwise.data import read
from labelwise.data.npz import read_npz
from labelwise.data.readers import parquet as parquet_reader
from labelwise.data.readers.unpickle import read_pickle
from labelwise.data.readers.voc import parse_xml
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import ARTEFACT, CHECKSUMS, Artefact, Preprocessing, sha256
from labelwise.runs.plain_yaml import read_yaml
from labelwise.training.checkpoint import load_state
from labelwise.types import LabelSet


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.sign}",)


# XML


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]><a/>',
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l11;</a>',
    ],
)  # fmt: skip
def test_entities_of_xml_are_refused_before_they_grow(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    started = time.perf_counter()
    with pytest.raises(LabelwiseError, match=r"a document type \(DTD\); expected plain XML"):
        parse_xml(tmp_path / "a.xml")
    assert time.perf_counter() - started < 0.5


def test_xml_of_great_depth_and_long_names(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a>" * 100_000 + "</a>" * 100_000)
    assert parse_xml(tmp_path / "a.xml").tag == "a"


# archives and columns that unpack to far more than they are


def test_an_npz_that_unpacks_to_terabytes(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 37,)}
    )
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as out,
        out.open("known.npy", "w") as part,
    ):
        part.write(header.getvalue())
        for _ in range(64):
            part.write(b"\0" * (1 << 20))
    with pytest.raises(ValueError, match=r"\w"):
        read_npz(tmp_path / "a.npz", ["known"])
    data = bytearray((tmp_path / "a.npz").read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 0xFFFFFFF0)
    many = data[place : data.rindex(b"PK\x05\x06")]
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 3, 3, 3 * len(many), place, 0)
    (tmp_path / "b.npz").write_bytes(bytes(data[:place]) + bytes(many) * 3 + end)
    with pytest.raises(ValueError, match="bytes once decompressed"):
        read_npz(tmp_path / "b.npz", ["known"])


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", known=np.array([Runs(tmp_path / "sign")], object))
    with pytest.raises(ValueError, match="pickle"):
        read_npz(tmp_path / "a.npz", ["known"])
    assert not (tmp_path / "sign").exists()


def test_a_matlab_variable_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    layouts.make_pa100k(tmp_path)
    packer = zlib.compressobj(1)
    packed = packer.compress(struct.pack("<II", 14, 0xFFFFFF00))
    packed += b"".join(packer.compress(b"\0" * (1 << 24)) for _ in range(17)) + packer.flush()
    head = (tmp_path / "annotation.mat").read_bytes()[:128]
    (tmp_path / "annotation.mat").write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(LabelwiseError, match="more than 268,435,456 bytes once decompressed"):
        read(f"pa100k:{tmp_path}")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (128, 0xFFFF, "a variable of type 65535"),
        (132, 0xFFFFFF, "it ends too early"),
        (144, 17, "class 17"),
        (192, 77, "numbers of type 77"),
        (164, 1 << 30, "numbers in"),
    ],
)
def test_a_matlab_file_that_would_end_its_reader(tmp_path: Path, place: int, value: int, told: str) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "annotation.mat", {"attributes": np.arange(6.0)})
    data = bytearray((tmp_path / "annotation.mat").read_bytes())
    data[place : place + 4] = struct.pack("<I", value)
    (tmp_path / "annotation.mat").write_bytes(data)
    with pytest.raises(LabelwiseError, match=told):
        read(f"pa100k:{tmp_path}")


@pytest.mark.parametrize("source", ["parquet:{}/train.parquet", "hf:{}"])
def test_parquet_of_too_many_rows_or_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    parquet.write_table(pa.table({"image": ["a.jpg"] * 1001, "cat": [1] * 1001}), tmp_path / "train.parquet")
    monkeypatch.setattr(parquet_reader, "MOST_CELLS", 2000)
    with pytest.raises(LabelwiseError, match=r"1,001 rows and 2 columns; expected .* and 2,000 cells"):
        read(source.format(tmp_path))
    monkeypatch.setattr(parquet_reader, "MOST_ROWS", 1000)
    with pytest.raises(LabelwiseError, match="1,001 rows and 2 columns; expected at most 1,000 rows"):
        read(source.format(tmp_path))


# code in data


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_something(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"label": Runs(tmp_path / "sign")}, protocol))
    with pytest.raises(LabelwiseError, match=r"a pickle that imports posix\.system"):
        read_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "sign").exists()


def test_a_pickle_that_makes_room_for_parts_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02Nr\xff\xff\xff\x7f.")
    with pytest.raises(LabelwiseError, match="part 2147483647 of a pickle of 9 bytes"):
        read_pickle(tmp_path / "a.pkl")


def test_a_pickle_of_lists_that_double(tmp_path: Path) -> None:
    doubled: list[Any] = ["ha"]
    for _ in range(60):
        doubled = [doubled, doubled]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"label": doubled}))
    started = time.perf_counter()
    with pytest.raises(LabelwiseError, match="more parts than bytes"):
        read_pickle(tmp_path / "a.pkl")
    assert time.perf_counter() - started < 1


def test_weights_and_states_that_run_something(tmp_path: Path) -> None:
    for name in ("a.pth", "state.pt"):
        torch.save({"a": Runs(tmp_path / "sign"), "progress": {}}, tmp_path / name)
    with pytest.raises(LabelwiseError, match="cannot be read as weights"):
        load_weights(torch.nn.Linear(2, 2), str(tmp_path / "a.pth"))
    with pytest.raises(LabelwiseError):
        load_state(tmp_path / "state.pt")
    assert not (tmp_path / "sign").exists()


def test_no_torch_load_reads_code() -> None:
    root = Path(__file__).parents[2] / "src"
    for file in root.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for call in ("torch.load(", "np.load("):
            for line in text.splitlines():
                if call in line:
                    assert (
                        "weights_only=True" in line or "allow_pickle=False" in line or "mmap_mode" in line
                    ), f"{file}: {line}"
        assert "yaml.load(" not in text or "_Plain)" in text, file


def safetensors(header: Any, body: bytes = b"\0" * 16, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def _tensor(*offsets: int, shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "data",
    [
        safetensors({}, size=1 << 60),
        safetensors({}, size=1 << 31),
        safetensors(b"{" * 100),
        safetensors({"weight": _tensor(0, 8), "bias": _tensor(4, 12)}),
        safetensors({"weight": _tensor(0, 1 << 50, shape=(1 << 48,))}),
        safetensors({"weight": _tensor(8, 0)}),
        safetensors({"weight": _tensor(0, 16, shape=(1 << 62, 4))}),
        safetensors({"weight": _tensor(-8, 8)}),
        to_safetensors({"weight": torch.zeros(3)})[:-4],
    ],
)
def test_headers_of_safetensors_that_lie(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(LabelwiseError, match="cannot be read as weights"):
        load_weights(torch.nn.Linear(2, 2), str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("a: !!python/name:os.system ''", "is not YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]", "a reference"),
        ("a: " + "[" * 5_000, "is not YAML"),
        ("a: &a [*a]", "a reference"),
    ],
)
def test_tags_and_references_of_yaml(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(LabelwiseError, match=told):
        read_yaml(tmp_path / "a.yaml")


# paths


def artefact(folder: Path, file: str) -> Path:
    """An export whose graph is the named file and whose checksums fit."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    labels = LabelSet(("cat",))
    prepared = Preprocessing((8, 8), "squash", (0.5,) * 3, (0.5,) * 3)
    Artefact(folder, "onnx", file, labels, prepared, Decisions.plain(labels), True).save()
    return folder


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "", "..", "a\0b", "link"])
def test_an_export_names_no_file_outside_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"mine")
    folder = artefact(tmp_path / "export", name)
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(LabelwiseError, match="a file inside that folder"):
        Artefact.open(folder)
    (tmp_path / "again").mkdir()
    other = artefact(tmp_path / "again" / "export", "model.onnx")
    (other / "link").symlink_to(tmp_path / "secret")
    sums = json.loads((other / CHECKSUMS).read_text())
    (other / CHECKSUMS).write_text(json.dumps({**sums, name: sha256(tmp_path / "secret")}))
    with pytest.raises(LabelwiseError, match="a file inside that folder"):
        Artefact.open(other)


def test_the_links_of_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    artefact(tmp_path / "export", "model.onnx")
    snapshot, blobs = tmp_path / "cache" / "snapshots" / "revision", tmp_path / "cache" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in (ARTEFACT, CHECKSUMS, "model.onnx"):
        (tmp_path / "export" / name).rename(blobs / name)
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    assert Artefact.open(snapshot).file == "model.onnx"


def test_a_graph_whose_weights_lie_elsewhere(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    from labelwise.export.engines import OnnxRuntime

    (tmp_path / "secret").write_bytes(b"\0" * 16)
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "16")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["images", "w"], ["logits"])],
        "g",
        [value("images", TensorProto.FLOAT, [4])],
        [value("logits", TensorProto.FLOAT, [4])],
        [weights],
    )
    (tmp_path / "export").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "export" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Exception, match=r"(?i)external data|escape|outside|path"):
        OnnxRuntime(tmp_path / "export" / "model.onnx", False)
    assert onnx.__version__


def test_a_table_may_name_files_anywhere_and_says_which_are_not_there(tmp_path: Path) -> None:
    layouts.pictures(tmp_path / "elsewhere", ["a.jpg"])
    (tmp_path / "here").mkdir()
    table = tmp_path / "here" / "t.csv"
    table.write_text(f"image,cat\n{tmp_path}/elsewhere/a.jpg,1\n../elsewhere/a.jpg,1\n")
    assert len(read(f"csv:{table}")) == 2
    table.write_text("image,cat\n../../../../../../../../etc/nothing-there,1\n/dev/zero,1\n")
    with pytest.raises(LabelwiseError, match="2 of 2 image files missing"):
        read(f"csv:{table}")


def test_nothing_is_fetched_that_was_not_allowed() -> None:
    from labelwise.serving.intake import _check_host
    from labelwise.serving.limits import Limits, Refused

    for address in (
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "http://localhost@example.org/",
        "ftp://a/b",
    ):
        with pytest.raises(Refused, match="a host that was allowed: none"):
            _check_host(address, Limits())
    for address in (
        "http://[::1",
        "http://good.example@evil.example/",
        "gopher://good.example/",
        "//good.example/a",
    ):
        with pytest.raises(Refused):
            _check_host(address, Limits(url_hosts=("good.example",)))
