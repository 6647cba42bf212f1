"""Writes label-studio-sdk-VERSION/ with the package's own converter; run where label-studio-sdk and Pillow are.

python tests/data/tools/write_label_studio.py
"""

from __future__ import annotations

import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from label_studio_sdk.converter import Converter
from PIL import Image

HERE = Path(__file__).resolve().parent / f"label-studio-sdk-{version('label-studio-sdk')}"
CONFIG = """<View><Image name="img" value="$picture"/>
<Choices name="objects" toName="img" choice="multiple">
<Choice value="cat"/><Choice value="dog"/><Choice value="street, wet"/><Choice value="never"/></Choices>
<Choices name="weather" toName="img" choice="single"><Choice value="sun"/><Choice value="rain"/></Choices>
<Taxonomy name="kind" toName="img"><Choice value="Animal"><Choice value="Cat"/></Choice></Taxonomy>
<RectangleLabels name="box" toName="img"><Label value="face"/></RectangleLabels>
<TextArea name="remark" toName="img"/><Rating name="stars" toName="img"/></View>"""


def result(control: str, kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": control[:3],
        "type": kind,
        "from_name": control,
        "to_name": "img",
        "origin": "manual",
        "value": {kind: value, **more},
    }


def annotation(number: int, *results: dict[str, Any], cancelled: bool = False) -> dict[str, Any]:
    when = f"2026-11-28T10:0{number}:00.000000Z"
    return {
        "id": number,
        "completed_by": 1,
        "result": list(results),
        "was_cancelled": cancelled,
        "ground_truth": False,
        "created_at": when,
        "updated_at": when,
        "lead_time": 3.2,
    }


def task(number: int, *annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    image = f"/data/upload/1/0a1b2c3{number}-p{number}.jpg"
    return {
        "id": number,
        "annotations": list(annotations),
        "file_upload": image.rpartition("/")[2],
        "drafts": [],
        "predictions": [],
        "data": {"picture": image, "title": f"photo {number}"},
        "meta": {},
        "created_at": "2026-11-28T09:00:00.000000Z",
        "updated_at": "2026-11-28T09:00:00.000000Z",
        "project": 1,
        **more,
    }


FACE = result("box", "rectanglelabels", ["face"], x=25, y=0, width=50, height=50, rotation=0)
FACE |= {"original_width": 8, "original_height": 8, "image_rotation": 0}
TASKS = [
    task(
        1,
        annotation(
            1,
            result("objects", "choices", ["cat", "street, wet"]),
            result("weather", "choices", ["sun"]),
            result("kind", "taxonomy", [["Animal", "Cat"], ["Animal"]]),
            FACE,
            {**result("remark", "textarea", []), "value": {"text": ["hello"]}},
            {**result("stars", "rating", 3), "value": {"rating": 3}},
        ),
    ),
    task(2, annotation(2, result("objects", "choices", ["dog"]))),
    task(3, predictions=[{"id": 1, "result": [result("objects", "choices", ["cat"])], "score": 0.9}]),
    task(4, annotation(4)),
    task(5, annotation(5, result("objects", "choices", ["dog"]), cancelled=True)),
    task(
        6,
        annotation(6, result("objects", "choices", ["dog"])),
        annotation(7, result("objects", "choices", ["dog"]), result("weather", "choices", ["rain"])),
    ),
]


def main() -> None:
    logging.disable(logging.WARNING)
    upload = HERE / "upload" / "1"
    upload.mkdir(parents=True, exist_ok=True)
    for number in range(1, 7):
        colour = (40 * number, 255 - 40 * number, 90)
        Image.new("RGB", (8, 8), colour).save(upload / f"0a1b2c3{number}-p{number}.jpg", quality=50)
    given = HERE / "JSON.json"
    given.write_text(json.dumps(TASKS), encoding="utf-8")
    converter = Converter(CONFIG, project_dir=None, download_resources=False)
    for form in ("JSON_MIN", "COCO"):
        converter.convert(str(given), str(HERE), form, is_dir=False)
        (HERE / "result.json").rename(HERE / f"{form}.json")
    for form, mark in (("CSV", ","), ("TSV", "\t")):
        converter.convert_to_csv(str(given), str(HERE), is_dir=False, sep=mark)
        (HERE / "result.csv").rename(HERE / f"{form}.{form.lower()}")
    for folder in HERE.glob("images"):
        folder.rmdir()


if __name__ == "__main__":
    main()
