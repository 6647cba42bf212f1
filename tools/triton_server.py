"""Answers of a Triton server for a repository of `labelwise export --format triton`, compared with `labelwise predict`.

Run: tritonserver --model-repository=REPOSITORY [--backend-directory=BACKENDS] &
     python tools/triton_server.py REPOSITORY IMAGES --http 127.0.0.1:8000 --grpc 127.0.0.1:8001 \\
         [--csv results/triton.csv]

Needs tritonclient[http,grpc]. Photographs are the first 14 of a folder, in batches of 1, 2, 3 and 8; then, over gRPC,
one each in 14 requests at once, which Triton puts into batches. Where Triton has no backend for ONNX Runtime, as in the
package nvidia-pytriton 0.7 (its `tritonserver` folder), triton_backend.py is the backend; it ran with NumPy 1.26.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

import labelwise as lw
from kept import keep
from labelwise.export.parity import BATCHES
from labelwise.inference.predictor import Prediction

OUTPUTS = ("probabilities", "selected", "maps")


def asked(client: Any, server: Any, model: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs for a batch."""
    tensor = client.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    answer = server.infer(model, [tensor], outputs=[client.InferRequestedOutput(name) for name in OUTPUTS])
    return {name: answer.as_numpy(name) for name in OUTPUTS}


def compared(
    answers: list[dict[str, np.ndarray]], expected: list[Prediction], names: Sequence[str]
) -> dict[str, Any]:
    """The largest differences from the predictions, and the decisions that differ; `names` in column order."""
    p, selected, maps = (np.concatenate([answer[name] for answer in answers]) for name in OUTPUTS)
    scores = np.array([[one.scores[name] for name in names] for one in expected])
    chosen = np.array([[name in one.selected for name in names] for one in expected])
    apart = [
        np.abs(maps[i, j] - one.map(name)).sum() / 2
        for i, one in enumerate(expected)
        for j, name in enumerate(names)
    ]
    return {
        "largest_probability_difference": f"{np.abs(p - scores).max():.1e}",
        "decisions_that_differ": f"{int((selected != chosen).sum())} of {chosen.size}",
        "largest_map_distance": f"{max(apart):.1e}",
    }


def main() -> None:
    """Prints the lines, and writes them with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("folder", type=Path, metavar="IMAGES")
    parser.add_argument("--http", default="127.0.0.1:8000")
    parser.add_argument("--grpc", default="127.0.0.1:8001")
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    (config,) = given.repository.glob("*/config.pbtxt")
    model, predictor = config.parent.name, lw.load(given.repository)
    files = sorted(given.folder.glob("*.jpg"))[: sum(BATCHES)]
    images = np.stack([predictor.transform(predictor.transform.decode(file)) for file in files])
    expected = list(predictor.predict(files, maps=True, batch_size=1))
    ends = np.cumsum(BATCHES)[:-1]
    rows: list[dict[str, Any]] = []
    first = over_http.InferenceServerClient(given.http, network_timeout=600)
    second = over_grpc.InferenceServerClient(given.grpc)
    for protocol, client, server in (("HTTP", over_http, first), ("gRPC", over_grpc, second)):
        about = server.get_server_metadata()
        triton = about["version"] if isinstance(about, dict) else about.version
        sizes = ", ".join(map(str, BATCHES))
        send = partial(asked, client, server, model)
        answers = {f"batches of {sizes}": [send(part) for part in np.split(images, ends)]}
        if client is over_grpc:  # the client for HTTP takes one thread
            with ThreadPoolExecutor(len(images)) as pool:
                answers["one each, at once"] = list(pool.map(send, np.split(images, len(images))))
        for form, given_answers in answers.items():
            about = {"triton": triton, "client": f"tritonclient {version('tritonclient')}"}
            rows.append({**about, "protocol": protocol, "requests": form, "photographs": len(files)})
            rows[-1] |= compared(given_answers, expected, predictor.labels.names)
            print(rows[-1], flush=True)
    keep(given.csv, rows)


if __name__ == "__main__":
    main()
