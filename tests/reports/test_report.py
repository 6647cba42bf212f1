from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from synthetic_run import FakeDataset, FakePredictor, photographs, write_run

from labelwise.errors import LabelwiseError
from labelwise.reports import write_report
from labelwise.reports.record import read_run
from labelwise.reports.sections import curves, duration, rows_of_labels
from labelwise.reports.tallies import confident_errors

NAMES = ("cat", "dog", "sofa", "chair", "person", "potted plant")
VOID = {"meta", "img", "br", "input", "link"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects tags, URLs and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and kind in ["", *(a.get("class") or "").split(" ")]]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("full") / "run", NAMES, images=120)
    dataset = FakeDataset(photographs(120), boxes=((0, 0.1, 0.1, 0.5, 0.5),))
    return write_report(run, predictor=FakePredictor(), dataset=dataset)


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_the_headline_holds_the_figures_of_test(full: Path) -> None:
    metrics = json.loads((full.parent / "results.json").read_text())["splits"]["test"]["metrics"]
    text = read(full).text
    assert f"{100 * metrics['mAP']:.1f} % mAP on test" in text
    for shown in ("77.2 % CF1", "81.1 % OF1", "71.2 % pointing", "120 test images", "6 labels"):
        assert shown in text
    for fact in ("Backbone tf_efficientnet_lite0", "Best epoch 6", "Training took 3 min 7 s", "224 px"):
        assert fact in text
    assert "No test split" not in text


def test_every_section_and_every_picture_is_there(full: Path) -> None:
    page = read(full)
    sections = [attributes["id"] for attributes in page.of("section")]
    assert sections == [
        "training", "labels", "curves", "scores", "confusions", "pictures", "conditions", "bad-images"
    ]  # fmt: skip
    photos = page.of("button", "photo")
    assert len(page.of("img")) == 2 * len(photos) >= 12
    assert page.of("span", "box")
    assert "absent" not in [attributes.get("class") for attributes in page.of("p")]
    assert "the file ends early" in page.text


def test_the_table_holds_every_label_best_first(full: Path) -> None:
    rows = rows_of_labels(read_run(full.parent))["rows"]
    assert {row["name"] for row in rows} == set(NAMES)
    frequent = [row["positives"] >= 10 for row in rows]
    assert frequent == sorted(frequent, reverse=True)
    for part in (True, False):
        aps = [row["AP"] for row, own in zip(rows, frequent, strict=True) if own is part]
        assert aps == sorted(aps, reverse=True)
    per_label = json.loads((full.parent / "results.json").read_text())["splits"]["test"]["per_label"]
    assert all(row["positives"] == per_label[row["name"]]["positives"] for row in rows)


def test_nothing_outside_the_file_is_asked_for(full: Path) -> None:
    text = full.read_text(encoding="utf-8")
    for tag, attributes in Page(text).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/", "#"))
    assert not re.search(r"https?:|url\(|@import|fetch\(", text)
    assert "default-src 'none'" in text


def test_the_policy_lets_the_own_script_run_and_no_other(full: Path) -> None:
    text = full.read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_pictures_and_tables_can_be_heard(full: Path) -> None:
    page = read(full)
    assert all(attributes.get("alt") for attributes in page.of("img"))
    assert all(attributes.get("aria-label") for attributes in page.of("svg"))
    assert len(page.of("caption")) == len(page.of("table")) > 4
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_label_named_like_a_script_does_not_run(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    names = (evil, '"><img src=x onerror=alert(1)>', "</script><b>", "{{ 7 * 7 }}", "dog & cat", "it's")
    write_run(tmp_path / evil.replace("/", "_"), names, images=60)
    run = tmp_path / evil.replace("/", "_")
    dataset = FakeDataset(photographs(60))
    path = write_report(run, predictor=FakePredictor(), dataset=dataset)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.of("script")) == 2
    assert not [
        attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)
    ]
    assert not [a for a in page.of("img") if not (a.get("src") or "").startswith("data:")]
    assert evil in page.text
    assert "{{ 7 * 7 }}" in page.text
    stored = re.search(r'<script type="application/json" id="explored">(.*?)</script>', text, flags=re.DOTALL)
    assert stored is not None
    assert [item["name"] for item in json.loads(stored[1])] == list(names)


def test_without_test_split_the_page_says_that_it_flatters(tmp_path: Path) -> None:
    text = read(write_report(write_run(tmp_path, NAMES, images=40, splits=("val",), epochs=1))).text
    assert "mAP on val" in text
    assert "No test split was evaluated. These figures are of the val split" in text
    assert "after the only epoch: 53.5 %" in text


def test_a_label_without_positives_has_no_curve_but_a_row(tmp_path: Path) -> None:
    run = write_run(tmp_path, NAMES, images=60, without_positives=("sofa",))
    page = read(write_report(run))
    assert "1 label has no AP without positives" in page.text
    label_curves = curves(read_run(run))
    assert label_curves is not None
    assert label_curves["explorer"][2]["curve"] == ""
    assert "no positives, so no curve" in label_curves["explorer"][2]["text"]
    assert rows_of_labels(read_run(run))["rows"][-1]["name"] == "sofa"


@pytest.mark.parametrize("labels", [1, 200])
def test_few_and_many_labels(tmp_path: Path, labels: int) -> None:
    names = [f"attribute {i} " + "with a long name " * (i % 5) for i in range(labels)]
    path = write_report(write_run(tmp_path, names, images=150, epochs=2))
    assert len(read(path).of("option")) == labels
    assert path.stat().st_size < 2e6


def test_a_full_gallery_stays_under_four_megabytes(full: Path) -> None:
    assert full.stat().st_size < 4e6


def test_the_bare_minimum_says_what_is_absent(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"names": ["cat", "dog"]}))
    (tmp_path / "results.json").write_text(json.dumps({"format": 1, "splits": {"test": {}}}))
    page = read(write_report(tmp_path))
    for sentence in (
        "The run holds no training log.",
        "The run stores no scores to draw curves of.",
        "The run stores no scores to count confusions in.",
        "No pictures: no scores of the test split are stored in the run.",
    ):
        assert sentence in page.text
    assert "–" in page.text
    assert "bad-images" not in [attributes["id"] for attributes in page.of("section")]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, "without the photographs and the model"),
        ({"predictor": FakePredictor()}, "without the photographs."),
        ({"dataset": FakeDataset(photographs(1))}, "without the model."),
    ],
)
def test_no_gallery_without_model_or_photographs(tmp_path: Path, parts: dict, reason: str) -> None:
    text = read(write_report(write_run(tmp_path, NAMES, images=40), **parts)).text
    assert f"No pictures: the report was written {reason}" in text


def test_a_failed_report_leaves_the_old_one_and_no_litter(full: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path, NAMES, images=40)
    (run / "report.html").write_text("old")
    with pytest.raises(LabelwiseError, match="is not in the data set"):
        write_report(run, predictor=FakePredictor(), dataset=FakeDataset(photographs(3), prefix="other-"))
    assert (run / "report.html").read_text() == "old"
    write_report(run)
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    assert not [name for name in os.listdir(run) if name.startswith(".")]


def test_a_page_that_cannot_be_put_in_its_place_leaves_no_litter(tmp_path: Path) -> None:
    run = write_run(tmp_path, NAMES, images=40)
    (run / "report.html").mkdir()
    with pytest.raises(LabelwiseError, match=r"report\.html could not be written"):
        write_report(run)
    assert not [name for name in os.listdir(run) if name.startswith(".")]


def test_a_file_name_that_is_no_text_is_shown_with_question_marks(tmp_path: Path) -> None:
    run = write_run(tmp_path, NAMES, images=40)
    (run / "bad_images.csv").write_bytes(b"image,reason\ncaf\xe9.jpg,the file ends early\n")
    assert "caf?.jpg" in read(write_report(run)).text


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, NAMES, images=40)
    first = write_report(run).read_bytes()
    assert write_report(str(run)).read_bytes() == first


def test_durations_are_rounded_before_they_are_split() -> None:
    assert [duration(s) for s in (59.6, 60, 3599.7, None)] == ["1 min", "1 min", "1 h 0 min", "–"]


def test_labels_that_are_never_selected_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", NAMES, images=120)
    labels = json.loads((run / "labels.json").read_text())
    labels["rules"] = {"exclusive": [], "top_k": 0, "never": ["sofa"]}
    (run / "labels.json").write_text(json.dumps(labels))
    record = read_run(run)
    assert record.never == (2,)
    assert [row["name"] for row in rows_of_labels(record)["rows"] if row["never"]] == ["sofa"]
    assert not record.scores["test"].selected[:, 2].any()
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "Never selected, no positive in train: sofa." in page.text
    assert page.of("td")
    assert [cell.get("title") for cell in page.of("td")].count("no positive in train") == 1
    # The label is missed by a rule, which is not an error of the scores.
    missed = confident_errors(record.scores["test"], record.thresholds)[1]
    assert missed
    assert 2 not in {pick.label for pick in missed}
    plain = write_run(tmp_path / "plain", NAMES, images=60)
    assert "Never selected" not in Page(write_report(plain).read_text(encoding="utf-8")).text
