"""Exports for phones: what they refuse and describe, and with the tools installed the answers of their graphs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from everything import NAMES, SIDE, pictures

import labelwise as lw
import tiny_runs
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact, Preprocessing, export_run, phones
from labelwise.export.artefact import FOR_PHONES
from labelwise.export.engines import installed_runtimes
from labelwise.export.graph import graph_file, program_for_phones, write_graph
from labelwise.export.parity import BATCHES
from labelwise.export.phones import CoreML, OneByOne, require_converter
from labelwise.labels import LabelSet
from labelwise.methods import create_model
from labelwise.model import LabelModel

METHODS = ("dlfl", "csra", "ssgrl", "baseline-mlp")
TOOLS = {"executorch": "executorch", "litert": "litert_torch", "coreml": "coremltools"}


def installed(kind: str) -> pytest.MarkDecorator:
    missing = find_spec(TOOLS[kind]) is None
    return pytest.mark.skipif(missing, reason=f"{TOOLS[kind]} is not installed, see .ci/phones")


with_tools = pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=installed(k)) for k in ("executorch", "litert")]
)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Five photographs."""
    tiny_runs.photographs(tmp_path / "photos", 5, 0, 0)
    return [str(tmp_path / "photos" / f"train{i}.jpg") for i in range(5)]


def model_of(method: str, backbone: str = "test_efficientnet") -> LabelModel:
    """A tiny network whose logits differ between labels and images."""
    torch.manual_seed(0)
    model = create_model(method, backbone, NAMES, image_size=SIDE).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if len(NAMES) in p.shape and not key.startswith("backbone."):
                p.normal_()
    return model


@pytest.mark.parametrize("kind", FOR_PHONES)
def test_a_missing_tool_and_another_version_are_refused(
    kind: str, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, wanted = phones.CONVERTERS[kind]

    def absent(name: str) -> str:
        raise phones.PackageNotFoundError(name)

    words = ("export", run_folder, "--format", kind, "--out", tmp_path / "out")
    advice = f"expected {package} {wanted}; run: pip install 'labelwise[{kind}]'"
    monkeypatch.setattr("labelwise.export.exporting.Bench", None)  # nothing is computed
    monkeypatch.setattr(phones, "version", absent)
    assert f"format {kind} without the package {package}; {advice}" in tiny_runs.command(*words).message
    monkeypatch.setattr(phones, "version", lambda name: f"{wanted}9.1")
    assert f"format {kind} with {package} {wanted}9.1; {advice}" in tiny_runs.command(*words).message
    monkeypatch.setattr(phones, "version", lambda name: f"{wanted}.7")
    require_converter(kind)
    assert list(tmp_path.iterdir()) == []


NETWORKS = [*((method, "test_efficientnet") for method in METHODS), ("csra", "test_vit")]


@pytest.mark.parametrize(("method", "backbone"), NETWORKS)
def test_programs_have_nothing_that_converters_refuse(method: str, backbone: str) -> None:
    model = model_of(method, backbone)
    exported = program_for_phones(model, "litert", (SIDE, SIDE), maps=True)
    called = [node for node in exported.graph.nodes if node.op == "call_function"]
    assert not any(torch.channels_last in (*node.args, *node.kwargs.values()) for node in called)
    assert not any("upsample" in str(node.target) for node in called)
    splits = [node for node in called if "split" in str(node.target)]
    assert all(len(node.meta["val"]) > 1 for node in splits)
    shapes = [d for node in called if hasattr(node.meta["val"], "shape") for d in node.meta["val"].shape]
    assert {type(d) for d in shapes} == {int}  # one image: no size is left open
    assert all(tensor.is_contiguous() for tensor in exported.state_dict.values())
    floats = program_for_phones(model, "coreml", (SIDE, SIDE), maps=True).module()
    for seed in range(2):
        image = pictures(1, seed)
        with torch.no_grad():
            expected = model(image, want_maps=True)
        for module, given in ((exported.module(), image), (floats, image.float())):
            logits, maps = module(given)
            torch.testing.assert_close(
                logits, expected.logits, rtol=1e-5, atol=1e-5
            )  # processors round otherwise
            torch.testing.assert_close(maps, expected.maps, rtol=1e-5, atol=1e-5)


class Mean(OneByOne):
    """Two outputs of one image: the mean of each channel, and the image."""

    def _open(self, file: Path) -> tuple[str, None]:
        return file.name, None

    def _answer(self, image: np.ndarray) -> Sequence[np.ndarray]:
        assert image.shape == (1, 3, SIDE, SIDE)
        assert image.dtype == np.uint8
        return [image.mean((2, 3)), image]


def test_a_graph_for_one_image_answers_batches() -> None:
    engine = Mean(Path("means"), has_maps=True)
    for n in BATCHES:
        images = pictures(n, n)
        logits, maps = engine(images, want_maps=True)
        np.testing.assert_allclose(logits, images.float().mean((2, 3)), rtol=1e-6)
        assert np.array_equal(maps, images)
        assert engine(images)[1] is None


@pytest.fixture
def described(tmp_path: Path) -> dict[str, Artefact]:
    """Artefacts of each kind, without a graph that opens."""
    prepared = Preprocessing((48, 64), "squash", (0.5,) * 3, (0.5,) * 3)
    decisions = Decisions(np.full(2, 0.5), np.ones(2), np.zeros(2))
    made = {}
    for kind in FOR_PHONES:
        folder = tmp_path / kind
        folder.mkdir()
        (folder / graph_file(kind)).write_bytes(b"no graph")
        labels = LabelSet(("cat", "dog"))
        made[kind] = Artefact(folder, kind, graph_file(kind), labels, prepared, decisions, has_maps=True)
        made[kind].save()
    return made


def test_an_artefact_states_its_input(described: dict[str, Artefact]) -> None:
    inputs = {}
    for kind, artefact in described.items():
        stored = json.loads((artefact.path / "artefact.json").read_text())
        inputs[kind] = stored["preprocessing"]["input"]
        again = Artefact.open(artefact.path)
        assert (again.kind, again.preprocessing) == (kind, artefact.preprocessing)
    assert inputs["executorch"] == inputs["litert"] == "uint8 RGB [1, 3, height, width]"
    assert inputs["coreml"] == "float32 from 0 to 255, RGB [1, 3, height, width]"


def test_an_export_that_cannot_be_opened_is_one_line(
    described: dict[str, Artefact], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LabelwiseError, match="kind coreml, which needs Core ML of Apple's systems; expected"):
        lw.load(described["coreml"].path)

    def absent(name: str) -> str:
        raise phones.PackageNotFoundError(name)

    monkeypatch.setattr(phones, "version", absent)
    for kind, package in (("executorch", "executorch"), ("litert", "ai-edge-litert")):
        message = f"an export for {kind} without the package {package}; .* run: pip install {package}"
        with pytest.raises(LabelwiseError, match=message):
            lw.load(described[kind].path)


@with_tools
@pytest.mark.parametrize(("method", "backbone"), NETWORKS)
def test_graphs_answer_as_the_model_does(kind: str, method: str, backbone: str, tmp_path: Path) -> None:
    model = model_of(method, backbone)
    file = tmp_path / write_graph(program_for_phones(model, kind, (SIDE, SIDE), maps=True), kind, tmp_path)
    ((_, opened),) = installed_runtimes(kind, file, True)
    engine = opened()
    for n in BATCHES:
        logits, maps = engine(pictures(n, n), want_maps=True)
        with torch.no_grad():
            expected = model(pictures(n, n), want_maps=True)
        np.testing.assert_allclose(logits, expected.logits, rtol=0, atol=1e-4)
        assert np.abs(maps - expected.maps.numpy()).sum((2, 3)).max() < 1e-4


@pytest.fixture(scope="module")
def conv_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a small network."""
    folder = tmp_path_factory.mktemp("conv")
    table = tiny_runs.photographs(folder / "photos")
    options = ("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "32", "--epochs", "1")
    done = tiny_runs.command(
        *("train", "--data", f"csv:{table}", "--out", folder / "run", "--method", "csra", *options),
        *("--batch-size", "4", "--set", "workers=0"),
    )
    assert done.code == 0, done.err
    return folder / "run"


@with_tools
def test_an_export_predicts_as_its_run(kind: str, conv_run: Path, tmp_path: Path, photos: list[str]) -> None:
    export = export_run(conv_run, tmp_path / "out", kind, images=4)
    assert max(export.artefact.card["parity"]["runtimes"].values()) < 1e-4
    answers = lw.load(tmp_path / "out").predict(photos)
    for answer, expected in zip(answers, lw.load(conv_run).predict(photos), strict=True):
        assert answer.selected == expected.selected
        assert answer.scores == pytest.approx(expected.scores, abs=1e-4)


@pytest.mark.parametrize("kind", [pytest.param("coreml", marks=installed("coreml"))])
def test_a_core_ml_graph_is_described_and_not_compared(kind: str, conv_run: Path, tmp_path: Path) -> None:
    outcome = tiny_runs.command("export", conv_run, "--format", kind, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "answers were not compared with the run's" in outcome.out
    artefact = Artefact.open(tmp_path / "out")
    parity = artefact.card["parity"]
    assert parity["inputs"] == {"images": [1, 3, 32, 32]}
    assert list(parity["outputs"]) == ["logits", "maps"]
    with pytest.raises(LabelwiseError, match="a graph that computes on this system"):
        CoreML(artefact.path / artefact.file, True)(pictures(1))


@pytest.mark.parametrize("kind", ["web", "litert"])
def test_decisions_of_a_page_or_a_phone_are_not_in_the_graph(
    run_folder: Path, tmp_path: Path, kind: str
) -> None:
    done = tiny_runs.command("export", run_folder, "--format", kind, "--decide", "--out", tmp_path / "x")
    assert done.code == 2
    assert f"--decide with --format {kind}" in done.err


def test_a_product_with_a_vector_becomes_one_with_a_column() -> None:
    class Scores(torch.nn.Module):
        def forward(self, places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return (places @ weights).softmax(-1)

    example = torch.rand(2, 5, 3), torch.rand(3)
    exported = torch.export.export(Scores(), example).run_decompositions({})
    before = exported.module()(*example)
    after = phones.without_vectors(exported).module()(*example)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    products = [
        node for node in exported.graph.nodes if "matmul" in str(node.target) or "mv" in str(node.target)
    ]
    assert [node.args[1].meta["val"].dim() for node in products] == [2]
