"""The server over real HTTP: its answers, and the requests that it accepts."""

from __future__ import annotations

import base64
import http.server
import io
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import labelwise as lw
import tiny_runs
from labelwise.inference.predictor import Predictor
from labelwise.serving.app import PAGE, create_app
from labelwise.serving.limits import MIB, Limits
from labelwise.types import Targets
from live_server import live
from tolerance import ANSWERS

SMALL = Limits(file_bytes=MIB // 2, request_bytes=2 * MIB, pixels=100_000, files=3, waiting=64)


@pytest.fixture(scope="module")
def predictor(run_folder: Path) -> Predictor:
    """The finished run, loaded."""
    return lw.load(run_folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight photographs."""
    folder = tmp_path_factory.mktemp("photos")
    tiny_runs.photographs(folder, 8, 0, 0)
    return [folder / f"train{i}.jpg" for i in range(8)]


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Iterator[httpx.Client]:
    """A client of a server with small limits."""
    with live(create_app(predictor, SMALL, title="mine")) as client:
        yield client


def parts(files: list[Any]) -> list[tuple[str, tuple[str, bytes]]]:
    named = [(f.name, f.read_bytes()) if isinstance(f, Path) else f for f in files]
    return [("files", part) for part in named]


def assert_same(line: dict[str, Any], expected: dict[str, Any]) -> None:
    """Asserts equal labels, thresholds and decisions, and probabilities within a bound of float32."""
    ours, theirs = ({x["name"]: x for x in answer["labels"]} for answer in (line, expected))
    assert set(ours) == set(theirs)
    for name, label in theirs.items():
        assert ours[name]["score"] == pytest.approx(label["score"], abs=ANSWERS)
        assert ours[name]["threshold"] == label["threshold"]
        assert ours[name]["selected"] == label["selected"]


def test_answers_are_those_of_the_predictor(
    client: httpx.Client, predictor: Predictor, photos: list[Path]
) -> None:
    expected = [p.to_json() for p in predictor.predict([str(f) for f in photos])]
    together = client.post("/predict", files=parts(photos[:3])).raise_for_status().json()["predictions"]
    assert [p["image"] for p in together] == [f.name for f in photos[:3]]
    with ThreadPoolExecutor(8) as pool:
        posts = pool.map(lambda f: client.post("/predict", files=parts([f])), photos * 4)
        alone = [p.raise_for_status().json()["predictions"][0] for p in posts]
    for line, other in zip([*together, *alone], [*expected[:3], *expected * 4], strict=True):
        assert_same(line, other)


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_base64_is_the_same_image(
    client: httpx.Client, predictor: Predictor, photos: list[Path], prefix: str
) -> None:
    (expected,) = predictor.predict(photos[:1])
    text = prefix + base64.b64encode(photos[0].read_bytes()).decode()
    answer = client.post("/predict", json={"image_base64": text, "name": "a"}).raise_for_status().json()
    assert answer["predictions"][0]["image"] == "a"
    assert_same(answer["predictions"][0], expected.to_json())


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_curl_is_answered(client: httpx.Client, predictor: Predictor, photos: list[Path]) -> None:
    address = str(client.base_url.join("/predict"))
    given = [word for f in photos[:2] for word in ("-F", f"files=@{f}")]
    done = subprocess.run(["curl", "-sf", "--noproxy", "*", *given, address], capture_output=True, check=True)
    for line, p in zip(json.loads(done.stdout)["predictions"], predictor.predict(photos[:2]), strict=True):
        assert_same(line, p.to_json())


def test_maps_come_where_asked_for(client: httpx.Client, predictor: Predictor, photos: list[Path]) -> None:
    (expected,) = predictor.predict(photos[:1], maps=True)
    (line,) = client.post("/predict?maps=true", files=parts(photos[:1])).json()["predictions"]
    for label in line["labels"]:
        np.testing.assert_allclose(label["map"], expected.map(label["name"]), atol=ANSWERS)
    (without,) = client.post("/predict", files=parts(photos[:1])).json()["predictions"]
    assert not any("map" in label for label in without["labels"])


def test_maps_of_an_export_without_them_are_refused(
    client: httpx.Client, predictor: Predictor, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor.engine, "has_maps", False)
    answer = client.post("/predict?maps=true", files=parts(photos[:1]))
    assert (answer.status_code, "export again with --maps" in answer.json()["error"]) == (400, True)
    assert client.get("/labels").json()["gives_maps"] is False


def test_a_bad_file_has_an_error_and_the_others_are_answered(
    client: httpx.Client, predictor: Predictor, photos: list[Path]
) -> None:
    cut = photos[0].read_bytes()[:400]
    answer = client.post("/predict", files=parts([photos[0], ("cut.jpg", cut), photos[1]]))
    assert answer.status_code == 200
    lines = answer.json()["predictions"]
    assert lines[1]["image"] == "cut.jpg"
    assert set(lines[1]) == {"image", "error"}
    assert "truncated" in lines[1]["error"]
    for line, p in zip((lines[0], lines[2]), predictor.predict(photos[:2]), strict=True):
        assert_same(line, p.to_json())
    alone = client.post("/predict", files=parts([("cut.jpg", cut)]))
    assert (alone.status_code, len(alone.json()["predictions"])) == (422, 1)


def encoded(width: int, height: int, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, form)
    return out.getvalue()


def test_limits_on_one_file_are_reported_in_its_line(client: httpx.Client, photos: list[Path]) -> None:
    big = ("big.jpg", photos[0].read_bytes() + bytes(MIB))
    content = client.post("/predict", files=parts([big, ("wide.png", encoded(1000, 101)), photos[0]])).json()
    errors = [p.get("error", "") for p in content["predictions"]]
    assert "expected at most 524,288" in errors[0]
    assert "1,000 x 101 pixels; expected at most 100,000" in errors[1]
    assert errors[2] == ""


JSON = {"content-type": "application/json"}
REFUSED = {
    "files": ({"files": parts([("a", b"x")] * 4)}, 413, "too many files; expected at most 3 in a request"),
    "bytes": ({"files": parts([("a", bytes(3 * MIB))])}, 413, "expected at most 2,097,152"),
    "field": ({"files": {"image": ("a", b"x")}}, 400, "a form without `files`"),
    "type": ({"content": b"x", "headers": {"content-type": "image/png"}}, 415, "content type 'image/png'"),
    "none": ({}, 415, "content type '(none)'"),
    "json": ({"content": b"{", "headers": JSON}, 400, "JSON that cannot be read"),
    "deep": ({"content": b"[" * 100_000, "headers": JSON}, 400, "JSON that cannot be read"),
    "list": ({"json": []}, 400, "JSON without an image"),
    "both": ({"json": {"image_base64": "", "url": ""}}, 400, "JSON without an image"),
    "key": ({"json": {"image_base64": "", "size": 1}}, 400, "the key 'size'"),
    "base64": ({"json": {"image_base64": "?"}}, 400, "image_base64 that is no base64"),
    "url": ({"json": {"url": "http://127.0.0.1/x.jpg"}}, 403, "expected a host that was allowed: none"),
    "file": ({"json": {"url": "file:///etc/hostname"}}, 403, "the address of no host"),
    "states": ({"json": {"image_base64": "", "states": {"1": 1}}}, 400, "states of another form"),
    "method": ({"json": {"image_base64": "", "states": {"1": True}}}, 400, "a model that cannot use them"),
    "form": (
        {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}},
        400,
        "a form that cannot be read",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_line(client: httpx.Client, name: str) -> None:
    request, status, message = REFUSED[name]
    answer = client.post("/predict", **request)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_parameter_of_another_form_is_told_in_one_line(client: httpx.Client) -> None:
    answer = client.post("/predict?maps=perhaps", json={"image_base64": ""})
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert answer.json()["error"].startswith("query.maps: Input should be a valid boolean")


def test_a_body_without_a_length_is_counted(client: httpx.Client) -> None:
    answer = client.post("/predict", content=(bytes(MIB) for _ in range(4)), headers=JSON)
    assert answer.status_code == 413
    assert client.get("/healthz").json() == {"status": "ok"}


def test_labels_say_what_decides(client: httpx.Client, predictor: Predictor) -> None:
    content = client.get("/labels").json()
    d = predictor.decisions
    assert [label["name"] for label in content["labels"]] == list(predictor.labels.names)
    for key, values in (("threshold", d.thresholds), ("scale", d.scale), ("bias", d.bias)):
        assert [label[key] for label in content["labels"]] == values.tolist()
    assert (content["model"], content["review"], content["takes_states"]) == ("mine", False, False)
    assert content["view"] == {"resize": "squash", "size": [32, 32]}


def test_known_states_of_an_image_change_its_answer(table: Path, tmp_path: Path, photos: list[Path]) -> None:
    from labelwise.runs.config import make_config
    from labelwise.training.fit import train

    changes = {"method": "c-tran", "extractor": {}, "backbone": {"name": "test_resnet", "weights": "none"}}
    train(
        make_config(tiny_runs.settings(f"parquet:{table}", epochs=1, **changes)), tmp_path / "run", quiet=True
    )
    predictor = lw.load(tmp_path / "run")
    names = predictor.labels.names
    known_states = {names[0]: True, names[2]: False}
    states = torch.full((2, len(names)), torch.nan)
    states[:, 0], states[:, 2] = 1, 0
    images = torch.stack([predictor.transform(lw.data.decode_image(f)) for f in photos[:2]])
    with torch.inference_mode():
        logits = predictor.engine.model(images, states=Targets.of(states)).logits.numpy()
    expected = predictor.decisions.probabilities(logits)
    with live(create_app(predictor)) as client:
        assert client.get("/labels").json()["takes_states"] is True
        form = client.post("/predict", files=parts(photos[:2]), data={"states": json.dumps(known_states)})
        text = base64.b64encode(photos[0].read_bytes()).decode()
        body = client.post("/predict?maps=true", json={"image_base64": text, "states": known_states})
        plain = client.post("/predict", files=parts(photos[:2])).json()["predictions"]
        unknown = client.post("/predict", json={"image_base64": text, "states": {"unicorn": True}})
    lines = [*form.json()["predictions"], *body.json()["predictions"]]
    for line, row in zip(lines, [*expected, expected[0]], strict=True):
        scores = {label["name"]: label["score"] for label in line["labels"]}
        np.testing.assert_allclose([scores[name] for name in names], row, atol=1e-5)
    moved = {label["name"]: label["score"] for label in plain[0]["labels"]}
    assert abs(expected[0] - [moved[name] for name in names]).max() > 1e-4
    assert (unknown.status_code, "unicorn" in unknown.json()["error"]) == (400, True)


def test_counters_count(predictor: Predictor, photos: list[Path]) -> None:
    with live(create_app(predictor, SMALL)) as client:
        client.post("/predict", files=parts([photos[0], ("bad", b"x")]))
        client.get("/no/such/place/7")
        text = client.get("/metrics").text
    assert 'labelwise_images_total{outcome="answered"} 1.0' in text
    assert 'labelwise_images_total{outcome="unreadable"} 1.0' in text
    assert 'labelwise_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'labelwise_requests_total{route="other",status="404"} 1.0' in text
    assert "place/7" not in text


def test_pages_and_description_ask_nobody_else(client: httpx.Client) -> None:
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'self'" in page.headers["content-security-policy"]
        for asset in re.findall(r'(?:href|src)="(/assets/[^"]+)"', page.text):
            assert client.get(asset).status_code == 200, asset
    for file in PAGE.iterdir():
        assert not re.search(r"https?://|//\w+\.\w", file.read_text(encoding="utf-8")), file.name
    assert client.get("/review").status_code == 404
    described = client.get("/openapi.json").json()
    assert {"/predict", "/labels", "/healthz", "/readyz", "/metrics"} <= set(described["paths"])
    assert set(described["paths"]["/predict"]["post"]["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
    }


def test_every_request_has_an_id_and_a_line_in_the_log(
    client: httpx.Client, photos: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "labelwise.serving"):
        given = client.post("/predict", files=parts(photos[:2]), headers={"X-Request-ID": "abc-1"})
        odd = client.get("/healthz", headers={"X-Request-ID": 'a"b'})
        time.sleep(0.1)
    ids = [answer.headers["x-request-id"] for answer in (given, odd)]
    assert ids[0] == "abc-1"
    assert re.fullmatch(r"[0-9a-f]{32}", ids[1])
    lines = [json.loads(record.message) for record in caplog.records if record.name == "labelwise.serving"]
    lines = [
        line for line in lines if line["path"] != "/openapi.json"
    ]  # of the test before, logged after its answer
    assert [line["id"] for line in lines] == ids
    assert (lines[0]["event"], lines[0]["path"], lines[0]["status"]) == ("request", "/predict", 200)
    assert (lines[0]["images"], lines[0]["method"]) == (2, "POST")
    assert lines[0]["ms"] > 0


def test_the_token_guards_all_but_signs_of_life_and_empty_pages(
    predictor: Predictor, photos: list[Path]
) -> None:
    with live(create_app(predictor, token="s3cret")) as client:
        for path in ("/healthz", "/readyz", "/", "/docs", "/openapi.json", "/assets/common.js"):
            assert client.get(path).status_code == 200
        for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
            for path in ("/labels", "/metrics"):
                answer = client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
            assert client.post("/predict", files=parts(photos[:1]), headers=headers).status_code == 401
        right = {"Authorization": "Bearer s3cret"}
        assert client.get("/labels", headers=right).status_code == 200
        assert client.post("/predict", files=parts(photos[:1]), headers=right).status_code == 200


@contextmanager
def slowed(predictor: Predictor, seconds: float) -> Iterator[threading.Event]:
    """A predictor that is slow until the event is set."""
    go, plain = threading.Event(), predictor.of_prepared

    def late(images: Any, maps: bool = False) -> Any:
        go.wait(seconds)
        return plain(images, maps)

    object.__setattr__(predictor, "of_prepared", late)
    try:
        yield go
    finally:
        go.set()
        object.__delattr__(predictor, "of_prepared")


def test_a_full_server_says_when_to_come_again(predictor: Predictor, photos: list[Path]) -> None:
    app = create_app(predictor, Limits(files=2, waiting=4, batch=2))
    with live(app) as client, slowed(predictor, 20) as go, ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(client.post, "/predict", files=parts(photos[:2])) for _ in range(4)]
        while sum(post.done() for post in posts) < 2:
            time.sleep(0.01)
        refused = [post.result() for post in posts if post.done()]
        assert [answer.status_code for answer in refused] == [429, 429]
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert "more images with 4 waiting; expected at most 4" in refused[0].json()["error"]
        assert (client.get("/readyz").status_code, client.get("/healthz").status_code) == (503, 200)
        go.set()
        assert sorted(post.result().status_code for post in posts) == [200, 200, 429, 429]
        assert client.post("/predict", files=parts(photos[:2])).status_code == 200


def test_a_request_that_takes_too_long_ends(predictor: Predictor, photos: list[Path]) -> None:
    with live(create_app(predictor, Limits(seconds=0.3))) as client:
        with slowed(predictor, 20) as go:
            answer = client.post("/predict", files=parts(photos[:1]))
            assert answer.status_code == 504
            assert "a request not answered in 0.3 s" in answer.json()["error"]
            go.set()
        time.sleep(0.2)
        assert "labelwise_waiting_images 0.0" in client.get("/metrics").text


def test_a_client_may_say_how_long_it_waits(predictor: Predictor, photos: list[Path]) -> None:
    with live(create_app(predictor)) as client, slowed(predictor, 20) as go:
        answer = client.post("/predict", files=parts(photos[:1]), headers={"Prefer": "wait=1"})
        assert answer.status_code == 504
        assert "a request not answered in 1 s" in answer.json()["error"]
        go.set()
        assert client.post("/predict", files=parts(photos[:1])).status_code == 200


def test_who_closes_the_connection_is_not_worked_for(predictor: Predictor, photos: list[Path]) -> None:
    def waiting() -> str:
        return re.search(r"^labelwise_waiting_images (\S+)", client.get("/metrics").text, re.MULTILINE)[1]  # type: ignore[index]

    app = create_app(predictor, Limits(batch=1))
    with live(app) as client, slowed(predictor, 20) as go, ThreadPoolExecutor(1) as pool:
        stays = pool.submit(client.post, "/predict", files=parts(photos[:1]))
        while waiting() != "1.0":
            time.sleep(0.01)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/predict", files=parts(photos[:3]), timeout=0.3)
        ends = time.monotonic() + 10
        while waiting() != "1.0" and time.monotonic() < ends:
            time.sleep(0.01)
        assert waiting() == "1.0"  # cancelled while the engine is still at the first image
        go.set()
        assert stays.result().status_code == 200
        assert 'labelwise_images_total{outcome="answered"} 1.0' in client.get("/metrics").text


def test_an_engine_that_fails_is_told_with_the_request(
    predictor: Predictor, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with live(create_app(predictor)) as client:
        with monkeypatch.context() as patch:
            patch.setattr(predictor, "of_prepared", lambda *_, **__: 1 / 0)
            answer = client.post("/predict", files=parts(photos[:1]), headers={"X-Request-ID": "r7"})
            assert answer.status_code == 500
            assert answer.json() == {"error": "the server failed on request r7; see its log"}
        assert client.post("/predict", files=parts(photos[:1])).status_code == 200


def test_stopping_answers_what_is_under_way(predictor: Predictor, photos: list[Path]) -> None:
    with ThreadPoolExecutor(1) as pool, ExitStack() as slow:
        with live(create_app(predictor)) as client:
            assert client.get("/readyz").json() == {"ready": True}
            go = slow.enter_context(slowed(predictor, 20))
            post = pool.submit(client.post, "/predict", files=parts(photos[:2]))
            while "labelwise_waiting_images 2.0" not in client.get("/metrics").text:
                time.sleep(0.01)
            threading.Timer(0.3, go.set).start()
        assert post.result().status_code == 200


class Host(http.server.BaseHTTPRequestHandler):
    """Serves `file` at every path except /moved, which redirects."""

    file = b""

    def do_GET(self) -> None:
        moved = self.path == "/moved"
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", "/photo.jpg")
        self.end_headers()
        self.wfile.write(b"" if moved else self.file)

    def log_message(self, *_: Any) -> None:
        """Silences the log."""


def test_addresses_of_allowed_hosts_are_fetched(predictor: Predictor, photos: list[Path]) -> None:
    Host.file = photos[0].read_bytes()
    (expected,) = predictor.predict(photos[:1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{host.server_port}"
        with live(create_app(predictor, Limits(url_hosts=("127.0.0.1",)))) as client:
            answer = client.post("/predict", json={"url": f"{place}/photo.jpg"}).json()["predictions"][0]
            assert answer["image"] == f"{place}/photo.jpg"
            assert_same(answer, expected.to_json())
            moved = client.post("/predict", json={"url": f"{place}/moved"})
            assert moved.status_code == 422
            assert "status 302" in moved.json()["predictions"][0]["error"]
            other = client.post("/predict", json={"url": f"http://localhost:{host.server_port}/photo.jpg"})
            assert other.status_code == 403
        host.shutdown()
