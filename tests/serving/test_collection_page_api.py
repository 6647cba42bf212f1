"""The search of a collection over HTTP, against the collection's own rows."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from schemathesis.specs.openapi.checks import positive_data_acceptance

import labelwise as lw
import tiny_runs
from labelwise.collection.embedding import embed
from labelwise.collection.store import FolderStore
from labelwise.data.review import Review, begin_audit
from labelwise.serving import searching
from labelwise.serving.app import create_app
from labelwise.serving.kept_pictures import KeptPictures
from labelwise.serving.limits import Limits
from labelwise.serving.searching import Searches
from live_server import live

COUNT = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, the fifth of them empty, their table and their collection."""
    folder = tmp_path_factory.mktemp("searched")
    tiny_runs.photographs(folder, COUNT, 0, 0)
    (folder / "train4.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def collection(folder: Path, run_folder: Path) -> Path:
    """The collection of all labels of the photographs."""
    embed(run_folder, files(folder), folder / "collection", every=True)
    return folder / "collection"


def files(folder: Path) -> list[str]:
    return [str(folder / f"train{i}.jpg") for i in range(COUNT)]


def searches_of(collection: Path, run: Path, folder: Path, budget: int = 1 << 20) -> Searches:
    return Searches(collection, run, KeptPictures(folder / "pictures.sqlite", budget), 1_000_000)


@pytest.fixture(scope="module")
def client(
    collection: Path, run_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of a server with the collection."""
    searches = searches_of(collection, run_folder, tmp_path_factory.mktemp("kept"))
    with live(create_app(lw.load(run_folder), Limits(), searches=searches)) as client:
        yield client


def results(client: Any, **parameters: Any) -> dict[str, Any]:
    answer = client.get("/collection/results", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_collection_and_its_labels_are_described(client: httpx.Client, collection: Path) -> None:
    about, opened = client.get("/collection/about").json(), lw.Collection.open(collection)
    assert about["name"] == "collection"
    assert about["images"] == COUNT
    assert {label["name"]: label["photographs"] for label in about["labels"]} == opened.counts()
    assert client.get("/labels").json()["collection"]
    assert client.get("/collection").text.startswith("<!doctype html>")


def test_without_a_label_all_readable_photographs_are_listed(client: httpx.Client) -> None:
    answer = results(client)
    assert [row["id"] for row in answer["results"]] == [str(i) for i in range(COUNT) if i != 4]
    assert (answer["order"], answer["total"], answer["pages"]) == ("collection", COUNT - 1, 1)


def test_orders_are_those_of_the_collections_own_search(
    client: httpx.Client, collection: Path, folder: Path
) -> None:
    opened = lw.Collection.open(collection)
    label = opened.labels[0]
    for parameters, expected in (
        ({}, opened.search(label, by="score", top=COUNT)),
        ({"like": "2"}, opened.search(label, files(folder)[2], top=COUNT)),
        (
            {"like": ["2", "3"], "unlike": "5"},
            opened.search(label, [files(folder)[i] for i in (2, 3)], negatives=files(folder)[5], top=COUNT),
        ),
        ({"like": "2", "by": "score"}, opened.search(label, by="score", top=COUNT)),
    ):
        answer = results(client, label=label, **parameters)
        assert [int(row["id"]) for row in answer["results"]] == expected["image"].to_pylist()
        assert answer["total"] == len(expected)
        for row, other in zip(answer["results"], expected.to_pylist(), strict=True):
            # A stored feature is compared here, and a computed one there.
            assert row["similarity"] == pytest.approx(other["similarity"], abs=2e-3)
            assert (row["path"], row["score"], row["box"]) == (other["path"], other["score"], other["box"])


def test_filters_leave_what_they_say(client: httpx.Client, collection: Path) -> None:
    rows = lw.Collection.open(collection).images(("image", "labels", "scores", "error")).to_pylist()
    names = lw.Collection.open(collection).identity.labels
    frequent = sorted(names, key=lambda name: abs(sum(name in r["labels"] for r in rows) - COUNT / 2))[:2]
    first, second = frequent
    j = names.index(first)
    bound = float(np.median([r["scores"][j] for r in rows if r["error"] is None]))
    answer = results(client, label=first, present=first, absent=second, least=bound)
    expected = {
        r["image"]
        for r in rows
        if first in r["labels"] and second not in r["labels"] and float(r["scores"][j]) >= bound - 1e-3
    }
    assert {int(row["id"]) for row in answer["results"]} <= expected
    assert len(expected) - answer["total"] <= 1  # a stored score is rounded to float16
    everything = results(client, present=first)
    assert {int(r["id"]) for r in everything["results"]} == {r["image"] for r in rows if first in r["labels"]}


def test_pages_are_one_list(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    label = client.get("/collection/about").json()["labels"][0]["name"]
    whole = [row["id"] for row in results(client, label=label, like="0")["results"]]
    monkeypatch.setattr(searching, "PAGE", 4)
    pages = [results(client, label=label, like="0", page=page) for page in (1, 2, 3)]
    assert [row["id"] for page in pages for row in page["results"]] == whole
    assert results(client, label=label, like="0", page=99)["page"] == pages[0]["pages"] == 3


def test_an_uploaded_photograph_is_searched_like_a_stored_one(client: httpx.Client, folder: Path) -> None:
    content = (folder / "train6.jpg").read_bytes()
    answer = client.post("/collection/photographs", files={"files": ("mine.jpg", content)})
    assert answer.status_code == 200, answer.text
    uploaded = answer.json()
    assert uploaded["id"] == "u" + hashlib.sha256(content).hexdigest()
    assert (uploaded["width"], uploaded["height"], uploaded["path"]) == (48, 40, None)
    own, stored = results(client, like=uploaded["id"]), results(client, like="6")
    assert own["label"] == stored["label"] == uploaded["labels"][0]["name"]
    assert [row["id"] for row in own["results"]] == [row["id"] for row in stored["results"]]
    assert own["like"][0]["score"] == pytest.approx(stored["like"][0]["score"], abs=2e-3)
    assert own["like"][0]["box"] == stored["like"][0]["box"]
    shown = client.get(f"/collection/photographs/{uploaded['id']}/thumbnail")
    assert Image.open(io.BytesIO(shown.content)).size == (48, 40)
    bad = client.post("/collection/photographs", files={"files": ("bad.jpg", b"no image")})
    assert bad.status_code == 422
    assert "not an image file" in bad.json()["error"]
    gone = client.get("/collection/results", params={"like": "u" + "0" * 64})
    assert gone.status_code == 404
    assert "upload it again" in gone.json()["error"]


def test_a_box_of_a_photograph_is_searched_like_the_collections_own(
    client: httpx.Client, collection: Path, folder: Path
) -> None:
    opened = lw.Collection.open(collection)
    label, box = opened.labels[0], (0.25, 0.0, 1.0, 0.5)
    expected = opened.search(label, files(folder)[2], box=box, top=COUNT)
    query = opened.queries(label, files(folder)[2], box=box)[0]
    answer = results(client, label=label, like="2", box="2:0.25,0,1,0.5")
    assert [int(row["id"]) for row in answer["results"]] == expected["image"].to_pylist()
    shown = answer["like"][0]
    assert (shown["marked"], shown["score"], shown["box"]) == (list(box), query.score, list(query.box))
    scores = {row["name"]: row["score"] for row in shown["labels"]}
    assert scores[label] == query.score
    assert results(client, like="2", box="2:0.25,0,1,0.5")["label"] == max(scores, key=scores.__getitem__)
    two = results(client, label=label, like=["2", "3"], unlike="5", box=["2:0.25,0,1,0.5", "5:0,0,0.5,1"])
    assert [row["marked"] for row in (*two["like"], *two["unlike"])] == [list(box), None, [0, 0, 0.5, 1]]
    plain = results(client, label=label, like="2")
    assert plain["like"][0]["marked"] is None
    assert plain["results"] != answer["results"]
    for bad, message in (
        ("2:10,20,30,40", "divide pixels by its width and height"),
        ("2", "expected x0,y0,x1,y1"),
        ("3:0,0,1,0.5", "a box of photograph 3; expected a photograph of the search"),
    ):
        refused = client.get("/collection/results", params={"label": label, "like": "2", "box": bad})
        assert refused.status_code == 422
        assert message in refused.json()["error"]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/hostname",
        "..%2f..%2fetc%2fhostname",
        "%2fetc%2fhostname",
        "-1",
        "1.jpg",
        "99",
        "u..%2fx",
        "1%00",
    ],
)
def test_only_photographs_of_the_collection_are_opened(client: httpx.Client, name: str) -> None:
    for kind in ("thumbnail", "picture"):
        answer = client.get(f"/collection/photographs/{name}/{kind}")
        assert answer.status_code in (404, 422), answer.text


def test_a_file_that_was_changed_is_not_shown(
    collection: Path, run_folder: Path, folder: Path, tmp_path: Path
) -> None:
    """Not even if its path is a link to another image now, or to no file at all."""
    path, other = folder / "train9.jpg", folder / "train8.jpg"
    before = path.read_bytes()
    with TestClient(
        create_app(lw.load(run_folder), searches=searches_of(collection, run_folder, tmp_path))
    ) as client:
        try:
            for change in (
                lambda: path.symlink_to(other),
                lambda: path.symlink_to(folder),
                lambda: os.mkfifo(path),
            ):
                path.unlink()
                change()
                answer = client.get("/collection/photographs/9/picture")
                assert answer.status_code == 404
                assert "is not there or was changed" in answer.json()["error"]
        finally:
            path.unlink()
            path.write_bytes(before)
        assert client.get("/collection/photographs/9/picture").status_code == 200


def test_the_table_holds_paths_and_labels(client: httpx.Client, collection: Path) -> None:
    answer = client.post("/collection/table", json={"images": [7, 4, 0, 7]})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    stored = {
        r["image"]: r
        for r in lw.Collection.open(collection).images(("image", "path", "labels", "scores")).to_pylist()
    }
    assert [row["image"] for row in rows] == [stored[i]["path"] for i in (7, 4, 0)]
    assert rows[0]["selected"] == "|".join(stored[7]["labels"])
    names = lw.Collection.open(collection).identity.labels
    assert [float(rows[2][n]) for n in names] == pytest.approx(
        [float(s) for s in stored[0]["scores"]], abs=1e-6
    )
    assert "is empty" in rows[1]["error"]


def test_selected_photographs_join_the_review(
    collection: Path, run_folder: Path, folder: Path, tmp_path: Path
) -> None:
    data = lw.read(f"csv:{folder / 'labels.csv'}")
    begin_audit(tmp_path / "new.csv")
    review = Review(tmp_path / "new.csv", data)
    app = create_app(
        lw.load(run_folder), review=review, searches=searches_of(collection, run_folder, tmp_path)
    )
    label = data.labels.names[0]
    with TestClient(app) as client:
        # The run has other labels than these data.
        refused = client.post(
            "/collection/review",
            json={"images": [0], "label": client.get("/labels").json()["labels"][0]["name"]},
        )
        assert refused.status_code == 409
        assert "which the data do not have" in refused.json()["error"]
    from labelwise.serving.review_additions import add_cells

    paths = {files(folder)[i]: 0.25 for i in (1, 3)} | {"elsewhere.jpg": 0.5}
    assert add_cells(review, label, paths) == {"added": 2, "there": 0, "absent": 1}
    assert add_cells(review, label, paths) == {"added": 0, "there": 2, "absent": 1}
    review.decide(1, "change")
    again = Review(tmp_path / "new.csv", data)
    assert [(i.image, i.label) for i in again.items] == [("train1.jpg", label), ("train3.jpg", label)]
    for item, row in zip(again.items, (1, 3), strict=True):
        assert item.current == str(int(data.values[row, 0]))
        assert {item.current, item.proposed} == {"0", "1"}
    assert again.choice(1) == "change"


def test_a_label_is_taught_from_photographs_of_the_search(
    collection: Path, run_folder: Path, folder: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    app = create_app(lw.load(run), searches=searches_of(collection, run, tmp_path))
    with TestClient(app) as client:
        own = client.post(
            "/collection/photographs", files={"files": (folder / "train6.jpg").read_bytes()}
        ).json()["id"]
        body = {"name": "../a red one", "positives": ["0", "3", own], "negatives": ["1"]}
        answer = client.post("/collection/teach", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["run"] == str(tmp_path / "run-a-red-one")
        assert answer.json()["sentence"].startswith("../a red one: ")
        taught = lw.load(tmp_path / "run-a-red-one")
        assert taught.labels.names == (*lw.load(run).labels.names, "../a red one")
        refused = client.post("/collection/teach", json={**body, "name": taught.labels.names[0]})
        assert refused.status_code == 409
        assert "has already" in refused.json()["error"]
        assert client.post("/collection/teach", json={**body, "negatives": ["99"]}).status_code == 404


def test_images_that_another_process_adds_appear(
    run_folder: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "FRESH", 0)
    embed(run_folder, files(folder)[:3], tmp_path / "growing", every=True)
    app = create_app(lw.load(run_folder), searches=searches_of(tmp_path / "growing", run_folder, tmp_path))
    with TestClient(app) as client:
        label = client.get("/collection/about").json()["labels"][0]["name"]
        assert results(client, label=label)["total"] == 3
        state = {p: p.stat().st_mtime_ns for p in (tmp_path / "growing").rglob("*")}
        assert results(client, label=label, like="0")["total"] == 2
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / "growing").rglob("*")} == state
        embed(run_folder, files(folder)[:6], tmp_path / "growing", every=True)
        assert client.get("/collection/about").json()["images"] == 6
        assert results(client, label=label, like="0")["total"] == 4  # one of the six cannot be read
        shutil.rmtree(tmp_path / "growing")
        gone = client.get("/collection/results", params={"label": label})
        assert gone.status_code == 503
        assert "expected" in gone.json()["error"]


def test_a_foreign_or_damaged_collection_is_refused_in_one_line(
    collection: Path, run_folder: Path, folder: Path, tmp_path: Path
) -> None:
    def refused(path: Path) -> str:
        return tiny_runs.command("serve", run_folder, "--collection", path).message

    identity = lw.Collection.open(collection).identity
    FolderStore.create(tmp_path / "weights", replace(identity, weights="0"))
    assert "with other weights than the run of" in refused(tmp_path / "weights")
    FolderStore.create(tmp_path / "labels", replace(identity, labels=identity.labels[::-1]))
    assert "with other labels or another order of them" in refused(tmp_path / "labels")
    assert "is no collection" in refused(folder)
    broken = shutil.copytree(collection, tmp_path / "broken")
    for file in (broken / "images.lance" / "_versions").iterdir():
        file.write_bytes(b"x")
    assert "cannot be read" in refused(broken)


def test_kept_pictures_stay_within_the_budget(tmp_path: Path) -> None:
    kept = KeptPictures(tmp_path / "p.sqlite", 1000)
    for i in range(20):
        kept.put(str(i), bytes([i]) * 100)
        assert kept.total() <= 1000
    assert kept.get("19") == bytes([19]) * 100
    assert kept.get("0") is None
    kept.put("large", bytes(1001))
    assert kept.get("large") is None
    made: list[int] = []
    for _ in range(2):
        assert kept.made("x", lambda: made.append(1) or b"content") == b"content"
    assert made == [1]
    assert KeptPictures(tmp_path / "p.sqlite", 1000).get("x") == b"content"
    (tmp_path / "bad.sqlite").write_bytes(b"no database" * 100)
    replaced = KeptPictures(tmp_path / "bad.sqlite", 1000)
    replaced.put("a", b"b")
    assert replaced.get("a") == b"b"
    nowhere = KeptPictures(tmp_path / "p.sqlite" / "x" / "p.sqlite", 1000)
    assert nowhere.made("a", lambda: b"b") == b"b"


@pytest.mark.parametrize(
    "route",
    ["GET /collection/about", "GET /collection/results", "POST /collection/table", "POST /collection/photographs",
     "GET /collection/photographs/{photo}/thumbnail", "GET /collection/photographs/{photo}/picture"],
)  # fmt: skip
def test_generated_requests_are_answered_as_the_schema_says(client: httpx.Client, route: str) -> None:
    schema = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    method, path = route.split()

    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def answered(case: Any) -> None:
        response = case.call(base_url=str(client.base_url))
        # A request that fits the schema need not name a photograph or hold an image.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])
        assert response.status_code < 500

    answered()


def test_an_empty_collection_is_no_error(run_folder: Path, tmp_path: Path) -> None:
    embed(run_folder, [], tmp_path / "empty")
    app = create_app(lw.load(run_folder), searches=searches_of(tmp_path / "empty", run_folder, tmp_path))
    with TestClient(app) as client:
        assert results(client)["total"] == 0
        label = client.get("/collection/about").json()["labels"][0]["name"]
        assert results(client, label=label)["results"] == []
