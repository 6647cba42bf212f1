"""A repository for Triton: its files, its configuration in Triton's own schema, and the same folder as an export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import labelwise as lw
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact
from labelwise.export.triton import model_name, require_lines

TYPES = {"TYPE_FP32": "tensor(float)", "TYPE_BOOL": "tensor(bool)", "TYPE_UINT8": "tensor(uint8)"}


@pytest.fixture
def repository(exports: Path) -> Path:
    """The finished run, whose folder is called `finished`."""
    return exports / "run-triton"


def configuration(repository: Path) -> Any:
    """The configuration of the model, read by Triton's schema."""
    pytest.importorskip(
        "tritonclient.grpc", reason="tritonclient, which carries Triton's schema, is not installed"
    )
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (repository / "finished" / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_the_files_are_where_triton_looks_for_them(repository: Path) -> None:
    files = sorted(p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file())
    assert files == [
        "artefact.json",
        "checksums.json",
        "finished/1/model.onnx",
        "finished/config.pbtxt",
        "finished/labels.txt",
    ]
    names = (repository / "finished" / "labels.txt").read_text().splitlines()
    assert tuple(names) == Artefact.open(repository).labels.names


def test_the_configuration_is_of_tritons_schema_and_fits_the_graph(repository: Path) -> None:
    config = configuration(repository)
    assert (config.name, config.platform, config.max_batch_size) == ("finished", "onnxruntime_onnx", 16)
    assert config.dynamic_batching.max_queue_delay_microseconds == 5000
    session = ort.InferenceSession(repository / "finished" / "1" / "model.onnx")
    for declared, tensors in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [tensor.name for tensor in declared] == [tensor.name for tensor in tensors]
        for one, tensor in zip(declared, tensors, strict=True):
            assert TYPES[_type(one)] == tensor.type
            assert list(one.dims) == tensor.shape[1:]
            assert tensor.shape[0] == "batch"
    labelled = [tensor.name for tensor in config.output if tensor.label_filename == "labels.txt"]
    assert labelled == ["probabilities"]


def _type(tensor: Any) -> str:
    return str(
        tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name
    )


def test_the_repository_is_also_an_export(repository: Path, run_folder: Path, tmp_path: Path) -> None:
    tiny_runs.photographs(tmp_path, 3, 0, 0)
    photos = [str(tmp_path / f"train{i}.jpg") for i in range(3)]
    export, run = lw.load(repository), lw.load(run_folder)
    answers = list(export.predict(photos))
    for ours, theirs in zip(run.predict(photos), answers, strict=True):
        assert theirs.scores == pytest.approx(ours.scores, abs=1e-5)
        assert theirs.selected == ours.selected
    session = ort.InferenceSession(repository / "finished" / "1" / "model.onnx")
    images = np.stack([np.asarray(export.transform(export.transform.decode(photo))) for photo in photos])
    p, selected = session.run(["probabilities", "selected"], {"images": images})
    for row, answer in enumerate(answers):
        names = export.labels.names
        np.testing.assert_allclose(p[row], [answer.scores[name] for name in names], atol=1e-6)
        assert {name for name, on in zip(names, selected[row], strict=True) if on} == set(answer.selected)
    outputs = json.loads((repository / "artefact.json").read_text())["outputs"]
    assert outputs == ["logits", "maps", "probabilities", "selected"]


def test_its_configuration_can_be_changed_and_its_graph_cannot(repository: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(repository, tmp_path / "copy")
    with open(folder / "finished" / "config.pbtxt", "a") as file:
        file.write("instance_group [ { count: 2 kind: KIND_CPU } ]\n")
    Artefact.open(folder)
    (folder / "finished" / "labels.txt").write_text("other\n")
    with pytest.raises(LabelwiseError, match=r"labels\.txt, changed since it was exported"):
        Artefact.open(folder)


@pytest.mark.parametrize("name", ["my run", "übung", "a'b", ".hidden", "x" * 101])
def test_names_that_triton_cannot_serve_are_refused(name: str, run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LabelwiseError, match=r"which names the model; expected letters .*; rename the folder"
    ):
        model_name(tmp_path / name)
    if name == "my run":
        run = shutil.copytree(run_folder, tmp_path / name)
        message = tiny_runs.command("export", run, "--format", "triton", "--out", tmp_path / "out").message
        assert "a run in a folder called 'my run'" in message
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["a\nb", " a", "a\u2028b"])
def test_labels_of_several_lines_are_refused(label: str) -> None:
    require_lines(("a b", "c,d", 'e"f'))
    with pytest.raises(LabelwiseError, match=r"which labels\.txt cannot hold"):
        require_lines(("fine", label))
