"""Requests of the public client `tritonclient` to a live server over HTTP and gRPC, compared with `labelwise predict`.

Run: labelwise serve EXPORT --port 8321 --grpc-port 8322 &
     labelwise predict EXPORT PHOTO... --json > answers.jsonl
     python tools/kserve_client.py MODEL answers.jsonl --http 127.0.0.1:8321 --grpc 127.0.0.1:8322 \\
         [--rounds 3] [--csv results/kserve.csv]

Run it where tritonclient[http,grpc] is installed; it needs nothing of labelwise. Photographs are those named in the
answers. Rates are those of one client that sends a photograph after the other; the ways take turns, and the median of
the rounds is kept.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from PIL import Image

from kept import keep

WAYS = ("file", "file, answer in JSON", "base64", "pixels", "maps")
OF_GRPC = ("file", "pixels", "maps")
OUTPUTS = ("scores", "selected", "labels")


def over(client: Any, server: Any, model: str, way: str) -> Callable[[Path], Any]:
    """A function that sends a photograph in one of the ways and returns the answer."""
    outputs = [*OUTPUTS, *(["maps"] if way == "maps" else [])]
    form = {} if client is over_grpc else {"binary_data": way != "file, answer in JSON"}
    wanted = [client.InferRequestedOutput(name, **form) for name in outputs]

    def send(path: Path) -> Any:
        if way == "pixels":
            pixels = np.asarray(Image.open(path).convert("RGB"))[None]
            tensor = client.InferInput("pixels", list(pixels.shape), "UINT8")
            tensor.set_data_from_numpy(pixels)
        else:
            tensor = client.InferInput("image", [1], "BYTES")
            data = base64.b64encode(path.read_bytes()) if way == "base64" else path.read_bytes()
            encoded = {"binary_data": False} if way == "base64" else {}
            tensor.set_data_from_numpy(np.array([data], object), **encoded)
        return server.infer(model, [tensor], outputs=wanted)

    return send


def check(answer: Any, expected: dict[str, Any], way: str) -> float:
    """The largest difference of a probability; fails where a decision or the form of the maps is another."""
    by_name = {label["name"]: label for label in expected["labels"]}
    names = [text.decode() if isinstance(text, bytes) else text for text in answer.as_numpy("labels")]
    chosen = np.array([by_name[name]["selected"] for name in names])
    assert (answer.as_numpy("selected")[0] == chosen).all(), (way, expected["image"])
    if way == "maps":
        assert np.allclose(answer.as_numpy("maps").sum((2, 3)), 1, atol=1e-3)
    reference = np.array([by_name[name]["score"] for name in names])
    return float(np.abs(answer.as_numpy("scores")[0] - reference).max())


def main() -> None:
    """Sends each photograph in each way; exits with an error for any other decision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("answers", type=Path)
    parser.add_argument("--http", required=True)
    parser.add_argument("--grpc", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    expected = [json.loads(line) for line in given.answers.read_text(encoding="utf-8").splitlines()]
    with (
        over_http.InferenceServerClient(given.http) as first,
        over_grpc.InferenceServerClient(given.grpc) as second,
    ):
        for server in (first, second):
            assert server.is_server_live()
            assert server.is_server_ready()
            assert server.is_model_ready(given.model)
        inputs = [tensor.name for tensor in second.get_model_metadata(given.model).inputs]
        assert inputs == [tensor["name"] for tensor in first.get_model_metadata(given.model)["inputs"]]
        ways = {("HTTP", way): over(over_http, first, given.model, way) for way in WAYS}
        ways |= {("gRPC", way): over(over_grpc, second, given.model, way) for way in OF_GRPC}
        worst, rates = dict.fromkeys(ways, 0.0), defaultdict[tuple[str, str], list[float]](list)
        for _ in range(given.rounds):
            for key, send in ways.items():
                started = time.perf_counter()
                answers = [send(Path(one["image"])) for one in expected]
                rates[key].append(len(expected) / (time.perf_counter() - started))
                pairs = zip(answers, expected, strict=True)
                worst[key] = max(worst[key], *(check(a, e, key[1]) for a, e in pairs))
    rows = [
        {
            "client": f"tritonclient {version('tritonclient')}",
            "protocol": protocol,
            "request": way,
            "photographs": len(expected),
            "largest difference of a probability": f"{worst[protocol, way]:.1e}",
            "decisions": "identical",
            "photographs a second": f"{median(rates[protocol, way]):.1f}",
            "slowest and quickest round": f"{min(rates[protocol, way]):.1f} to {max(rates[protocol, way]):.1f}",
            "rounds": given.rounds,
        }
        for protocol, way in ways
    ]
    print(json.dumps(rows, indent=1))
    keep(given.csv, rows)


if __name__ == "__main__":
    main()
