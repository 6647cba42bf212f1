"""The report in a real browser."""

from __future__ import annotations

import html
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from labelwise.reports import write_report

SYNTHETIC = runpy.run_path(str(Path(__file__).parents[1] / "reports" / "synthetic_run.py"))
NAMES = (
    "<script>document.title='broken'</script>",
    "dog",
    "sofa",
    "a label with quite a long name " * 3,
    "cat",
)

# A page around the report, of one origin with it, that uses it as a person would and notes what it sees.
DRIVER = """<!doctype html><pre id="seen"></pre>
<iframe id="frame" style="width:{width}px;height:3000px;border:0" srcdoc="{page}"></iframe>
<script>
document.getElementById("frame").addEventListener("load", (event) => {{
  const page = event.target.contentDocument;
  const all = (query) => [...page.querySelectorAll(query)];
  const first = () => all(".sortable tbody th").map((cell) => cell.textContent);
  const at = (id, name) => page.getElementById(id).getAttribute(name);
  const seen = {{ title: page.title, width: page.documentElement.scrollWidth }};
  seen.text = Math.min(...all(".wide .tick").map((text) => text.getBoundingClientRect().height));
  seen.sorted = [first()];
  all(".sortable button")[0].click();
  seen.sorted.push(first());
  all(".sortable button")[2].click();
  seen.positives = all(".sortable tbody tr").map((row) => Number(row.cells[2].textContent));
  const pick = page.getElementById("pick");
  seen.before = [at("curve", "d"), page.getElementById("picked").textContent];
  pick.value = all("#pick option").find((option) => option.value !== pick.value).value;
  pick.dispatchEvent(new Event("change"));
  seen.after = [at("curve", "d"), page.getElementById("picked").textContent];
  const photo = page.querySelector("button.photo");
  photo.click();
  seen.pressed = photo.getAttribute("aria-pressed");
  page.getElementById("maps").click();
  seen.all = all("button.photo").map((item) => item.getAttribute("aria-pressed"));
  seen.loaded = all("img").every((image) => image.complete && image.naturalWidth > 0);
  document.getElementById("seen").textContent = JSON.stringify(seen);
}});
</script>"""


def look(browser: Any, report: Path, folder: Path, width: int) -> dict[str, Any]:
    content = html.escape(report.read_text(encoding="utf-8"), quote=True)
    driver = folder / "driver.html"
    driver.write_text(DRIVER.format(width=width, page=content), encoding="utf-8")
    page = browser.new_page()
    page.goto(driver.as_uri())
    page.wait_for_selector("#seen:not(:empty)")
    seen = json.loads(page.text_content("#seen"))
    page.close()
    return seen


@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_works_in_a_browser(browser: Any, tmp_path: Path, width: int) -> None:
    run = SYNTHETIC["write_run"](tmp_path / "run", NAMES, images=80)
    dataset = SYNTHETIC["FakeDataset"](SYNTHETIC["photographs"](80))
    report = write_report(run, predictor=SYNTHETIC["FakePredictor"](), dataset=dataset)
    seen = look(browser, report, tmp_path, width)
    assert seen["title"].startswith("run: dlfl, mAP")
    assert seen["width"] == width
    assert seen["text"] >= 11
    ordered = [[name.removesuffix(" rare") for name in names] for names in seen["sorted"]]
    assert sorted(ordered[0]) == sorted(NAMES)
    assert ordered[1] == sorted(NAMES)
    assert seen["positives"] == sorted(seen["positives"], reverse=True)
    assert len(set(seen["positives"])) > 1
    assert seen["before"] != seen["after"]
    assert seen["after"][0].startswith("M")
    assert seen["pressed"] == "false"
    assert set(seen["all"]) == {"false"}
    assert seen["loaded"]
