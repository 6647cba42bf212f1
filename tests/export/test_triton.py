"""A repository for Triton: its files, its configuration in Triton's own schema, and the same folder as an export."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact
from labelwise.export.artefact import seal
from labelwise.export.triton import model_name, require_lines, to_repository
from labelwise.inference.predictor import of_artefact

HERE = Path(__file__).parent / "version1"
TYPES = {"TYPE_FP32": "tensor(float)", "TYPE_BOOL": "tensor(bool)", "TYPE_UINT8": "tensor(uint8)"}


def with_decisions(artefact: Artefact) -> Artefact:
    """The artefact with two outputs more: the sigmoid of its logits, and whether it is over one half."""
    file = artefact.path / artefact.file
    model = onnx.load(file)
    count = len(artefact.labels)
    model.graph.node.append(helper.make_node("Sigmoid", ["logits"], ["probabilities"]))
    model.graph.node.append(helper.make_node("Constant", [], ["half"], value_float=0.5))
    model.graph.node.append(helper.make_node("Greater", ["probabilities", "half"], ["selected"]))
    for name, kind in (("probabilities", TensorProto.FLOAT), ("selected", TensorProto.BOOL)):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, ["batch", count]))
    onnx.save(model, file)
    return replace(artefact, has_decisions=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small export as a repository with the model `mine`."""
    folder = shutil.copytree(HERE, tmp_path / "repository")
    to_repository(with_decisions(Artefact.open(folder)), "mine")
    return folder


def configuration(repository: Path) -> Any:
    """The configuration of the model, read by Triton's schema."""
    pytest.importorskip(
        "tritonclient.grpc", reason="tritonclient, which carries the schema, is not installed"
    )
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (repository / "mine" / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_the_files_are_where_triton_looks_for_them(repository: Path) -> None:
    files = sorted(p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file())
    expected = [
        "artefact.json",
        "checksums.json",
        "mine/1/model.onnx",
        "mine/config.pbtxt",
        "mine/labels.txt",
    ]
    assert files == expected
    names = (repository / "mine" / "labels.txt").read_text().splitlines()
    assert tuple(names) == Artefact.open(repository).labels.names


def test_the_configuration_is_of_tritons_schema_and_fits_the_graph(repository: Path) -> None:
    config = configuration(repository)
    assert (config.name, config.platform, config.max_batch_size) == ("mine", "onnxruntime_onnx", 16)
    assert config.dynamic_batching.max_queue_delay_microseconds == 5000
    session = ort.InferenceSession(repository / "mine" / "1" / "model.onnx")
    for declared, tensors in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [tensor.name for tensor in declared] == [tensor.name for tensor in tensors]
        for one, tensor in zip(declared, tensors, strict=True):
            kinds = type(one).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
            assert TYPES[kinds[one.data_type].name] == tensor.type
            assert list(one.dims) == tensor.shape[1:]
            assert isinstance(tensor.shape[0], str), "any number of images"
    labelled = [tensor.name for tensor in config.output if tensor.label_filename == "labels.txt"]
    assert labelled == ["probabilities"]


def test_the_repository_is_also_an_export(repository: Path, tmp_path: Path) -> None:
    tiny_runs.photographs(tmp_path, 3, 0, 0)
    photos = [str(tmp_path / f"train{i}.jpg") for i in range(3)]
    export = of_artefact(Artefact.open(repository))
    for ours, theirs in zip(
        of_artefact(Artefact.open(HERE)).predict(photos), export.predict(photos), strict=True
    ):
        assert (ours.scores, ours.selected) == (theirs.scores, theirs.selected)
    engine: Any = export.engine
    assert engine.has_decisions
    images = np.stack([np.asarray(export.transform(export.transform.decode(photo))) for photo in photos])
    logits, p, selected = engine.decide(images)
    np.testing.assert_array_equal(logits, engine(images)[0])
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_array_equal(selected, p > 0.5)


def test_its_configuration_can_be_changed_and_its_graph_cannot(repository: Path) -> None:
    with open(repository / "mine" / "config.pbtxt", "a") as file:
        file.write("instance_group [ { count: 2 kind: KIND_CPU } ]\n")
    Artefact.open(repository)
    assert configuration(repository).instance_group[0].count == 2
    (repository / "mine" / "labels.txt").write_text("other\n")
    with pytest.raises(LabelwiseError, match=r"labels\.txt, changed since it was exported"):
        Artefact.open(repository)
    seal(repository)
    Artefact.open(repository)


@pytest.mark.parametrize("name", ["my run", "übung", "a'b", ".hidden", "x" * 101])
def test_names_that_triton_cannot_serve_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        LabelwiseError, match=r"which names the model; expected letters .*; rename the folder"
    ):
        model_name(tmp_path / name)


@pytest.mark.parametrize("label", ["a\nb", " a", "a\u2028b"])
def test_labels_of_several_lines_are_refused(label: str) -> None:
    require_lines(("a b", "c,d", 'e"f'))
    with pytest.raises(LabelwiseError, match=r"which labels\.txt cannot hold"):
        require_lines(("fine", label))
