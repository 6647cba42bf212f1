"""An export with label features stands in for its run in embed and search, within 1e-3 of a cosine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow.compute as pc
import pytest
import torch

import labelwise as lw
import tiny_runs
from labelwise.collection.collection import vectors_of_column
from labelwise.errors import LabelwiseError
from labelwise.export import Artefact
from labelwise.export.artefact import seal
from labelwise.export.exporting import export_run
from tiny_runs import command


@pytest.fixture(scope="module")
def exported(base: Path, run_folder: Path) -> Path:
    """The finished run as ONNX with label features."""
    out = base / "graph with features"
    done = tiny_runs.forked("export", run_folder, "--features", "--images", "6", "--out", out)
    assert done.code == 0, done.err
    assert "features apart by at most" in done.out
    return out


def test_the_graph_gives_the_inputs_of_the_classifiers(
    exported: Path, embedded: tuple[Path, list[str]], run_folder: Path
) -> None:
    artefact = Artefact.open(exported)
    parity = artefact.card["parity"]
    assert parity["max_feature_distance"] < 1e-3
    assert len(parity["runtimes"]) == 2
    stored = json.loads((exported / "artefact.json").read_text())
    assert stored["outputs"] == ["logits", "maps", "features", "whole"]
    outputs = onnx.load(exported / "model.onnx").graph.output
    assert [output.name for output in outputs] == stored["outputs"]
    graph, run = lw.load(exported), lw.load(run_folder)
    assert [p.scores for p in graph.predict(embedded[1][:2])] == [
        pytest.approx(p.scores, abs=1e-4) for p in run.predict(embedded[1][:2])
    ]
    images = torch.stack([run.transform(run.transform.decode(f)) for f in embedded[1][:3]])
    model = run.engine.model  # type: ignore[union-attr]
    with torch.inference_mode():
        output, whole = model(images), model.backbone(images).mean((2, 3)).numpy()
    described = graph.engine.describe(images)  # type: ignore[attr-defined]
    for found, own in ((described.features, output.features.numpy()), (described.whole, whole)):
        np.testing.assert_allclose(found, own / np.linalg.norm(own, axis=-1, keepdims=True), atol=1e-4)


MIRRORED = """
import sys
import torch
from labelwise.export.engines import TorchProgram
from labelwise.export.graph import program, write_graph
from labelwise.runs.run import Run
from pathlib import Path

run, out = Run.open(sys.argv[1]), Path(sys.argv[2])
config = run.config.model_copy(update={"test_time": "flip"})
size = run.config.transform().input_size
write_graph(program(Run(run.path, config, run.labels).model().eval(), size, True, True), "torch", out)
images = torch.randint(256, (3, 3, *size), dtype=torch.uint8)
described = TorchProgram(out / "model.pt2", True, True).describe(images)
model = run.model().eval()
with torch.inference_mode():
    own = torch.nn.functional.normalize(model(images).features, dim=-1).numpy()
assert described.whole.shape[0] == 3
assert abs(described.features - own).max() < 1e-4, abs(described.features - own).max()
"""


def test_a_program_of_mirrored_views_gives_the_features_of_the_first(
    run_folder: Path, tmp_path: Path
) -> None:
    done = tiny_runs.forked(run_folder, tmp_path, script=MIRRORED)
    assert done.code == 0, done.err


def test_embed_and_search_take_it_in_place_of_the_run(
    exported: Path, embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path
) -> None:
    joined, files = embedded
    whole = tmp_path / "whole"
    command("embed", run_folder, *files, "--out", whole, "--all", "--feature", "label", "--workers", "0")
    done = command("embed", exported, *files, "--out", tmp_path / "c", "--all", "--workers", "0")
    assert "100 label features" in done.err
    ours, theirs = lw.Collection.open(tmp_path / "c"), lw.Collection.open(whole)
    assert ours.identity.weights == theirs.identity.weights
    assert not ours.identity.one_feature
    for label in theirs.labels:
        rows = [c.features(label) for c in (ours, theirs)]
        x, y = (vectors_of_column(r["feature"], ours.identity.dim).astype(np.float64) for r in rows)
        assert (1 - (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).max() < 1e-3
        a, b = (pc.list_flatten(r["box"]).to_numpy() for r in rows)
        np.testing.assert_allclose(a, b)
    label = theirs.labels[2]
    words = (files[0], "--label", label, "--top", "6", "--json")
    answers = [
        json.loads(command("search", *given, *words).out)["results"]
        for given in ((whole,), (whole, "--run", exported), (tmp_path / "c",))
    ]
    first = [row["similarity"] for row in answers[0]]
    for other in answers[1:]:
        assert [row["similarity"] for row in other] == pytest.approx(first, abs=1e-3)
    again = command("embed", exported, *files, "--out", whole, "--all").message
    assert "a collection of another model" in again
    refused = command("search", joined, *words, "--run", exported).message
    assert "joined features of a graph" in refused
    assert "give --feature label, or name the run" in refused


def test_graphs_that_cannot_stand_in_are_refused(
    exported: Path, embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path
) -> None:
    whole, files = embedded
    plain = tmp_path / "plain"
    shutil.copytree(exported, plain)
    stored = json.loads((plain / "artefact.json").read_text())
    stored["outputs"] = ["logits", "maps"]
    del stored["card"]["weights_sha256"]
    (plain / "artefact.json").write_text(json.dumps(stored))
    seal(plain)
    message = command("embed", plain, files[0], "--out", tmp_path / "c").message
    assert "a graph without label features (ONNX Runtime" in message
    assert "export again with --features" in message
    label = lw.Collection.open(whole).labels[0]
    searched = command("search", whole, files[0], "--label", label, "--run", plain).message
    assert "an export with --features" in searched
    for given in ({"maps": False}, {"precision": "int8"}):
        with pytest.raises(LabelwiseError, match=r"label features .*; expected maps"):
            export_run(run_folder, tmp_path / "x", "onnx", features=True, **given)
    assert not (tmp_path / "x").exists()
