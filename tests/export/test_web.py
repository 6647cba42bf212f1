"""A folder for browsers: its module in Node beside Python, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import labelwise as lw
from labelwise.data.fixed import FixedTransform, shown_part
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export import web_runtime
from labelwise.export.artefact import Artefact, Preprocessing, seal
from labelwise.export.exporting import export_run
from labelwise.export.web import require_web
from labelwise.export.web_runtime import copy_runtime
from labelwise.labels import LabelSet
from labelwise.rules import Rules
from web_folder import fake_package, in_node, web_folder, written

BROWSER = Path(web_runtime.__file__).parent / "browser"
HALF = (0.5, 0.5, 0.5)
RESIZED = """import { readFileSync } from "node:fs";
const [script, list, out] = process.argv.slice(1);
const { sheet, shownWindow } = await import(`file://${script}`);
const fs = await import("node:fs");
JSON.parse(readFileSync(list)).forEach(({ file, width, height, sizes, resize }, i) => {
  const image = { data: new Uint8Array(readFileSync(file)), width, height };
  fs.writeFileSync(`${out}/${i}.out`, sheet(image, sizes, resize).data);
  const { top, left, height: h, width: w } = shownWindow(height, width, sizes[0], resize);
  console.log(JSON.stringify([left / width, top / height, (left + w) / width, (top + h) / height]));
});"""
ANSWERED = """import { readFileSync } from "node:fs";
const [folder, list] = process.argv.slice(1);
const { load } = await import(`file://${folder}/labelwise.js`);
const model = await load();
for (const { file, width, height } of JSON.parse(readFileSync(list))) {
  const image = { data: new Uint8Array(readFileSync(file)), width, height };
  console.log(JSON.stringify(await model.predict(image, { maps: true })));
}"""
LINE = """const [folder, act] = process.argv.slice(1);
const { load, decode } = await import(`file://${folder}/labelwise.js`);
const acts = {
  load: () => load(),
  webgpu: () => load(undefined, { provider: "webgpu" }),
  tpu: () => load(undefined, { provider: "tpu" }),
  blob: () => decode(new Blob(["x"])), short: () => decode({ data: new Uint8Array(5), width: 2, height: 1 }),
};
console.log(JSON.stringify(await acts[act]().then(() => "", (error) => error.message)));"""


def test_resizing_equals_pythons_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases: list[tuple[np.ndarray, Preprocessing]] = []
    for i in range(60):
        height, width = (int(side) for side in rng.integers(1, 90, 2))
        size = int(rng.integers(8, 60)), int(rng.integers(8, 60))
        larger = (int(rng.integers(8, 70)), 33) if i % 5 == 4 else None
        if i < 4:  # one side stays, or both
            size = ((max(height, 8), 20), (20, max(width, 8)), (max(height, 8), max(width, 8)), (8, 8))[i]
        # Noise, and pixels at the ends of the range, where sums leave it.
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        cases.append(
            (
                image if i % 2 else image // 128 * 255,
                Preprocessing(size, ("squash", "crop")[i % 3 == 0], HALF, HALF, larger=larger),
            )
        )
    cases.append(
        (
            rng.integers(0, 256, (700, 1100, 3), dtype=np.uint8),
            Preprocessing((224, 224), "squash", HALF, HALF),
        )
    )
    listed = written([image for image, _ in cases], tmp_path / "raw")
    told = json.loads(listed.read_text())
    listed.write_text(
        json.dumps(
            [{**one, "sizes": p.sizes, "resize": p.resize} for one, (_, p) in zip(told, cases, strict=True)]
        )
    )
    parts = in_node(RESIZED, BROWSER / "resize.js", listed, tmp_path / "raw")
    for i, ((image, prepared), part) in enumerate(zip(cases, parts, strict=True)):
        expected = FixedTransform(prepared)(image.transpose(2, 0, 1))
        assert (tmp_path / "raw" / f"{i}.out").read_bytes() == expected.tobytes(), (image.shape, prepared)
        assert tuple(part) == pytest.approx(shown_part(prepared, *image.shape[:2]))


def drawn(i: int, rng: np.random.Generator) -> tuple[LabelSet, Decisions]:
    """Labels with decisions of each kind: thresholds, groups, implications, exactly one, a limit, never selected."""
    names = tuple("abcdefgh")
    rules = (
        Rules(),
        Rules(at_most_one=(("a", "b", "c"),)),
        Rules(implies=(("a", "b"), ("b", "c"), ("d", "c"))),
        Rules(exactly_one=(("e", "f", "g"),)),
        Rules((("a", "b"),), (("e", "f"),), (("b", "c"),)),
        Rules((("a", "b"), ("c", "b")), (("b", "d"),)),
    )[i % 6]
    labels = LabelSet(names, rules=rules)
    indexed = rules.over(names)
    thresholds = rng.choice([0.1, 0.3, 0.5, 0.7], 8)
    return labels, Decisions(
        thresholds, rng.uniform(0.5, 2, 8), rng.normal(0, 0.5, 8), indexed.at_most_one, (0, 2)[i % 2], "val",
        (7,) if i % 4 == 0 else (), indexed.implies, indexed.exactly_one,
    )  # fmt: skip


@pytest.mark.parametrize("kind", range(12))
def test_decisions_and_maps_equal_those_of_the_predictor(
    kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(kind)
    labels, decisions = drawn(kind, rng)
    prepared = Preprocessing((16, 16), "crop", HALF, HALF, larger=(24, 24) if kind == 5 else None)
    predictor = web_folder(tmp_path / "web", labels, decisions, prepared, monkeypatch)
    images = [rng.integers(0, 256, (20 + i % 7, 30, 3), dtype=np.uint8) for i in range(40)]
    answers = in_node(ANSWERED, tmp_path / "web", written(images, tmp_path / "raw"))
    for ours, theirs in zip(predictor.predict(images, maps=True), answers, strict=True):
        assert theirs["selected"] == ours.selected
        assert [label["name"] for label in theirs["labels"]] == list(ours.scores)
        assert theirs["shown"] == pytest.approx(ours.shown)
        for label in theirs["labels"]:
            assert label["score"] == pytest.approx(ours.scores[label["name"]], abs=1e-12)
            assert np.allclose(label["map"], ours.map(label["name"]), atol=1e-7)


def test_transparent_pixels_lie_over_white_as_in_pillow(tmp_path: Path) -> None:
    y, x = np.mgrid[:256, :256].astype(np.uint8)
    pixels = np.stack([x, 255 - x, x // 2, y], -1)  # every alpha with every value
    over = Image.fromarray(pixels)
    expected = np.asarray(Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB"))
    script = """import { readFileSync, writeFileSync } from "node:fs";
    const [module, list, out] = process.argv.slice(1);
    const { decode } = await import(`file://${module}`);
    const [{ file, width, height }] = JSON.parse(readFileSync(list));
    writeFileSync(out, (await decode({ data: new Uint8Array(readFileSync(file)), width, height })).data);"""
    shutil.copytree(BROWSER, tmp_path / "module")
    shutil.copy(BROWSER.parents[1] / "serving" / "page" / "decide.js", tmp_path / "module")
    in_node(
        script, tmp_path / "module" / "labelwise.js", written([pixels], tmp_path / "raw"), tmp_path / "out"
    )
    assert (tmp_path / "out").read_bytes() == expected.tobytes()


def change(folder: Path, name: str, **entries: Any) -> None:
    stored = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**stored, **entries}))
    seal(folder)


def remove(folder: Path, name: str) -> None:
    (folder / name).unlink()
    seal(folder)


FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a changed graph": (
        lambda f: (f / "model.onnx").write_bytes(b"other"),
        "load",
        "model.onnx, changed since it was exported",
    ),
    "a changed runtime": (
        lambda f: (f / "onnxruntime-web" / "ort-wasm-simd-threaded.wasm").write_bytes(b"x"),
        "load",
        "wasm, changed since",
    ),
    "a missing file": (
        lambda f: (f / "model.onnx").unlink(),
        "load",
        "model.onnx (ENOENT); expected every file of the export",
    ),
    "another kind": (
        lambda f: change(f, "artefact.json", kind="openvino"),
        "load",
        "an export of kind openvino",
    ),
    "a plain export": (lambda f: remove(f, "web.json"), "load", "expected a folder of --format web"),
    "a newer format": (
        lambda f: change(f, "artefact.json", format_version=99),
        "load",
        "artefact.json of format version 99",
    ),
    "a newer page": (
        lambda f: change(f, "web.json", format_version=9),
        "load",
        "web.json of format version 9",
    ),
    "no JSON": (
        lambda f: (f / "checksums.json").write_text("<html>"),
        "load",
        "checksums.json, which is not JSON",
    ),
    "other answers": (lambda f: change(f, "web.json", check=[0.0] * 8), "load", "wasm with a probability"),
    "WebGPU in Node": (lambda f: None, "webgpu", "provider webgpu without a WebGPU adapter"),
    "another provider": (lambda f: None, "tpu", 'provider "tpu"; expected auto, wasm or webgpu'),
    "a file in Node": (lambda f: None, "blob", "an image file where nothing decodes it"),
    "pixels of another number": (lambda f: None, "short", "5 values for 2 x 1 pixels"),
    "nothing wrong": (lambda f: None, "load", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, decisions = drawn(0, np.random.default_rng(0))
    folder = tmp_path / "web"
    web_folder(folder, labels, decisions, Preprocessing((16, 16), "squash", HALF, HALF), monkeypatch)
    damage, act, expected = FAULTS[fault]
    damage(folder)
    (line,) = in_node(LINE, folder, act)
    assert expected in line
    assert bool(line) == bool(expected)
    assert "\n" not in line


def test_what_a_page_cannot_do_is_refused_before_anything_is_computed(
    run_folder: Path, tmp_path: Path
) -> None:
    labels, decisions = drawn(1, np.random.default_rng(0))
    with pytest.raises(LabelwiseError, match="int8 as web; expected fp32"):
        export_run(run_folder, tmp_path / "out", "web", precision="int8")
    with pytest.raises(LabelwiseError, match="16-bit grey uses 12 bits"):
        require_web("fp32", 12, decisions, labels)
    names = tuple(f"{kind}{i}" for kind in "ab" for i in range(14))
    pairs = [*((f"a{i}", f"b{i}") for i in range(14)), *((f"b{i}", f"a{i + 1}") for i in range(13))]
    many = LabelSet(names, rules=Rules(at_most_one=tuple(pairs)))
    with pytest.raises(LabelwiseError, match="too many sets of labels to compare in a browser"):
        require_web("fp32", 16, Decisions.plain(many), many)
    assert list(tmp_path.iterdir()) == []


def test_the_runtime_is_looked_for_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = fake_package(tmp_path / "node_modules" / "onnxruntime-web", monkeypatch, 3)
    below = tmp_path / "site" / "deep"
    below.mkdir(parents=True)
    copy_runtime(tmp_path / "taken", start=below)
    assert {p.name for p in (tmp_path / "taken").iterdir()} == set(web_runtime.FILES)
    (package / "dist" / "ort.wasm.bundle.min.mjs").write_text("other")
    with pytest.raises(LabelwiseError, match=r"ort.wasm.bundle.min.mjs, missing or changed"):
        copy_runtime(tmp_path / "again", start=below)
    (package / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.0.0"}')
    with pytest.raises(
        LabelwiseError, match=r"version 1.0.0; expected onnxruntime-web 1.30.0; run: npm install"
    ):
        copy_runtime(tmp_path / "again", package)
    with pytest.raises(LabelwiseError, match=r"another folder; expected onnxruntime-web"):
        copy_runtime(tmp_path / "again", below)
    assert not (tmp_path / "again").exists()


def test_npm_is_asked_last_and_its_archive_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabelwiseError, match="neither node_modules/onnxruntime-web nor npm"):
        copy_runtime(tmp_path / "out", start=tmp_path)
    npm = tmp_path / "npm"
    fails = "print('no network', file=sys.stderr); sys.exit(1)"
    writes = "open(sys.argv[sys.argv.index('--pack-destination') + 1] + '/onnxruntime-web-1.30.0.tgz', 'w').write('x')"
    for body, expected in (
        (fails, r"npm without onnxruntime-web@1.30.0 \(no network\)"),
        (writes, "of another digest"),
    ):  # fmt: skip
        npm.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
        npm.chmod(0o755)
        with pytest.raises(LabelwiseError, match=expected):
            copy_runtime(tmp_path / "out", start=tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_real_runtime_answers_as_the_run_does(run_folder: Path, tmp_path: Path) -> None:
    package = os.environ.get("LABELWISE_ORT_WEB")
    if not package or shutil.which("node") is None:
        pytest.skip("no onnxruntime-web, named by LABELWISE_ORT_WEB, or no Node.js")
    done = export_run(run_folder, tmp_path / "web", "web", images=4, runtime=Path(package))
    name, difference = list(done.parity.runtimes.items())[-1]
    assert name == "onnxruntime-web 1.30.0 in Node (wasm)"
    assert isinstance(difference, float)
    assert difference < 1e-5
    artefact = Artefact.open(tmp_path / "web")
    assert artefact.card["parity"]["runtimes"][name] == difference
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    script = f"{ANSWERED}\nprocess.exit(0);"
    (answer,) = in_node(script, tmp_path / "web", written([image], tmp_path / "raw"))
    (expected,) = lw.load(run_folder).predict([image], maps=True)
    assert answer["selected"] == expected.selected
    for label in answer["labels"]:
        assert label["score"] == pytest.approx(expected.scores[label["name"]], abs=1e-5)
        assert np.allclose(label["map"], expected.map(label["name"]), atol=1e-5)


def test_every_module_is_javascript_without_addresses() -> None:
    for file in BROWSER.glob("*.*js"):
        if node := shutil.which("node"):
            assert subprocess.run([node, "--check", file], capture_output=True).returncode == 0
        assert "http" not in file.read_text()
