"""The page that searches a collection in a real browser, by pointer and by keyboard."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import labelwise as lw
import tiny_runs
from labelwise.collection.embedding import embed
from labelwise.data.review import Review, begin_audit
from labelwise.serving import searching
from labelwise.serving.app import create_app
from labelwise.serving.kept_pictures import KeptPictures
from labelwise.serving.searching import Searches
from live_server import live

COUNT = 11
SHIFT = """window.shifts = []; new PerformanceObserver((list) => { for (const entry of list.getEntries())
if (!entry.hadRecentInput) window.shifts.push([entry.value, ...entry.sources.map((source) =>
[source.node?.id || source.node?.className, source.previousRect.x, source.previousRect.y, source.currentRect.x,
source.currentRect.y])]); }).observe({ type: "layout-shift", buffered: true });"""


@pytest.fixture(scope="module")
def address(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a collection of eleven photographs, one of them gone, and an empty review; four results a page."""
    folder = tmp_path_factory.mktemp("searched")
    source = tiny_runs.photographs(folder, COUNT, 0, 0)
    data = lw.read(f"csv:{source}")
    embed(
        run_folder, [str(folder / f"train{i}.jpg") for i in range(COUNT)], folder / "collection", every=True
    )
    begin_audit(folder / "new.csv")
    kept = KeptPictures(folder / "kept" / "pictures.sqlite", 1 << 20)
    searches = Searches(folder / "collection", run_folder, kept, 1_000_000)
    # The labels of the review's table are not those of the run: its refusal is shown.
    app = create_app(
        lw.load(run_folder),
        title="mine",
        review=Review(folder / "new.csv", data),
        searches=searches,
    )
    (folder / "train7.jpg").unlink()
    with pytest.MonkeyPatch.context() as patch, live(app) as client:
        patch.setattr(searching, "PAGE", 4)
        yield str(client.base_url)


# Where the same parts of the page are looked at in either width by another test.
one_width = pytest.mark.parametrize("open_page", [(1280, 900, "light")], ids=["desk"], indirect=True)


@pytest.fixture
def page(open_page: Any) -> Iterator[Any]:
    """A page that also fails the test on a shift; a browser notes refusals of the server as errors."""
    with open_page(excused="status of 4", script=SHIFT) as page:
        yield page
        assert page.evaluate("window.shifts") == []


def opened(page: Any, address: str, search: str = "") -> None:
    page.goto(f"{address}/collection{search}")
    page.wait_for_selector("body[data-whole]")


def after(page: Any, act: Any) -> None:
    """Acts, and waits until the results of the search that follows are shown."""
    before = page.evaluate("document.body.dataset.ready")
    act()
    page.wait_for_selector(f'body:not([data-ready="{before}"])')


def shown(page: Any) -> list[str]:
    return page.locator("#grid .shot").evaluate_all("shots => shots.map(shot => shot.dataset.id)")


def test_a_photograph_and_a_label_are_clicked_and_the_address_holds_the_search(
    page: Any, address: str
) -> None:
    opened(page, address)
    assert page.text_content("#count") == f"{COUNT} photographs"
    assert shown(page) == ["0", "1", "2", "3"]
    if not page.locator("#labels").is_visible():
        page.click("#side summary")
    label = page.locator("#labels button").nth(2)
    name = label.get_attribute("data-label")
    after(page, label.click)
    assert page.text_content("#count") == f"{COUNT} photographs with {name}"
    assert f"label={name}" in page.url
    scores = page.locator("#grid .line").all_inner_texts()
    assert all("%" in text for text in scores)
    after(page, page.locator("#grid .shot").first.click)
    assert page.text_content("#count") == f"{COUNT - 1} photographs with {name}"
    assert page.locator("#examples li").count() == 1
    assert page.locator('#of [aria-pressed="true"]').inner_text().startswith(name)
    other = page.locator('#of [aria-pressed="false"]').first
    chosen = other.locator("span").first.inner_text()
    after(page, other.click)
    assert page.text_content("#count") == f"{COUNT - 1} photographs with {chosen}"
    first = shown(page)
    after(page, page.locator("#next").click)
    assert page.inner_text("#page") == "Page 2 of 3"
    assert set(shown(page)).isdisjoint(first)
    address_of_page, second = page.url, shown(page)
    after(page, page.go_back)
    assert shown(page) == first
    after(page, page.go_back)
    assert f"with {name}" in page.text_content("#count")
    opened(page, address_of_page.partition("/collection")[0], address_of_page.partition("/collection")[2])
    assert shown(page) == second


def test_keys_alone_search_select_and_save(page: Any, address: str, browser: Any) -> None:
    opened(page, address, "?label=0")
    page.locator("#choose").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.id") == shown(page)[0]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.keyboard.press("Space")
    picked = [shown(page)[1], shown(page)[3]]
    assert page.inner_text("#selected") == "2 selected"
    page.locator("#table").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [Path(row["image"]).name for row in rows] == [f"train{i}.jpg" for i in picked]
    page.locator("#review").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert "which the data do not have" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    page.keyboard.press("Escape")
    assert not page.locator("#selection").is_visible()
    page.locator("#grid .shot").nth(2).focus()
    chosen = shown(page)[2]
    after(page, lambda: page.keyboard.press("Enter"))
    assert f"like={chosen}" in page.url
    assert page.evaluate("document.activeElement.dataset.id") == shown(page)[0]
    after(page, lambda: page.keyboard.press("Escape"))
    assert "like=" not in page.url


def box_of(page: Any) -> list[float]:
    """The box in the address."""
    return [float(side) for side in re.split("%2C", page.url.split("box=0%3A")[1].split("&")[0])]


def test_a_box_is_drawn_moved_resized_and_removed(page: Any, address: str) -> None:
    opened(page, address, "?label=0&like=0")
    plain = shown(page)
    page.wait_for_selector("#examples img.come")
    area = page.locator("#examples .inner").bounding_box()
    x, y, width, height = (area[side] for side in ("x", "y", "width", "height"))

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        page.mouse.move(x + start[0] * width, y + start[1] * height)
        page.mouse.down()
        page.mouse.move(x + end[0] * width, y + end[1] * height, steps=3)
        page.mouse.up()

    after(page, lambda: drag((0.9, 0.5), (0.4, 1.5)))
    assert box_of(page) == pytest.approx([0.4, 0.5, 0.9, 1.0], abs=0.01)
    assert "in the box" in page.inner_text("#examples")
    drawn = page.locator(".drawn")
    assert page.evaluate("document.activeElement.className") == "drawn"
    after(page, lambda: drag((0.6, 0.8), (0.4, 0.7)))  # moved
    assert box_of(page) == pytest.approx([0.2, 0.4, 0.7, 0.9], abs=0.01)
    after(page, lambda: drag((0.21, 0.41), (0.1, 0.2)))  # by its corner
    assert box_of(page) == pytest.approx([0.1, 0.2, 0.7, 0.9], abs=0.03)
    before = page.url
    drag((0.02, 0.95), (0.03, 0.96))  # hardly more than a click
    assert page.url == before
    # The box that is shown is the one in the address, also after going back.
    after(page, page.go_back)
    sides = drawn.bounding_box()
    assert [(sides["x"] - x) / width, (sides["y"] - y) / height] == pytest.approx([0.2, 0.4], abs=0.02)
    after(page, lambda: page.locator("#examples .plain").click())
    assert "box=" not in page.url
    assert drawn.count() == 0
    assert shown(page) == plain


def test_keys_alone_draw_a_box(page: Any, address: str) -> None:
    opened(page, address, "?label=0&like=0")
    page.locator("#examples .plain").focus()
    after(page, lambda: page.keyboard.press("Enter"))
    assert box_of(page) == [0.25, 0.25, 0.75, 0.75]
    assert page.evaluate("document.activeElement.className") == "drawn"

    def keys() -> None:
        for key in (
            "ArrowLeft",
            "ArrowUp",
            "ArrowUp",
            "Shift+ArrowRight",
            "Shift+ArrowDown",
            "Shift+ArrowDown",
        ):
            page.keyboard.press(key)

    after(page, keys)
    assert box_of(page) == [0.23, 0.21, 0.75, 0.75]
    assert "23 to 75 % from the left, 21 to 75 % from the top" in page.locator(".drawn").get_attribute(
        "aria-label"
    )
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    after(page, lambda: page.keyboard.press("Escape"))
    assert "box=" not in page.url
    assert "like=0" in page.url
    assert page.evaluate("document.activeElement.textContent") == "Draw a box"


@pytest.mark.parametrize("open_page", [(390, 844, "dark")], ids=["phone"], indirect=True)
def test_a_finger_draws_a_box(page: Any, address: str) -> None:
    opened(page, address, "?label=0&like=0")
    area = page.locator("#examples .inner").bounding_box()
    touch = page.context.new_cdp_session(page)

    def point(kind: str, *at: float) -> None:
        places = (
            [{"x": area["x"] + at[0] * area["width"], "y": area["y"] + at[1] * area["height"]}] if at else []
        )
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def draw() -> None:
        point("touchStart", 0.2, 0.3)
        for step in (0.4, 0.6, 0.8):
            point("touchMove", step, step + 0.1)
        point("touchEnd")

    after(page, draw)
    assert box_of(page) == pytest.approx([0.2, 0.3, 0.8, 0.9], abs=0.02)
    assert page.evaluate("scrollY") == 0


@one_width
def test_filters_leave_nothing_and_are_removed(page: Any, address: str) -> None:
    opened(page, address, "?label=0&present=1&absent=1")
    assert page.text_content("#count") == "No photograph fits"
    after(page, page.locator("#problem button").click)
    assert page.text_content("#count") == f"{COUNT} photographs with 0"
    opened(page, address, "?label=unicorn")
    assert "label 'unicorn'; expected one of" in page.inner_text("#problem")
    after(page, page.get_by_text("New search").click)
    assert page.text_content("#count") == f"{COUNT} photographs"


@one_width
def test_an_uploaded_photograph_is_the_question(page: Any, address: str, tmp_path: Path) -> None:
    tiny_runs.photographs(tmp_path, 2, 0, 0)
    opened(page, address)
    after(page, lambda: page.set_input_files("#file", tmp_path / "train1.jpg"))
    assert re.search(r"like=u[0-9a-f]{64}", page.url)
    page.wait_for_selector("#examples img.come")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    page.set_input_files("#file", tmp_path / "bad.jpg")
    page.wait_for_selector("dialog[open]")
    assert "not an image file" in page.inner_text("dialog")
    page.keyboard.press("Escape")


def test_a_photograph_that_is_gone_leaves_its_place(page: Any, address: str) -> None:
    opened(page, address, "?page=2")
    before = page.locator("#grid .frame").nth(3).bounding_box()
    page.wait_for_selector('#grid [data-id="7"] .missing')
    assert page.locator("#grid .frame").nth(3).bounding_box() == before


def test_axe_finds_no_serious_fault(page: Any, address: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe to check pages with")
    box = "&box=3:0.1,0.1,0.6,0.7"
    for search in (
        "",
        f"?label=0&like=3{box}",
        "?label=0&like=3&like=4&unlike=5",
        "?label=0&present=1&absent=1",
        "?label=unicorn",
    ):
        opened(page, address, search)
        page.wait_for_timeout(300)
        if page.locator("#grid .shot").count():
            page.locator("#grid .shot").first.focus()
            page.keyboard.press("Space")
        found = axe.Axe().run(page).response["violations"]
        assert [
            (v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")
        ] == []


def test_a_thousand_labels_are_found_by_name(page: Any, address: str) -> None:
    labels = [{"name": f"label {i}", "photographs": 1000 - i} for i in range(1000)]
    page.route(
        "**/collection/about", lambda route: route.fulfill(json={"name": "c", "images": 9, "labels": labels})
    )
    opened(page, address)
    if not page.locator("#labels").is_visible():
        page.click("#side summary")
    assert page.locator("#labels button").count() == 40
    assert page.inner_text("#others") == "and 960 more; find them by name"
    page.fill("#find", "LABEL 99")
    assert page.locator("#labels button").count() == 11
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.label") == "label 99"
