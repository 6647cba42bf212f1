"""The server's pages in a real browser, used by hand and keyboard as a person would."""

from __future__ import annotations

import base64
import csv
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import labelwise as lw
import tiny_runs
from labelwise.data.review import Review
from labelwise.labels import Group, LabelSet
from labelwise.serving.app import create_app
from live_server import live, scene_files


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs with their table."""
    folder = tmp_path_factory.mktemp("photos")
    tiny_runs.photographs(folder)
    return folder


# Where the same page is looked at in either width by another test.
one_width = pytest.mark.parametrize("open_page", [(1280, 900, "light")], ids=["desk"], indirect=True)


@pytest.fixture
def page(open_page: Any) -> Iterator[Any]:
    """A browser notes each 401 as an error, and being asked for the token is none."""
    with open_page(excused=" 401 ") as page:
        yield page


def names(page: Any, card: int = 0) -> list[str]:
    """Labels of a card that are marked as selected."""
    return (
        page.locator(".card")
        .nth(card)
        .locator(".row.selected")
        .evaluate_all("rows => rows.map(r => r.title)")
    )


def drop(page: Any, files: list[Path]) -> None:
    """Files let go over the page, as the browser tells of it."""
    given = [[f.name, base64.b64encode(f.read_bytes()).decode()] for f in files]
    transfer = page.evaluate_handle(
        """files => { const t = new DataTransfer();
        const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        for (const [name, text] of files) t.items.add(new File([bytes(text)], name));
        return t; }""",
        given,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#save:not([disabled])")


def open_thresholds(page: Any) -> None:
    """On a phone they are folded away."""
    if not page.locator("#sliders").is_visible():
        page.click("#panel summary")


def test_photographs_are_dropped_looked_at_and_saved(
    page: Any, run_folder: Path, photos: Path, tmp_path: Path
) -> None:
    predictor = lw.load(run_folder)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    files = [photos / "train0.jpg", bad, photos / "train1.jpg"]
    with live(create_app(predictor, title="mine")) as client:
        page.goto(str(client.base_url))
        page.wait_for_selector("[data-ready]")
        assert page.title() == "Labelwise: mine"
        drop(page, files)
        assert page.inner_text("#count") == "3 photographs, 1 unreadable"
        assert "not an image file" in page.locator(".card").nth(1).inner_text()
        expected = {f.name: p for f, p in zip(files, predictor.predict(files), strict=True)}
        assert names(page) == expected["train0.jpg"].selected
        with page.expect_download() as download:
            page.click("#save")
        rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
        assert [row["image"] for row in rows] == [f.name for f in files]
        assert "not an image file" in rows[1]["error"]
        for row in (rows[0], rows[2]):
            assert row["selected"] == "; ".join(expected[row["image"]].selected)
            for name, score in expected[row["image"]].scores.items():
                assert float(row[name]) == pytest.approx(score, abs=1e-6)
        page.click("#clear")
        assert page.locator(".card").count() == 0
        assert page.locator("#choose").is_visible()


def test_maps_show_by_pointer_and_by_keyboard(page: Any, run_folder: Path, photos: Path) -> None:
    with live(create_app(lw.load(run_folder))) as client:
        page.goto(str(client.base_url))
        page.wait_for_selector("[data-ready]")
        page.set_input_files("#files", [photos / "train0.jpg"])
        page.wait_for_selector("#save:not([disabled])")
        canvas, rows = page.locator(".card canvas"), page.locator(".card .row")
        assert "on" not in (canvas.get_attribute("class") or "")
        rows.nth(1).hover()
        second = rows.nth(1).get_attribute("title")
        page.wait_for_selector(".card canvas.on")
        assert canvas.get_attribute("data-label") == second
        painted = canvas.evaluate(
            "c => [...c.getContext('2d').getImageData(0, 0, 64, 64).data].filter(v => v).length"
        )
        assert painted > 4000
        over, under = canvas.bounding_box(), page.locator(".card img").bounding_box()
        assert all(abs(over[k] - under[k]) < 1 for k in over)
        page.mouse.move(1, 1)
        page.wait_for_selector(".card canvas:not(.on)", state="attached")
        rows.nth(0).focus()
        page.wait_for_selector(".card canvas.on")
        page.keyboard.press("Tab")
        assert canvas.get_attribute("data-label") == second
        page.keyboard.press("Enter")
        assert rows.nth(1).get_attribute("aria-pressed") == "true"
        page.locator("#clear").focus()
        assert "on" in canvas.get_attribute("class")
        assert canvas.get_attribute("data-label") == second


def test_an_exclusive_group_is_one_choice(page: Any, run_folder: Path, photos: Path) -> None:
    predictor = lw.load(run_folder)
    ten = predictor.labels.names
    groups = {"size": Group(ten[:4], exclusive=True), "colour": Group(ten[4:8])}
    predictor.labels = LabelSet(ten, groups)
    (found,) = predictor.predict([photos / "train0.jpg"])
    with live(create_app(predictor)) as client:
        page.goto(str(client.base_url))
        page.wait_for_selector("[data-ready]")
        page.set_input_files("#files", [photos / "train0.jpg"])
        page.wait_for_selector("#save:not([disabled])")

        def titles(group: int) -> list[str]:
            """Rows below a heading."""
            lines = page.locator(".card .rows > li").evaluate_all(
                "items => items.map(i => [i.className, i.querySelector('.row')?.title ?? i.innerText])"
            )
            starts = [i for i, (kind, _) in enumerate(lines) if kind == "group"] + [len(lines)]
            return [title for _, title in lines[starts[group] + 1 : starts[group + 1]]]

        headings = page.locator(".card .group").all_inner_texts()
        assert [" ".join(text.split()) for text in headings] == ["size one of 4", "colour"]
        choices = found.choices["size"]
        (shown,) = titles(0)
        assert shown == next((n for n in found.selected if n in choices), next(iter(choices)))
        row = page.locator(f'.card .row[title="{shown}"]')
        assert row.locator(".tick").is_hidden()
        assert "as the one choice of its group" in (row.get_attribute("aria-label") or "")
        if page.locator(".card .more").is_visible():
            page.click(".card .more")
            assert set(titles(0)) == set(ten[:4])
            assert set(titles(1)) == set(ten[4:8])


def test_a_moved_threshold_changes_the_decision_at_once(page: Any, run_folder: Path, photos: Path) -> None:
    predictor = lw.load(run_folder)
    (found,) = predictor.predict([photos / "train0.jpg"])
    last = list(found.scores)[-1]
    with live(create_app(predictor)) as client:
        page.goto(str(client.base_url))
        page.wait_for_selector("[data-ready]")
        page.set_input_files("#files", [photos / "train0.jpg"])
        page.wait_for_selector("#save:not([disabled])")
        open_thresholds(page)
        slider = page.get_by_label(last, exact=True)
        slider.focus()
        page.keyboard.press("Home")
        assert slider.input_value() == "0"
        assert set(names(page)) == {*found.selected, last}
        page.keyboard.press("End")
        assert set(names(page)) == {n for n in found.selected if n != last}
        page.click("#reset")
        assert names(page) == found.selected
        assert not page.locator("#reset").is_visible()


@one_width
def test_the_token_is_asked_for_once(page: Any, run_folder: Path) -> None:
    with live(create_app(lw.load(run_folder), title="guarded", token="s3cret")) as client:
        page.goto(str(client.base_url))
        page.fill("#token", "s3cret")
        page.click("dialog button")
        page.wait_for_selector("[data-ready]")
        page.reload()
        page.wait_for_selector("[data-ready]")
        assert page.inner_text("#model") == "guarded"


def write_audit(folder: Path, source: str) -> Path:
    """Twenty cells of the data, with the opposite proposed."""
    data = lw.read(source)
    head = "rank,image,label,current,proposed,kind,score,probability,reason,evidence"
    lines = [head]
    for i in range(20):
        now = int(data.values[i, i % 10])
        lines.append(
            f"{i + 1},{data.image_id(i)},{data.labels.names[i % 10]},{now},{1 - now},wrong,0.5,0.5,why {i},"
        )
    (folder / "audit.csv").write_text("\n".join(lines) + "\n")
    return folder / "audit.csv"


def test_the_choices_stay_in_place_while_a_photograph_comes(
    page: Any, run_folder: Path, table: Path, tmp_path: Path
) -> None:
    source = scene_files(table, tmp_path)
    review = Review(write_audit(tmp_path, source), lw.read(source))
    with live(create_app(lw.load(run_folder), review=review)) as client:
        page.goto(f"{client.base_url}/review")
        page.wait_for_selector("[data-ready]")
        assert page.locator("#image").bounding_box()["height"] > 200
        before = page.locator("#choices").bounding_box()
        page.evaluate("document.getElementById('image').removeAttribute('src')")
        assert page.locator("#choices").bounding_box() == before


@one_width
def test_twenty_items_are_reviewed_by_keyboard_kept_over_a_reload_and_trained_on(
    page: Any, run_folder: Path, table: Path, tmp_path: Path
) -> None:
    source = scene_files(table, tmp_path)
    audit = write_audit(tmp_path, source)
    keys = "kcu" * 6 + "kc"
    predictor = lw.load(run_folder)
    with live(create_app(predictor, review=Review(audit, lw.read(source)))) as client:
        page.goto(f"{client.base_url}/review")
        page.wait_for_selector("[data-ready]")
        press(page, keys[:7])
        assert page.inner_text("#progress") == "Item 8 of 20, 7 decided"
        page.keyboard.press("e")
        page.wait_for_selector("#map.on")
        for _ in range(2):
            page.keyboard.press("ArrowLeft")
        assert page.inner_text("#why") == "Why 5"
        assert page.locator('.choice[aria-pressed="true"]').get_attribute("data-choice") == "unknown"
    with live(create_app(predictor, review=Review(audit, lw.read(source)))) as client:
        page.goto(f"{client.base_url}/review")
        page.wait_for_selector("[data-ready]")
        assert page.inner_text("#progress") == "Item 8 of 20, 7 decided"
        page.click('.choice[data-choice="change"]')
        page.wait_for_selector('#progress:text("8 decided")')
        press(page, keys[8:])
        page.wait_for_selector('#progress:text("20 decided")')
        page.click("#export")
        page.wait_for_selector("#exported code")
        line = page.inner_text("#exported code")
    changed = int(re.search(r"(\d+) of 20 decided cells", page.inner_text("#exported"))[1])
    assert changed == sum(key != "k" for key in keys)
    found = re.search(r"--data '?parquet:([^' ]+)", line)
    after, before = lw.read(f"parquet:{found[1]}"), lw.read(source)
    assert (after.known != before.known).sum() == keys.count("u")
    assert (after.values != before.values)[after.known].sum() == keys.count("c")
    words, out = shlex.split(line)[1:-1], tmp_path / "again"
    done = tiny_runs.command(*words, out, *tiny_runs.TINY, "--no-report")
    assert done.code == 0, done.err
    assert (out / "results.json").is_file()


@pytest.fixture(scope="module")
def stateful(base: Path, table: Path) -> Path:
    """A run whose model takes known labels of an image."""
    out = base / "stateful"
    words = ("train", "--data", f"parquet:{table}", "--out", out, "--method", "c-tran", "--no-report")
    tiny = ("--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--epochs", "1")
    done = tiny_runs.command(*words, *tiny, "--set", "workers=0")
    assert done.code == 0, done.err
    return out


def test_a_known_state_is_sent_and_stays_in_focus(page: Any, stateful: Path, photos: Path) -> None:
    with live(create_app(lw.load(stateful))) as client:
        page.goto(str(client.base_url))
        page.wait_for_selector("[data-ready]")
        page.set_input_files("#files", [photos / "train0.jpg"])
        page.wait_for_selector("#save:not([disabled])")
        first = page.locator(".card button.state").first
        first.focus()
        key = first.get_attribute("data-key")
        for state in ("true", "false", ""):
            page.keyboard.press("Enter")
            page.wait_for_selector(f'.state[data-key="{key}"][data-state="{state}"]')
            assert page.evaluate("document.activeElement.dataset.key") == key


def press(page: Any, keys: str) -> None:
    """One key after the other, each when the one before is saved."""
    for key in keys:
        before = page.inner_text("#progress")
        page.keyboard.press(key)
        page.wait_for_selector(f'#progress:not(:text-is("{before}"))')
