"""Lower precisions: the quantised nodes, the comparison of mAP, and refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest
import torch
from onnx import TensorProto, numpy_helper
from sklearn.metrics import average_precision_score
from small_graphs import pictures, save_graph, scoped
from torch import Tensor

import labelwise as lw
import tiny_runs
from labelwise.data.dataset import Dataset
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact, bench, precision
from labelwise.export.accuracy import Accuracy, LabelAP, measure_accuracy
from labelwise.export.engines import OpenVINO
from labelwise.export.exporting import export_run
from labelwise.types import LabelSet

NAMES = ("cat", "dog", "owl")
VERSION_1 = Path(__file__).parent / "version1"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Three convolutions that change nothing, one with a ReLU6, the mean over places, a linear head."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(5, 3, 1, 1)) * [[[[8]]], [[[1]]], [[[1]]], [[[1]]], [[[0.1]]]]
    nodes = [
        scoped("Conv", ["shares3", "kernel"], "map"),
        scoped("Clip", ["map", "low", "high"], "clipped"),
    ]
    return save_graph(tmp_path / "model.onnx", rng, nodes, {"kernel": kernel.astype(np.float32)})


def answers(file: Path, images: Tensor) -> np.ndarray:
    return ort.InferenceSession(file).run(["logits"], {"images": images.numpy()})[0]


def test_the_backbone_is_quantised_and_nothing_else(graph: Path, tmp_path: Path) -> None:
    precision.quantise(graph, tmp_path / "int8.onnx", iter([pictures(8, 1), pictures(8, 2)]))
    made = onnx.load(tmp_path / "int8.onnx").graph
    held = {i.name: numpy_helper.to_array(i) for i in made.initializer}
    assert [n.op_type for n in made.node if n.input and "head" in n.input] == ["MatMul"]
    assert all(held[name].dtype == np.float32 for name in ("head", "same0", "same1", "same2"))
    q, s = held["kernel_quantized"], held["kernel_scale"]
    real = {i.name: numpy_helper.to_array(i) for i in onnx.load(graph).graph.initializer}["kernel"]
    most = np.abs(real).max((1, 2, 3))
    np.testing.assert_allclose(s, most / 64, rtol=1e-5)  # a scale a channel, 7 bits
    assert np.array_equal(q, np.round(real / s[:, None, None, None]).astype(np.int8))
    assert np.abs(q).max() == 64
    inputs = {n.op_type: n.input[0] for n in made.node}
    assert inputs["Cast"] == "images"
    assert made.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_the_scales_cover_what_was_seen(graph: Path, tmp_path: Path) -> None:
    precision.quantise(graph, tmp_path / "int8.onnx", iter([pictures(64, 1)]))
    images = pictures(32, 3)
    apart = np.abs(answers(tmp_path / "int8.onnx", images) - answers(graph, images)).max()
    assert 0 < apart < 0.05
    # Black images alone say nothing of the range, and nearly all is cut off.
    precision.quantise(graph, tmp_path / "dark.onnx", iter([torch.zeros(8, 3, 4, 4, dtype=torch.uint8)]))
    assert np.abs(answers(tmp_path / "dark.onnx", images) - answers(graph, images)).max() > 0.5


def test_a_backbone_of_too_few_layers_is_refused(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    for made in model.graph.node[:3]:  # the first of the convolutions is then no part of it
        del made.metadata_props[:]
    onnx.save(model, graph)
    message = (
        "a graph with too few weights in its backbone; expected four layers or more; give --precision fp32"
    )
    with pytest.raises(LabelwiseError, match=message):
        precision.quantise(graph, tmp_path / "x.onnx", iter([pictures(1, 0)]))


class Fixed:
    """An engine with fixed outputs by image."""

    def __init__(self, logits: np.ndarray, maps: np.ndarray | None = None) -> None:
        self.name, self.has_maps, self._logits, self._maps = "the copy", maps is not None, logits, maps

    def __call__(self, images: Tensor, want_maps: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        index = images[:, 0, 0, 0].numpy()
        return self._logits[index], self._maps[index] if want_maps and self._maps is not None else None


def labelled(n: int = 40) -> tuple[Dataset, np.ndarray]:
    """Rows with some unknown cells, and logits that correlate with them."""
    rng = np.random.default_rng(3)
    values = rng.integers(0, 2, (n, 3)).astype(np.uint8)
    known = rng.random((n, 3)) < 0.8
    rows = Dataset(
        LabelSet(NAMES), pa.array([str(i) for i in range(n)]), None, values * known, known, source="rows"
    )
    return rows, (values + rng.normal(size=(n, 3))).astype(np.float32)


def batched(rows: list[int], size: int = 7) -> list[tuple[list[int], Tensor]]:
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [(p, torch.tensor(p, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)) for p in parts]


def plain() -> Decisions:
    return Decisions(np.array([0.5, 0.4, 0.6]), np.ones(3), np.zeros(3))


def test_the_figures_are_those_of_scikit_learn() -> None:
    rows, ours = labelled()
    seen = [i for i in range(len(rows)) if i not in (4, 17)]  # two that could not be read
    theirs = ours + np.float32(1e-3) * np.arange(3, dtype=np.float32)
    accuracy = measure_accuracy(Fixed(ours), Fixed(theirs), batched(seen), rows, plain())
    y, k = rows.values[seen], rows.known[seen]
    ap = [average_precision_score(y[k[:, j], j], ours[seen][k[:, j], j]) for j in range(3)]
    assert accuracy.run == pytest.approx(np.mean(ap), abs=1e-9)
    assert accuracy.export == pytest.approx(accuracy.run, abs=1e-12)  # a shift of a label keeps its ranks
    p, q = (1 / (1 + np.exp(-np.float64(z[seen]))) for z in (ours, theirs))
    t = np.array([0.5, 0.4, 0.6])
    assert accuracy.equal == ((p >= t) == (q >= t)).mean()
    assert accuracy.probability == pytest.approx(np.abs(p - q).max(), rel=1e-9)
    assert (accuracy.images, accuracy.maps) == (38, None)


def test_another_map_is_refused_with_figure_and_bar() -> None:
    rows, ours = labelled()
    theirs = ours.copy()
    theirs[:, 1] *= -1
    message = (
        r"the copy on 40 images: mAP \d\d\.\d\d beside the run's \d\d\.\d\d, \d\d\.\d\d% of the decisions equal, "
        r"largest difference of a probability \d\.\de-01; expected an mAP at most 0\.1 point below the run's, and no "
        r"label with 10 positives or more to lose over 2 points of AP: dog \d\d\.\d beside \d\d\.\d; "
        r"give --precision fp32; nothing was written"
    )
    with pytest.raises(LabelwiseError, match=message):
        measure_accuracy(Fixed(ours), Fixed(theirs), batched(list(range(40))), rows, plain()).demand(
            "the copy"
        )


def swapped(rows: Dataset, ours: np.ndarray, label: int) -> np.ndarray:
    """Logits whose label has the highest positive at the bottom of the ranking."""
    theirs = ours.copy()
    cells = np.flatnonzero(rows.positive[:, label])
    theirs[cells[ours[cells, label].argmax()], label] = ours[:, label].min() - 1
    return theirs


def test_a_label_that_loses_is_named_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the mean over labels holds."""
    rows, ours = labelled(200)
    theirs = swapped(rows, ours, 1)
    for _ in range(12):
        theirs = swapped(rows, theirs, 1)
    theirs[rows.positive[:, 0], 0] += np.float32(0.5)  # another label gains
    accuracy = measure_accuracy(Fixed(ours), Fixed(theirs), batched(list(range(200)), 40), rows, plain())
    k, y = rows.known[:, 1], rows.positive[:, 1]
    before, after = (average_precision_score(y[k], z[k, 1]) for z in (ours, theirs))
    assert before - after > 0.02
    found = accuracy.labels["dog"]
    assert (found.run, found.export) == (pytest.approx(before, abs=1e-9), pytest.approx(after, abs=1e-9))
    assert found.positives == y.sum()
    assert list(accuracy.worse) == ["dog"]
    assert not accuracy.not_judged
    monkeypatch.setattr("labelwise.export.accuracy.BAR", 1.0)
    assert not accuracy.passes
    message = (
        "expected an mAP at most 100 point below the run's, and no label with 10 positives or more to lose over 2 "
        f"points of AP: dog {100 * after:.1f} beside {100 * before:.1f}; give"
    )
    with pytest.raises(LabelwiseError, match=message):
        accuracy.demand("the copy")


@pytest.mark.parametrize(
    ("positives", "loss", "passes"), [(10, 0.0201, False), (10, 0.0199, True), (9, 0.5, True)]
)
def test_the_bar_of_a_label_is_two_points(positives: int, loss: float, passes: bool) -> None:
    """Where it has ten positives; a rare label is named instead."""
    labels = {"cat": LabelAP(0.9, 0.9, 50), "owl": LabelAP(0.9, 0.9 - loss, positives)}
    accuracy = Accuracy(100, 0.9, 0.9, 1.0, 0.0, None, labels)
    assert accuracy.passes is passes
    assert accuracy.not_judged == ({"owl": 9} if positives < 10 else {})
    assert ("too few positives to judge the label: owl (9)" in str(accuracy)) is (positives < 10)
    card = accuracy.to_json()
    assert card["AP"]["owl"] == {"run": 0.9, "export": 0.9 - loss}
    assert card["bounds"] == {"mAP": 0.001, "loss_of_a_label": 0.02, "positives_of_a_judged_label": 10}


@pytest.mark.parametrize(
    ("export", "passes"),
    [(0.8, True), (0.8009, True), (0.7991, True), (0.8011, True), (0.7989, False), (np.nan, False)],
)
def test_the_mean_may_fall_by_a_tenth_of_a_point(export: float, passes: bool) -> None:
    assert Accuracy(10, 0.8, export, 1.0, 0.0, None).passes is passes


def test_what_is_no_number_is_refused() -> None:
    rows, ours = labelled()
    theirs = ours.copy()
    theirs[5, 2] = np.nan
    with pytest.raises(LabelwiseError, match="mAP nan beside the run's"):
        measure_accuracy(Fixed(ours), Fixed(theirs), batched(list(range(40))), rows, plain()).demand(
            "the copy"
        )


def test_maps_are_reported_and_labels_are_required() -> None:
    rows, ours = labelled()
    even = np.full((40, 3, 2, 2), 0.25, np.float32)
    other = even.copy()
    other[:, :, 0, 0], other[:, :, 1, 1] = 0.35, 0.15
    accuracy = measure_accuracy(
        Fixed(ours, even), Fixed(ours, other), batched(list(range(40))), rows, plain()
    )
    assert accuracy.maps == pytest.approx(0.1, rel=1e-5)
    assert str(accuracy).endswith(
        "100.00% of the decisions equal, largest difference of a probability 0.0e+00, maps apart by 1.0e-01"
    )
    nothing = rows.with_known(np.zeros_like(rows.known))
    with pytest.raises(
        LabelwiseError, match="rows without a readable image that has a label; expected labelled"
    ):
        measure_accuracy(Fixed(ours), Fixed(ours), batched(list(range(40))), nothing, plain())


def test_a_precision_is_judged_by_labels_with_both_states() -> None:
    """Labels with only positive and unknown cells have no mAP: one is listed, and if all are so, an error is raised."""
    rows, ours = labelled()
    blank = rows.known.copy()
    blank[:, 1] = rows.positive[:, 1]
    accuracy = measure_accuracy(
        Fixed(ours), Fixed(ours), batched(list(range(40))), rows.with_known(blank), plain()
    )
    lacking = {rows.labels.names[1]: "no known negative"}
    assert accuracy.to_json()["labels_without_AP"] == lacking
    assert str(accuracy).endswith(f"; left out of the mAP: {rows.labels.names[1]} (no known negative)")
    judged = [(rows.positive[k, j], ours[k, j]) for j in (0, 2) if (k := rows.known[:, j]).any()]
    expected = np.mean([average_precision_score(y, z) for y, z in judged])
    assert accuracy.run == pytest.approx(expected, abs=1e-9)
    with pytest.raises(LabelwiseError) as error:
        measure_accuracy(
            Fixed(ours), Fixed(ours), batched(list(range(40))), rows.with_known(rows.positive), plain()
        )
    assert "40 images of rows in which no label has both a known positive and a known negative" in str(
        error.value
    )


@pytest.fixture
def ready(exports: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run's ONNX graph, written by another process, instead of tracing."""

    def write(_: None, kind: str, folder: Path) -> str:
        if kind != "onnx":
            raise LabelwiseError(f"{kind}, left out here", "onnx", "go on")
        return Path(shutil.copy(exports / "run-onnx" / "model.onnx", folder)).name

    monkeypatch.setattr(bench, "program", lambda *_: None)
    monkeypatch.setattr(bench, "write_graph", write)
    monkeypatch.setattr(bench, "write_openvino", lambda source, file: write(None, "openvino", file.parent))
    return exports


def kept(source: Path, target: Path, images: object) -> None:
    """Replaces quantisation by a copy of the graph, which has the same mAP."""
    shutil.copy(source, target)


def left_out(source: Path, target: Path, images: object) -> None:
    """Replaces quantisation by a refusal."""
    raise LabelwiseError("NNCF, left out here", "onnx", "go on")


def dark(real: Callable) -> Callable:
    """Quantisation calibrated on black images only."""
    return lambda source, target, images: real(source, target, (torch.zeros_like(batch) for batch in images))


def test_int8_is_exported_and_answers(
    run_folder: Path, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bar in ("BAR", "LABEL_BAR"):  # a network of random weights cannot hold the real ones
        monkeypatch.setattr(f"labelwise.export.accuracy.{bar}", 1.0)
    out = tmp_path / "int8"
    outcome = tiny_runs.command("export", run_folder, "--out", out, "--precision", "int8", "--json")
    assert outcome.code == 0, outcome.err
    card = json.loads(outcome.out)
    assert (card["kind"], card["precision"], card["parity"]["images"]) == ("onnx", "int8", 16)
    assert card["parity"]["max_probability_difference"] > 1e-4  # more than an export in fp32 may
    artefact = Artefact.open(out)
    assert artefact.precision == "int8"
    assert artefact.card["parity"] == card["parity"]
    assert lw.load(out).engine.name.endswith("(cpu, int8)")
    assert any(n.op_type == "QuantizeLinear" for n in onnx.load(out / "model.onnx").graph.node)
    assert sorted(p.name for p in out.iterdir()) == ["artefact.json", "checksums.json", "model.onnx"]


def test_int8_that_loses_is_refused_and_leaves_nothing(
    run_folder: Path, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "quantise", dark(bench.quantise))
    outcome = tiny_runs.command("export", run_folder, "--out", tmp_path / "x", "--precision", "int8")
    assert outcome.code == 2
    assert "(cpu, int8) on 16 images: mAP" in outcome.message
    assert "expected an mAP at most 0.1 point below the run's; give --precision fp32" in outcome.message
    assert list(tmp_path.iterdir()) == []


def test_auto_keeps_what_passes_and_says_what_did_not(
    run_folder: Path, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("export", run_folder, "--format", "auto", "--precision", "auto")
    monkeypatch.setattr(bench, "quantise", dark(bench.quantise))
    monkeypatch.setattr(bench, "quantise_openvino", left_out)
    monkeypatch.setattr(precision, "computes_bf16", lambda: False)
    outcome = tiny_runs.command(*arguments, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.partition(":")[0] for line in lines if "refused" in line] == [
        "openvino in fp32", "torch in fp32", "openvino in bf16", "onnx in int8", "openvino in int8",
    ]  # fmt: skip
    assert "bf16 on a processor that does not compute in it" in outcome.out
    assert "ms an image" in lines[0]
    assert Artefact.open(tmp_path / "a").precision == "fp32"
    monkeypatch.setattr(bench, "quantise", kept)
    times = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr("labelwise.export.engines.seconds_per_image", lambda *_: next(times))
    export = export_run(run_folder, tmp_path / "b", "auto", precision="auto")
    assert (export.artefact.precision, list(export.seconds.values())) == ("int8", [0.3, 0.1, 0.2])
    assert "onnx in int8" not in export.refused


def test_calibrated_on_training_images(
    run_folder: Path, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def quantise(source: Path, target: Path, images: Any) -> None:
        seen.extend(images)
        kept(source, target, images)

    monkeypatch.setattr(bench, "quantise", quantise)
    export_run(run_folder, tmp_path / "x", precision="int8", images=3)
    run = lw.load(run_folder)
    source = lw.runs.Run.open(run_folder).config.data.source
    rows = lw.data.read(source).split("train")
    images = [run.transform(lw.data.decode_image(rows.encoded(i), shrink_to=32)) for i in range(len(rows))]
    assert torch.equal(torch.cat(seen), torch.stack(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--format", "torch", "--precision", "int8"),
            "int8 as torch; expected int8 as onnx or openvino; correct --format",
        ),
        (("--format", "onnx", "--precision", "bf16"), "bf16 as onnx; expected bf16 as openvino"),
        (
            ("--format", "openvino", "--precision", "bf16"),
            "bf16 on a processor that does not compute in it; expected a processor with the capability BF16",
        ),
        (
            ("--format", "openvino", "--precision", "int8"),
            "int8 as openvino without the package nncf; expected that package; run: pip install 'labelwise[nncf]'",
        ),
    ],
)
def test_unavailable_precisions_are_refused(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda: False)
    monkeypatch.setattr(precision, "find_spec", lambda name: None)
    outcome = tiny_runs.command("export", run_folder, *options, "--out", tmp_path / "x")
    assert (outcome.code, list(tmp_path.iterdir())) == (2, [])
    assert message in outcome.message


def test_a_precision_that_does_not_exist(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match="precision 'int4'; expected fp32, bf16, int8 or auto; correct"):
        export_run(run_folder, tmp_path / "x", "onnx", precision="int4")


def test_bf16_computes_what_the_processor_can(exports: Path) -> None:
    """In bf16 where it can, and in fp32, without a fault, where it cannot; the name says which."""
    file, images = exports / "run-onnx" / "model.onnx", torch.randint(0, 256, (3, 3, 32, 32)).to(torch.uint8)
    plain, half = OpenVINO(file, True), OpenVINO(file, True, precision="bf16")
    assert plain.name.endswith("(cpu)")
    assert half.name.endswith("(cpu, bf16)" if precision.computes_bf16() else "(cpu)")
    apart = np.abs(plain(images)[0] - half(images)[0]).max()
    assert apart < 0.1
    assert precision.computes_bf16() or apart < 1e-5


SIGNALLED = """
import faulthandler, os, signal, sys
from pathlib import Path

faulthandler.enable()
from labelwise.export.engines import OpenVINO

first, second = OpenVINO(Path(sys.argv[1]), True), OpenVINO(Path(sys.argv[1]), True)
del first
del second
signal.signal(signal.SIGUSR1, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_after_several_engines(exports: Path) -> None:
    """With a stack for signals already set aside, as `faulthandler` does."""
    done = tiny_runs.forked(exports / "run-onnx" / "model.onnx", script=SIGNALLED)
    assert (done.code, done.out) == (0, "handled\n"), done.err


def test_what_an_artefact_computes_in(tmp_path: Path) -> None:
    """One of version 1, which does not say, computes in fp32."""
    assert Artefact.open(VERSION_1).precision == "fp32"
    folder = Path(shutil.copytree(VERSION_1, tmp_path / "a"))
    stored = json.loads((folder / "artefact.json").read_text())
    assert "precision" not in stored
    for word in ("int8", "int4"):
        (folder / "artefact.json").write_text(json.dumps({**stored, "precision": word}))
        lw.export.artefact.seal(folder)
        if word == "int8":
            assert Artefact.open(folder).precision == "int8"
    with pytest.raises(LabelwiseError, match="'int4', which is none of fp32, bf16, int8"):
        Artefact.open(folder)
