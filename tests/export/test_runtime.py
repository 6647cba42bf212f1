"""labelwise-runtime answers as labelwise does, without its libraries; labelwise predicts an export without torch."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labelwise.data.transforms import build_transform
from labelwise.export import Artefact, open_engine
from labelwise.inference import Predictor
from odd_files import odd_files

ROOT = Path(__file__).resolve().parents[2]
OTHERS = (
    "torch",
    "torchvision",
    "labelwise",
    "pydantic",
    "jaxtyping",
    "pyarrow",
    "scipy",
    "yaml",
    "typer",
    "timm",
)
SERVED = ("pydantic", "yaml")
"""Libraries that FastAPI loads if they are there."""
BLOCKED = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OTHERS}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labelwise_runtime as its wheel has it."""
    folder = tmp_path_factory.mktemp("runtime")
    shutil.copytree(ROOT / "runtime" / "labelwise_runtime", folder / "labelwise_runtime")
    runpy.run_path(str(ROOT / "runtime" / "setup.py"))["copy_modules"](folder / "labelwise_runtime")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, content in odd_files().items():
        (folder / name).write_bytes(content)
    return folder


def runtime(package: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    program = f"sys.path.insert(0, {str(package)!r})\nfrom labelwise_runtime.program import main\nmain()"
    command = [sys.executable, "-I", "-c", BLOCKED + program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def without(program: str, allowed: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A program in a process that has none of the other libraries, except those allowed."""
    blocked = BLOCKED.replace(repr(OTHERS), repr(tuple(name for name in OTHERS if name not in allowed)))
    return subprocess.run([sys.executable, "-I", "-c", blocked + program], capture_output=True, text=True)


def with_torch(export: Path) -> Predictor:
    """The predictor of an export in the way of a run: torch decodes and resizes."""
    artefact = Artefact.open(export)
    transform = build_transform(artefact.preprocessing.transform(), train=False)
    return Predictor(artefact.labels, artefact.decisions, transform, open_engine(artefact))


@pytest.mark.parametrize("name", ["run-onnx", "run-flip", "run-multi-scale"])
def test_answers_and_errors_equal_those_with_torch(
    name: str, package: Path, exports: Path, photos: Path, tmp_path: Path
) -> None:
    export = exports / name
    done = runtime(package, "predict", export, photos, "--json", "--batch-size", 5, "--workers", 2)
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    expected = list(with_torch(export).predict([line["image"] for line in lines]))
    assert len(lines) > 40
    for line, answer in zip(lines, expected, strict=True):
        if answer.error is not None:
            assert line == answer.to_json()
            continue
        assert line.get("note", "") == answer.note
        assert {label["name"] for label in line["labels"] if label["selected"]} == set(answer.selected)
        for label in line["labels"]:
            assert abs(label["score"] - answer.scores[label["name"]]) <= 1e-6
            assert label["threshold"] == answer.thresholds[label["name"]]


def test_python_reads_maps_and_files_are_those_of_the_main_program(
    package: Path, exports: Path, photos: Path, tmp_path: Path
) -> None:
    export, photo, name = (
        exports / "run-onnx",
        photos / "turn6.jpg",
        with_torch(exports / "run-onnx").labels.names[1],
    )
    program = f"""
sys.path.insert(0, {str(package)!r})
import json, labelwise_runtime as lwr
(p,) = lwr.load({str(export)!r}).predict({str(photo)!r}, maps=True)
print(json.dumps([p.map({name!r}).tolist(), lwr.__version__]))
try:
    lwr.load("none")
except lwr.LabelwiseError as error:
    print(error)
print(sorted({{m.split(".")[0] for m in sys.modules}} & {set(OTHERS)}))
"""
    done = without(program)
    assert done.returncode == 0, done.stderr
    first, error, loaded = done.stdout.splitlines()
    (answer,) = with_torch(export).predict(photo, maps=True)
    seen, version = json.loads(first)
    np.testing.assert_allclose(np.array(seen), answer.map(name), atol=1e-6)
    assert (version, loaded) == ("0.1.0", "[]")
    assert error.startswith("none/artefact.json: No such file")
    out, pictures = tmp_path / "p.csv", tmp_path / "maps"
    done = runtime(package, "predict", export, photo, "--out", out, "--maps", pictures)
    assert done.returncode == 0, done.stderr
    assert out.read_text().splitlines()[0].startswith('"image","error","selected",')
    assert len(list(pictures.iterdir())) == len(answer.selected)


def test_bad_input_is_one_line(package: Path, exports: Path, run_folder: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(odd_files()["RGB.png"])
    changed = shutil.copytree(exports / "run-onnx", tmp_path / "changed")
    with open(changed / "model.onnx", "ab") as file:
        file.write(b"\0")
    for folder, message in (
        (run_folder, "artefact.json: No such file or directory; expected"),
        (changed, "model.onnx, changed since it was exported"),
        (
            exports / "run-torch",
            "an export of kind torch, which needs PyTorch; expected an export of kind onnx",
        ),
    ):
        done = runtime(package, "predict", folder, photo)
        assert (done.returncode, done.stdout) == (2, ""), folder
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    for arguments in (["--out", "p.parquet"], [], ["--batch-size", "0"], ["--bits", "7"]):
        paths = [photo] if arguments else [tmp_path / "none.jpg"]
        done = runtime(package, "predict", exports / "run-onnx", *paths, *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_batch_that_does_not_fit_into_memory_is_one_line(
    package: Path, exports: Path, photos: Path
) -> None:
    program = f"""
import resource
sys.path.insert(0, {str(package)!r})
import labelwise_runtime as lwr, numpy as np
p = lwr.load({str(exports / "run-onnx")!r})
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 28), held + (1 << 28)))
try:
    p.engine(np.broadcast_to(np.zeros((1, 3, 32, 32), np.uint8), (60_000, 3, 32, 32)))
except (lwr.LabelwiseError, MemoryError) as error:
    print(type(error).__name__, error)
"""
    done = without(program)
    assert done.stdout.startswith("LabelwiseError images of shape [60000, 3, 32, 32]"), done.stderr
    assert "give a smaller --batch-size" in done.stdout


def test_the_main_program_predicts_an_export_without_torch(
    exports: Path, photos: Path, tmp_path: Path
) -> None:
    program = """
import sys
from labelwise.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "torchvision", "pyarrow", "scipy", "jaxtyping", "yaml", "huggingface_hub"}
print(sorted(heavy & set(sys.modules)))
"""
    photo = str(photos / "large.jpg")
    for more in ([], ["--json"], ["--out", str(tmp_path / "p.csv")], ["--maps", str(tmp_path / "maps")]):
        command = [sys.executable, "-c", program, "predict", str(exports / "run-onnx"), photo, *more]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


def test_every_listed_module_is_needed(package: Path) -> None:
    listed = (ROOT / "runtime/modules.txt").read_text().split()
    modules = {name.removesuffix(".py").replace("/", ".") for name in listed if name.endswith(".py")}
    program = f"""
sys.path.insert(0, {str(package)!r})
import labelwise_runtime.program
early = set(sys.modules)
import labelwise_runtime.serving.app, labelwise_runtime.serving.listen, labelwise_runtime.memory
for names in (set(sys.modules), early):
    print(*(m.removeprefix("labelwise_runtime.") for m in names if m.startswith("labelwise_runtime.")))
"""
    done = without(program, SERVED)
    every, early = (set(line.split()) for line in done.stdout.splitlines())
    assert modules <= every, done.stderr
    assert "serving.app" not in early


def test_the_server_answers_as_the_program_does(package: Path, exports: Path, photos: Path) -> None:
    program = f"""
sys.path.insert(0, {str(package)!r})
import json
from pathlib import Path
import labelwise_runtime as lwr
from labelwise_runtime.serving.app import create_app
from starlette.testclient import TestClient
predictor, photo = lwr.load({str(exports / "run-onnx")!r}), Path({str(photos / "turn6.jpg")!r})
with TestClient(create_app(predictor, title="mine")) as client:
    answer = client.post("/predict?maps=true", files={{"files": photo.read_bytes()}}).json()["predictions"][0]
    pages = [client.get(path).status_code for path in ("/", "/docs", "/assets/photographs.js", "/v2/models/mine")]
(p,) = predictor.predict(str(photo))
print(json.dumps([answer, p.to_json(), pages]))
"""
    done = without(program, SERVED)
    assert done.returncode == 0, done.stderr
    answer, expected, pages = json.loads(done.stdout.splitlines()[-1])
    assert pages == [200] * 4
    for label, other in zip(answer["labels"], expected["labels"], strict=True):
        assert (label["name"], label["selected"]) == (other["name"], other["selected"])
        assert abs(label["score"] - other["score"]) <= 1e-6
    assert "map" in answer["labels"][0]
