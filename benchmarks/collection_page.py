"""The page that searches a collection, with 100,000 photographs.

Run: labelwise embed RUN voc:VOC --split test --out BASE
     python benchmarks/collection_page.py RUN BASE --work FOLDER [--csv results/collection-page.csv] [--shots FOLDER]

The photographs are crops of those of BASE: 60 to 100 % of each side, half of them mirrored, at most 256 px, as JPEG
files of their own. A crop has the labels of its photograph, the boxes of its evidence as far as they lie in the crop,
and for each label a feature between that of the photograph and that of another one with the label, so that a search
returns more than the crops of one photograph. They are written as `labelwise embed` writes them, with the index.

`labelwise serve` runs in a process of its own. Requests over HTTP, one after the other on one connection, each another
search: times until the whole answer. In Chromium: the time from the call of an address to the first photograph that is
painted, cumulative layout shift over loading, paging and searching, and faults that axe-core calls serious or critical,
at 390 and 1280 px, light and dark.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from collection_crops import make
from labelwise.collection import Collection
from measuring import conditions, keep, resident, show
from serving import fetch, server

WIDTHS, SCHEMES = {1280: 900, 390: 844}, ("light", "dark")
COLUMNS = ("p50_ms", "p95_ms", "most_ms", "requests", "layout_shift", "serious_faults")
SHIFT = """window.shift = 0; new PerformanceObserver((list) => { for (const entry of list.getEntries())
if (!entry.hadRecentInput) window.shift += entry.value; }).observe({ type: "layout-shift", buffered: true });"""
PAINTED = """() => new Promise((done) => { const look = () => document.querySelector("#grid img.come")
? done(performance.now()) : requestAnimationFrame(look); look(); })"""


def percentiles(times: list[float]) -> dict[str, float]:
    """p50, p95 and the largest, in milliseconds."""
    values = 1000 * np.array(times)
    return {
        "p50_ms": round(float(np.percentile(values, 50)), 1),
        "p95_ms": round(float(np.percentile(values, 95)), 1),
        "most_ms": round(float(values.max()), 1),
    }


def searches_of(collection: Collection, count: int) -> dict[str, list[dict[str, Any]]]:
    """Parameters of `count` different searches of each kind."""
    rng = np.random.default_rng(11)
    photos = collection.images(("image", "labels")).to_pylist()
    names = collection.labels
    found: dict[str, list[dict[str, Any]]] = {}
    for photo in (photos[i] for i in rng.permutation(len(photos))):
        label, other = photo["labels"][0], str(rng.choice([n for n in names if n not in photo["labels"]]))
        own = {"label": label, "like": photo["image"]}
        found.setdefault("similarity", []).append(own)
        found.setdefault("similarity, without a label, least score .5", []).append(
            {**own, "absent": other, "least": 0.5}
        )
        found.setdefault("score, without a label", []).append(
            {"label": label, "absent": other, "least": len(found["similarity"]) / 1000}
        )
        if len(found["similarity"]) == count:
            break
    return found


def over_http(address: str, collection: Collection, requests: int) -> list[dict[str, Any]]:
    """Times of requests of each kind."""
    import httpx

    rows = []
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        thumbs: list[str] = []

        def timed(path: str, parameters: dict[str, Any] | None = None) -> tuple[float, httpx.Response]:
            started = time.perf_counter()
            answer = client.get(path, params=parameters)
            took = time.perf_counter() - started
            answer.raise_for_status()
            return took, answer

        for parameters in searches_of(collection, 3)["similarity"]:  # warm
            timed("/collection/results", {**parameters, "by": "score"})
            timed("/collection/results", {**parameters, "page": 2})
        for kind, asked in searches_of(collection, requests).items():
            answers = [timed("/collection/results", parameters) for parameters in asked]
            rows.append({"what": kind, **percentiles([took for took, _ in answers]), "requests": requests})
            thumbs += [
                f"/collection/photographs/{r['id']}/thumbnail?version={r['version']}"
                for _, answer in answers
                for r in answer.json()["results"][:4]
            ]
        thumbs = list(dict.fromkeys(thumbs))[:200]
        for kind in ("thumbnail, made", "thumbnail, kept"):
            rows.append({"what": kind, **percentiles([timed(t)[0] for t in thumbs]), "requests": len(thumbs)})
    return rows


def faults_of(page: Any, name: str) -> list[str]:
    """What axe-core calls serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    serious = [v for v in violations if v["impact"] in ("serious", "critical")]
    return [f"{name}: {v['id']} ({v['impact']}) {v['nodes'][0]['html'][:100]}" for v in serious]


def in_chromium(
    address: str, collection: Collection, shots: Path | None, requests: int
) -> list[dict[str, Any]]:
    """Times to the first photograph, shifts and faults of the page at each width and scheme."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    asked = searches_of(collection, requests)["similarity"]
    rows = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, height in WIDTHS.items():
            for scheme in SCHEMES:
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=width < 500
                )
                context.add_init_script(SHIFT)
                page, times, shifts, faults = context.new_page(), [], [], []
                views = {
                    "start": "",
                    "label": "?label=dog",
                    "search": f"?label={asked[0]['label']}&like={asked[0]['like']}",
                    "filters": "?label=person&present=dog&absent=horse&least=0.5",
                    "examples": f"?label=dog&like={asked[1]['like']}&like={asked[2]['like']}&unlike={asked[3]['like']}",
                    "nothing": "?label=sheep&present=aeroplane&least=0.99",
                    "error": "?label=unicorn",
                }
                for name, query in views.items():
                    page.goto(f"{address}/collection{query}")
                    page.wait_for_selector("body[data-whole]")
                    page.wait_for_timeout(600)
                    faults += faults_of(page, name)
                    if name == "search":
                        page.locator("#grid .shot").nth(1).focus()
                        page.keyboard.press("Space")
                        faults += faults_of(page, "selected")
                    if shots:
                        page.screenshot(path=shots / f"{name}-{width}-{scheme}.png")
                    if name == "search":
                        page.keyboard.press("Escape")
                        page.keyboard.press("Enter")
                        page.wait_for_timeout(1500)
                    shifts.append(page.evaluate("window.shift"))
                for parameters in asked[:requests] if scheme == "light" else ():
                    page.goto(f"{address}/collection?label={parameters['label']}&like={parameters['like']}")
                    times.append(page.evaluate(PAINTED) / 1000)
                    page.wait_for_selector("body[data-whole]")
                    shifts.append(page.evaluate("window.shift"))
                for fault in faults:
                    print(width, scheme, fault, flush=True)
                rows.append(
                    {
                        "what": f"page at {width} px, {scheme}",
                        **(percentiles(times) if times else {}),
                        "requests": len(times) or len(views),
                        "layout_shift": round(max(shifts), 4),
                        "serious_faults": len(faults),
                    }
                )
                context.close()
        browser.close()
    return rows


def main() -> None:
    """Makes the collection, unless it is there, serves it and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", help="the run of the collection BASE")
    parser.add_argument("base", type=Path, help="a collection that labelwise embed wrote", metavar="BASE")
    parser.add_argument("--work", type=Path, required=True, help="folder for the crops and their collection")
    parser.add_argument("--photographs", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--shots", type=Path, help="also save pictures of the page in this folder")
    args = parser.parse_args()
    if not (args.work / "collection").exists():
        make(args.base, args.work, args.photographs)
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    collection = Collection.open(args.work / "collection")
    shutil.rmtree(args.work / "cache", ignore_errors=True)
    os.environ["LABELWISE_CACHE"] = str(args.work / "cache")
    with server(args.run, 16, ["--collection", str(args.work / "collection")]) as (port, process):
        fetch(port, "/collection/about")
        address = f"http://127.0.0.1:{port}"
        measured = over_http(address, collection, args.requests)
        for row in measured:
            print(row, flush=True)
        measured += in_chromium(address, collection, args.shots, args.requests)
        memory = round(resident("VmHWM", process) * 1024 / 1e6, 2)
    lines = []
    for row in measured:
        lines.append(
            {
                "what": row["what"],
                "photographs": len(collection),
                "features": sum(collection.counts().values()),
                "labels": len(collection.labels),
                **{k: row.get(k, "") for k in COLUMNS},
                "server_peak_gb": memory,
                **conditions(),
            }
        )
        show(lines[-1])
    keep(args.csv, lines)


if __name__ == "__main__":
    main()
