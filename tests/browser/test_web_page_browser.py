"""The exported page in a real browser: a plain file server, no network, by pointer and by keyboard."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labelwise as lw
import tiny_runs
from labelwise.data.decoding import decode_pixels
from labelwise.data.pixels import UnreadableImage
from labelwise.decisions import Decisions
from labelwise.export import export_run
from labelwise.export.artefact import Preprocessing
from labelwise.labels import LabelSet
from odd_files import odd_files
from web_folder import PlainServer, web_folder

NAMES = tuple(f"label {i}" for i in range(14))
HALF = (0.5, 0.5, 0.5)
LOSSY, REDUCED = 2, 4
"""Levels by which another decoder, and another reduction of a large JPEG, may differ; others are equal to the bit."""
DECODED = """async (files) => {
  const { decode } = await import("./labelwise.js");
  const decoded = [];
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    decoded.push(await decode(new File([bytes], name), { shrinkTo: 96 }).then(
      ({ data, width, height }) => [btoa(data.reduce((all, v) => all + String.fromCharCode(v), "")), width, height],
      (error) => error.message));
  }
  return decoded;
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with the runtime of a few lines, and the predictor that it equals."""
    folder = tmp_path_factory.mktemp("site") / "web"
    decisions = Decisions(
        np.full(14, 0.4), np.ones(14), np.zeros(14), exclusive=((0, 1, 2),), source="val", never=(3,)
    )
    with pytest.MonkeyPatch.context() as patch:
        prepared = Preprocessing((40, 40), "crop", HALF, HALF)
        predictor = web_folder(folder, LabelSet(NAMES), decisions, prepared, patch)
    return folder, predictor


@pytest.fixture
def page(open_page: Any) -> Iterator[Any]:
    """A page that first loads a runtime, and reaches nobody else."""
    with open_page(timeout=60_000) as page:
        elsewhere = re.compile(r"^(?!http://127\.0\.0\.1:\d+/|blob:|data:)")
        page.context.route(elsewhere, lambda route: route.abort())
        yield page


def test_photographs_are_answered_without_a_server(page: Any, site: tuple[Path, Any], tmp_path: Path) -> None:
    folder, predictor = site
    tiny_runs.photographs(tmp_path, 3, 0, 0)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "short.jpg").write_bytes((tmp_path / "train0.jpg").read_bytes()[:-200])
    files = [tmp_path / name for name in ("train0.jpg", "bad.jpg", "short.jpg", "train1.jpg")]
    with PlainServer(folder) as address:
        page.goto(address)
        page.wait_for_selector("[data-ready]")
        assert page.inner_text("#engine") == "computed here with WebAssembly"
        assert "nothing is sent" in page.inner_text("#what")
        page.locator(".brand").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "choose"
        page.set_input_files("#files", files)
        page.wait_for_selector("#save:not([disabled])")
        assert page.inner_text("#count") == "4 photographs, 2 unreadable"
        assert "bad.jpg, which this browser cannot decode" in page.locator(".card").nth(1).inner_text()
        assert "short.jpg, which ends early" in page.locator(".card").nth(2).inner_text()
        with page.expect_download() as download:
            page.click("#save")
        rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
        for file, row in zip(files, rows, strict=True):
            (expected,) = predictor.predict([file])
            assert bool(row["error"]) == bool(expected.error)
            if not expected.error:
                assert row["selected"] == "; ".join(expected.selected)
                assert all(float(row[n]) == pytest.approx(s, abs=1e-6) for n, s in expected.scores.items())
        first = page.locator(".card .row").first
        first.focus()
        page.wait_for_selector(".card canvas.on")
        page.keyboard.press("Enter")
        assert first.get_attribute("aria-pressed") == "true"


def test_faults_of_the_folder_are_one_line_on_the_page(
    browser: Any, site: tuple[Path, Any], tmp_path: Path
) -> None:
    broken = shutil.copytree(site[0], tmp_path / "web")
    (broken / "model.onnx").write_bytes(b"other")
    page = browser.new_page()
    with PlainServer(broken) as address:
        page.goto(address)
        page.wait_for_selector("#problem:not(:empty)")
        assert page.inner_text("#problem").startswith("model.onnx, changed since it was exported; expected")
        assert page.locator("#choose").is_disabled()
        # The page may not ask elsewhere, whatever its code.
        assert page.evaluate(
            "fetch('http://127.0.0.2:9/x').then(() => 'sent', (error) => error.message)"
        ) == ("Failed to fetch")
        assert page.evaluate(
            "new Promise((done) => { document.addEventListener('securitypolicyviolation',"
            " (e) => done(e.effectiveDirective)); fetch('http://127.0.0.2:9/x').catch(() => {}); })"
        ) == ("connect-src")
    page.close()


def test_odd_files_are_decoded_as_in_python(browser: Any, site: tuple[Path, Any]) -> None:
    # A browser has no decoder for these, and reads 16 bits and other profiles in its own way.
    unlike = (".tif", ".pgm", ".ppm", "jpeg2000", "16-bit", "12-bit", "TIFF", "PPM")
    files = {n: b for n, b in odd_files().items() if not any(part in n for part in unlike)}
    page = browser.new_page()
    with PlainServer(site[0]) as address:
        page.goto(f"{address}web.json")
        listed = [[name, base64.b64encode(content).decode()] for name, content in files.items()]
        decoded = page.evaluate(DECODED, listed)
    page.close()
    wrong: dict[str, Any] = {}
    for (name, content), one in zip(files.items(), decoded, strict=True):
        try:
            ours = decode_pixels(content, shrink_to=96).transpose(1, 2, 0).astype(int)
        except UnreadableImage:
            ours = None
        if ours is None or isinstance(one, str):
            if (ours is None) != isinstance(one, str):
                wrong[name] = one if isinstance(one, str) else "decoded"
            continue
        theirs = np.frombuffer(base64.b64decode(one[0]), np.uint8).reshape(one[2], one[1], 3)
        off = np.abs(ours - theirs) if ours.shape == theirs.shape else np.array(255)
        limit = REDUCED if name == "large.jpg" else LOSSY * name.endswith((".jpg", ".webp", ".avif"))
        if off.max() > limit:
            wrong[name] = theirs.shape, int(off.max()), float(off.mean())
    assert wrong == {}


def test_the_real_runtime_answers_in_the_browser(browser: Any, run_folder: Path, tmp_path: Path) -> None:
    package = os.environ.get("LABELWISE_ORT_WEB")
    if not package:
        pytest.skip("no onnxruntime-web, named by LABELWISE_ORT_WEB")
    export_run(run_folder, tmp_path / "web", "web", images=2, runtime=Path(package))
    tiny_runs.photographs(tmp_path, 2, 0, 0)
    page = browser.new_page()
    page.set_default_timeout(120_000)
    script = """async (text) => {
      const { load } = await import("./labelwise.js");
      const model = await load(undefined, { provider: "wasm" });
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      return model.predict(new Blob([bytes]), { maps: true });
    }"""
    with PlainServer(tmp_path / "web") as address:
        page.goto(f"{address}web.json")
        content = (tmp_path / "train0.jpg").read_bytes()
        answer = page.evaluate(script, base64.b64encode(content).decode())
    page.close()
    (expected,) = lw.load(run_folder).predict([content], maps=True)
    assert answer["selected"] == expected.selected
    for label in answer["labels"]:
        assert label["score"] == pytest.approx(expected.scores[label["name"]], abs=1e-4)
        assert np.allclose(label["map"], expected.map(label["name"]), atol=1e-4)
