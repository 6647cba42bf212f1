"""Answers of a web export in Chromium and in Node beside those of its run, and the time to the first answer.

Run: python tools/web.py RUN EXPORT PHOTOS [--photos 50] [--csv results/web.csv]

The pixels that both have are compared too: decoded by Chromium, and by the run. The large photographs are the same
enlarged four times, of which the run decodes a reduced form (`shrink_to`) and a browser all pixels.
"""

from __future__ import annotations

import argparse
import base64
import functools
import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import labelwise as lw
from kept import keep
from labelwise.data.decoding import decode_pixels

FIELDS = (
    "where", "provider", "input", "photographs", "largest_probability_difference", "median_of_largest",
    "decisions_that_differ", "largest_map_distance", "largest_pixel_difference", "mean_pixel_difference",
    "photographs_with_equal_pixels", "seconds_to_ready", "seconds_to_first_answer", "seconds_per_answer",
    "processor_seconds_to_first_answer", "reference", "load", "nice", "cores",
)  # fmt: skip
DECODED = """async (name) => {
  const { decode } = await import("./labelwise.js");
  const { data, width, height } = await decode(await (await fetch(`photos/${name}`)).blob(), { shrinkTo: SIDE });
  let text = "";
  for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
  return [btoa(text), width, height];
}"""
PREDICTED = """async (name) => {
  const { load } = await import("./labelwise.js");
  globalThis.held ??= load(undefined, { provider: "wasm" });
  const blob = await (await fetch(`photos/${name}`)).blob();
  const model = await held;
  const start = performance.now();
  const answer = await model.predict(blob, { maps: true });
  return { ...answer, seconds: (performance.now() - start) / 1000, ready: start / 1000 };
}"""
NODE = """import { readFileSync } from "node:fs";
const [folder, list] = process.argv.slice(2);
const { load } = await import(`file://${folder}/labelwise.js`);
const model = await load();
const ready = performance.now() / 1000;
for (const { file, width, height } of JSON.parse(readFileSync(list))) {
  const data = new Uint8Array(readFileSync(file));
  const start = performance.now();
  const answer = await model.predict({ data, width, height }, { maps: true });
  console.log(JSON.stringify({ ...answer, seconds: (performance.now() - start) / 1000, ready }));
}
console.log(JSON.stringify({ processor: process.cpuUsage().user / 1e6 }));
process.exit(0);
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A plain file server of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def differences(expected: list[Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    """The largest differences of answers from those of the run."""
    off, decisions, maps = [], 0, []
    for ours, theirs in zip(expected, answers, strict=True):
        scores = {label["name"]: label["score"] for label in theirs["labels"]}
        off.append(max(abs(scores[name] - score) for name, score in ours.scores.items()))
        decisions += len(set(ours.selected) ^ set(theirs["selected"]))
        held = {label["name"]: np.array(label["map"]) for label in theirs["labels"]}
        maps.append(max(np.abs(ours.map(name) - held[name]).sum() / 2 for name in held))
    return {
        "photographs": len(answers),
        "largest_probability_difference": max(off),
        "median_of_largest": float(np.median(off)),
        "decisions_that_differ": decisions,
        "largest_map_distance": max(maps),
    }


def pixel_differences(browser: list[np.ndarray], ours: list[np.ndarray]) -> dict[str, Any]:
    """The differences of decoded pixels of the same sizes."""
    off = [np.abs(a.astype(int) - b) for a, b in zip(browser, ours, strict=True)]
    return {
        "largest_pixel_difference": max(int(one.max()) for one in off),
        "mean_pixel_difference": float(np.mean([one.mean() for one in off])),
        "photographs_with_equal_pixels": sum(not one.any() for one in off),
    }


def in_chromium(page: Any, address: str, names: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Answers in a page that has loaded nothing yet, and their times."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(address + "resize.js")  # a page of the same origin without the model
    page.goto(address + "web.json")
    answers = [page.evaluate(PREDICTED, names[0])]
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    answers += [page.evaluate(PREDICTED, name) for name in names[1:]]
    return answers, {
        "seconds_to_ready": answers[0]["ready"],
        "seconds_to_first_answer": answers[0]["seconds"],
        "seconds_per_answer": float(np.median([answer["seconds"] for answer in answers[1:]])),
        "processor_seconds_to_first_answer": metrics.get("ProcessTime", ""),
    }


def in_node(
    folder: Path, export: Path, pixels: list[np.ndarray]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Answers in Node for raw pixels `[H, W, 3]`, and their times."""
    listed = []
    for i, image in enumerate(pixels):
        image.tofile(folder / f"{i}.rgb")
        listed.append({"file": str(folder / f"{i}.rgb"), "width": image.shape[1], "height": image.shape[0]})
    (folder / "list.json").write_text(json.dumps(listed))
    (folder / "node.mjs").write_text(NODE)
    command = ["node", str(folder / "node.mjs"), str(export.resolve()), str(folder / "list.json")]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    answers = [json.loads(line) for line in lines[:-1]]
    return answers, {
        "seconds_to_ready": answers[0]["ready"],
        "seconds_to_first_answer": answers[0]["seconds"],
        "seconds_per_answer": float(np.median([answer["seconds"] for answer in answers[1:]])),
    }


def main() -> None:
    """Compares and writes a row for each place and form of input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("export", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=50)
    parser.add_argument("--large", type=int, default=10)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    files = sorted(given.folder.glob("*.jpg"))[: given.photos]
    predictor = lw.load(given.run)
    side = max(predictor.transform.config.size)
    expected = list(predictor.predict(files, maps=True, batch_size=1))
    pixels = [np.ascontiguousarray(decode_pixels(f).transpose(1, 2, 0)) for f in files]
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    rows: list[dict[str, Any]] = []

    def add(where: str, form: str, found: dict[str, Any]) -> None:
        shared = {
            "where": where, "provider": "wasm", "input": form, "reference": predictor.engine.name,
            "load": round(os.getloadavg()[0], 1), "nice": os.nice(0), "cores": os.cpu_count(),
        }  # fmt: skip
        rows.append({field: {**shared, **found}.get(field, "") for field in FIELDS})
        print(json.dumps(rows[-1]), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answers, times = in_node(folder, given.export, pixels)
        add(f"Node {node}", "raw pixels", differences(expected, answers) | times)
        shutil.copytree(given.export, folder / "site")
        photos = folder / "site" / "photos"
        photos.mkdir()
        large = []
        for file, image in zip(files, pixels, strict=True):
            shutil.copyfile(file, photos / file.name)
            Image.fromarray(image).save(photos / f"{file.stem}.png", compress_level=1)
            if len(large) < given.large:
                big = Image.fromarray(image).resize(
                    (4 * image.shape[1], 4 * image.shape[0]), Image.Resampling.LANCZOS
                )
                big.save(photos / f"{file.stem}-large.jpg", quality=92)
                large.append(photos / f"{file.stem}-large.jpg")
        with served(folder / "site") as address, sync_playwright() as driver:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            sets = (
                ("PNG of the run's pixels", [f"{f.stem}.png" for f in files], expected),
                ("JPEG, decoded by the browser", [f.name for f in files], expected),
                (
                    "JPEG, four times as large",
                    [f.name for f in large],
                    list(predictor.predict(large, maps=True, batch_size=1)),
                ),
            )
            for form, names, wanted in sets:
                context = browser.new_context()
                page = context.new_page()
                page.set_default_timeout(600_000)
                answers, times = in_chromium(page, address, names)
                held = []
                for one in names:
                    text, width, height = page.evaluate(DECODED.replace("SIDE", str(side)), one)
                    held.append(np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 3))
                ours = [decode_pixels(photos / one, shrink_to=side).transpose(1, 2, 0) for one in names]
                found = differences(wanted, answers) | pixel_differences(held, ours) | times
                add(f"Chromium {browser.version}", form, found)
                context.close()
            browser.close()
    keep(given.csv, rows)


if __name__ == "__main__":
    main()
