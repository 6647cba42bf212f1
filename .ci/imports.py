"""Imports every module of the installed package, and writes a small table with its images to this folder."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

from PIL import Image

import labelwise

# Libraries of the extras, which are not installed here.
EXTRAS = {
    "lancedb",
    "fastapi",
    "uvicorn",
    "starlette",
    "prometheus_client",
    "ray",
    "onnx",
    "openvino",
    "pandas",
    "pyspark",
    "psycopg",
    "qdrant_client",
    "grpc",
    "google",  # protobuf
    "nncf",
    "executorch",
    "litert_torch",
    "ai_edge_litert",
    "coremltools",
}


def main() -> None:
    done, left = 0, []
    for module in pkgutil.walk_packages(labelwise.__path__, "labelwise.", onerror=lambda name: None):
        if module.name == "labelwise.__main__":
            continue
        try:
            import_module(module.name)
            done += 1
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in EXTRAS:
                raise
            left.append(module.name)
    print(f"{done} modules imported, {len(left)} need an extra: {' '.join(left)}")
    assert done > 300
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 90, 120)).save(f"{number}.png")
    Path("table.csv").write_text(
        "image,dog,cat\n0.png,1,0\n1.png,0,1\n2.png,,1\n3.png,1,\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
