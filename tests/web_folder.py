"""A folder for browsers with a runtime of a few lines, so that its page and module are tested without the real one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from labelwise.data.fixed import FixedTransform
from labelwise.decisions import Decisions
from labelwise.export import web_runtime
from labelwise.export.artefact import Artefact, Preprocessing, sha256
from labelwise.export.web import write_web
from labelwise.labels import LabelSet
from labelwise.serving.predictor import Predictor

RUNTIME = """const sessions = { create: async () => ({ run: async ({ images: { data, dims } }) => {
  const [count, , height, width] = dims, size = 3 * height * width;
  const byte = (i, j) => data[i * size + ((j + 1) * 7919) % size];
  const each = (per, value) =>
    Float32Array.from({ length: count * per }, (_, k) => value(Math.floor(k / per), k % per));
  return {
    logits: { dims: [count, LABELS], data: each(LABELS, (i, j) => (byte(i, j) - 128) / 16) },
    maps: { dims: [count, LABELS, 2, 3], data: each(6 * LABELS, (i, j) => byte(i, j) / 255) },
  };
} }) };
export const env = { wasm: {} };
export class Tensor { constructor(type, data, dims) { Object.assign(this, { data, dims }); } }
export const InferenceSession = sessions;
"""


class Bytes:
    """The same answers in Python: logits and maps from some bytes of the image."""

    name, has_maps = "bytes", True

    def __init__(self, labels: int) -> None:
        self._labels = labels

    def __call__(self, images: Any, want_maps: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        flat = np.asarray(images).reshape(len(images), -1)
        place = np.arange(1, 6 * self._labels + 1) * 7919 % flat.shape[1]
        chosen = flat[:, place].astype(np.float32)
        maps = (chosen / 255).reshape(-1, self._labels, 2, 3) if want_maps else None
        return (chosen[:, : self._labels] - 128) / 16, maps


def fake_package(folder: Path, patch: pytest.MonkeyPatch, labels: int) -> Path:
    """A package of the known version whose files are the runtime of a few lines."""
    dist = folder / "dist"
    dist.mkdir(parents=True)
    (folder / "package.json").write_text(
        json.dumps({"name": web_runtime.PACKAGE, "version": web_runtime.VERSION})
    )
    for name in web_runtime.FILES:
        (dist / name).write_text(RUNTIME.replace("LABELS", str(labels)) if name.endswith("mjs") else "wasm")
    patch.setattr(web_runtime, "FILES", {name: sha256(dist / name) for name in web_runtime.FILES})
    return folder


def web_folder(
    out: Path, labels: LabelSet, decisions: Decisions, prepared: Preprocessing, patch: pytest.MonkeyPatch
) -> Predictor:
    """Writes a folder and returns the predictor that it must equal."""
    package = fake_package(out.with_name(f"{out.name}-package"), patch, len(labels))
    out.mkdir()
    (out / "model.onnx").write_bytes(b"graph")
    card = {"method": {"name": "bytes"}, "backbone": "none"}
    engine = Bytes(len(labels))
    artefact = Artefact(out, "onnx", "model.onnx", labels, prepared, decisions, True, card)
    artefact.save()
    web_runtime.copy_runtime(out.with_name(f"{out.name}-runtime"), package)
    write_web(artefact, engine, out.with_name(f"{out.name}-runtime"))
    return Predictor(labels, decisions, FixedTransform(prepared), engine)


def in_node(script: str, *arguments: object, timeout: int = 120) -> list[Any]:
    """The JSON lines that a module prints in Node; the test is skipped where it is not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js on this machine")
    command = [node, "--input-type=module", "-e", script, "--", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def written(images: Sequence[np.ndarray], folder: Path) -> Path:
    """A list of files of raw pixels `[H, W, C]`, for scripts in Node."""
    folder.mkdir(exist_ok=True)
    listed = []
    for i, image in enumerate(images):
        (folder / f"{i}.raw").write_bytes(np.ascontiguousarray(image).tobytes())
        height, width = image.shape[:2]
        listed.append({"file": str(folder / f"{i}.raw"), "width": width, "height": height})
    (folder / "list.json").write_text(json.dumps(listed))
    return folder / "list.json"


class PlainServer:
    """A file server that knows nothing of the page; use as a context."""

    def __init__(self, folder: Path) -> None:
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> str:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self.address

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
