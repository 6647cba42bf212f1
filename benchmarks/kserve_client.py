"""Requests of the public client `tritonclient[http]` to a live server, compared with `labelwise predict --json`.

    labelwise serve EXPORT --port 8321 &
    labelwise predict EXPORT PHOTO... --json > answers.jsonl
    python benchmarks/kserve_client.py 127.0.0.1:8321 MODEL answers.jsonl [--csv results/kserve.csv]

Run it where tritonclient is installed; it needs nothing of labelwise. Photographs are those named in the answers.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tritonclient.http as client
from PIL import Image


def main() -> None:
    """Sends each photograph as a file, as base64 and as pixels; exits with an error for any other decision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("model")
    parser.add_argument("answers", type=Path)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    expected = [json.loads(line) for line in given.answers.read_text(encoding="utf-8").splitlines()]
    with client.InferenceServerClient(given.address) as server:
        assert server.is_server_live()
        assert server.is_server_ready()
        assert server.is_model_ready(given.model)
        about = server.get_model_metadata(given.model)
        assert [tensor["name"] for tensor in about["inputs"]] == ["image", "pixels"]
        worst = dict.fromkeys(("file", "file, answer in JSON", "base64", "pixels", "maps"), 0.0)
        for answer in expected:
            content = Path(answer["image"]).read_bytes()
            pixels = np.asarray(Image.open(answer["image"]).convert("RGB"))[None]
            by_name = {label["name"]: label for label in answer["labels"]}
            for way in worst:
                if way == "pixels":
                    tensor = client.InferInput("pixels", list(pixels.shape), "UINT8")
                    tensor.set_data_from_numpy(pixels)
                else:
                    tensor = client.InferInput("image", [1], "BYTES")
                    data = base64.b64encode(content) if way == "base64" else content
                    tensor.set_data_from_numpy(np.array([data], object), binary_data=way != "base64")
                outputs = ["scores", "selected", "labels", *(["maps"] if way == "maps" else [])]
                binary = way != "file, answer in JSON"
                wanted = [client.InferRequestedOutput(name, binary_data=binary) for name in outputs]
                result = server.infer(given.model, [tensor], outputs=wanted)
                names = [text.decode() if binary else text for text in result.as_numpy("labels")]
                reference = np.array([by_name[name]["score"] for name in names])
                chosen = np.array([by_name[name]["selected"] for name in names])
                difference = np.abs(result.as_numpy("scores")[0] - reference).max()
                worst[way] = max(worst[way], float(difference))
                assert (result.as_numpy("selected")[0] == chosen).all(), (way, answer["image"])
                if way == "maps":
                    assert np.allclose(result.as_numpy("maps").sum((2, 3)), 1, atol=1e-3)
    rows = [
        {
            "client": f"tritonclient {version('tritonclient')}",
            "request": way,
            "photographs": len(expected),
            "largest difference of a probability": f"{value:.1e}",
            "decisions": "identical",
        }
        for way, value in worst.items()
    ]
    print(json.dumps(rows, indent=1))
    if given.csv:
        with open(given.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
