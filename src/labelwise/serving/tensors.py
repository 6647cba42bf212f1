"""Images and predictions as tensors of the Open Inference Protocol, in JSON or in binary data."""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.responses import JSONResponse, Response

from labelwise.inference.prediction import Prediction
from labelwise.serving.intake import Upload
from labelwise.serving.limits import Limits, Refused

HEADER = "Inference-Header-Content-Length"
"""Length in bytes of the JSON part of a body that is followed by binary tensors."""
INPUTS = (
    {"name": "image", "datatype": "BYTES", "shape": [-1]},
    {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
)
"""Encoded image files, in JSON as base64; or upright RGB pixels of images of one size. A request has one of them."""


@dataclass(frozen=True)
class Inference:
    """An inference request.

    Args:
        images: its images.
        outputs: name -> whether it is returned as binary data.
        id: returned with the response.
    """

    images: list[Upload]
    outputs: dict[str, bool]
    id: str | None


def read_inference(body: bytes, headers: Mapping[str, str], limits: Limits) -> Inference:
    """The images and the requested outputs of a body.

    Raises:
        Refused: 400 for a body that is not of the protocol, 413 for too many images, 415 for a compressed body.
    """
    if (coding := headers.get("content-encoding", "identity")) != "identity":
        raise Refused(415, f"a body in {coding}", "a body without compression", "send it plain")
    text, binary = body, b""
    if (length := headers.get(HEADER)) is not None:
        if not length.isdecimal() or int(length) > len(body):
            raise protocol_error(f"{HEADER} {length!r}", f"at most the {len(body):,} bytes of the body")
        text, binary = body[: int(length)], body[int(length) :]
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise protocol_error("JSON that cannot be read", "an inference request") from None
    return inference(content, binary, limits)


def inference(content: Any, binary: bytes, limits: Limits) -> Inference:
    """The images and the requested outputs of the JSON part of a request, with the binary tensors after it.

    Raises:
        Refused: 400 for content that is not of the protocol, 413 for too many images.
    """
    entries = content.get("inputs") if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise protocol_error("a request without one input", "the input `image` or `pixels`")
    images = _images(entries[0], binary, limits)
    if len(images) > limits.files:
        raise Refused(
            413, f"{len(images)} images", f"at most {limits.files} in a request", "send them in parts"
        )
    request_id = content.get("id")
    uploads = [Upload("", image, _too_large(image, limits)) for image in images]
    return Inference(uploads, _outputs(content), request_id if isinstance(request_id, str) else None)


def response(
    requested: Inference, predictions: Sequence[Prediction | str], names: tuple[str, ...], model: str
) -> Response:
    """The response to a request: its tensors in JSON, or after it where binary data were requested."""
    for index, prediction in enumerate(predictions):
        if isinstance(prediction, str):
            return JSONResponse({"error": f"image {index}: {prediction}"}, 422)
    outputs, binary = [], b""
    for name, kind, tensor in tensors_of(requested, predictions, names):
        entry: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(tensor.shape)}
        if requested.outputs[name]:
            data = raw(kind, tensor)
            entry["parameters"] = {"binary_data_size": len(data)}
            binary += data
        else:
            entry["data"] = tensor.ravel().tolist()
        outputs.append(entry)
    content = {"model_name": model, "outputs": outputs, **({"id": requested.id} if requested.id else {})}
    if not binary:
        return JSONResponse(content)
    head = json.dumps(content).encode()
    return Response(head + binary, media_type="application/octet-stream", headers={HEADER: str(len(head))})


def tensors_of(
    requested: Inference, predictions: Sequence[Prediction | str], names: tuple[str, ...]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, datatype and values of each requested output, for images that were all read."""
    readable = [p for p in predictions if isinstance(p, Prediction)]
    for name in requested.outputs:
        if name == "scores":
            yield name, "FP32", np.array([[p.scores[n] for n in names] for p in readable], np.float32)
        elif name == "selected":
            selections = [set(p.selected) for p in readable]
            yield name, "BOOL", np.array([[n in selected for n in names] for selected in selections], bool)
        elif name == "maps":
            yield name, "FP32", np.stack([np.asarray(p.maps, np.float32) for p in readable])
        else:
            yield name, "BYTES", np.array(names, object)


def raw(kind: str, tensor: np.ndarray) -> bytes:
    """A tensor as binary data; elements of BYTES each after its length."""
    return elements(text.encode() for text in tensor) if kind == "BYTES" else tensor.tobytes()


def elements(values: Iterable[bytes]) -> bytes:
    """Binary data of a tensor of BYTES."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def _outputs(content: Mapping[str, Any]) -> dict[str, bool]:
    """Requested outputs, and whether each is returned as binary data."""
    known = {"scores", "selected", "maps", "labels"}
    all_binary = _parameters(content).get("binary_data_output") is True
    listed = content.get("outputs")
    if listed is None or listed == []:
        return {"scores": all_binary, "selected": all_binary}
    if not isinstance(listed, list) or not all(isinstance(output, dict) for output in listed):
        raise protocol_error("outputs of another form", "a list of objects")
    names = [output.get("name") for output in listed]
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise protocol_error(f"the output {name!r}", ", ".join(sorted(known)))
    return {
        name: _parameters(output).get("binary_data", all_binary) is True
        for name, output in zip(names, listed, strict=True)
    }


def _images(entry: Mapping[str, Any], binary: bytes, limits: Limits) -> list[bytes | np.ndarray]:
    """The images of the input, encoded files or arrays `[H, W, 3]`."""
    name, shape, kind = entry.get("name"), entry.get("shape"), entry.get("datatype")
    known = {tensor["name"]: tensor["datatype"] for tensor in INPUTS}
    if not isinstance(name, str) or known.get(name) != kind:
        raise protocol_error(f"the input {name!r} of {kind!r}", "`image` of BYTES or `pixels` of UINT8")
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        raise protocol_error(f"{name} of shape {shape!r}", "positive sizes")
    count, size = math.prod(shape), _parameters(entry).get("binary_data_size")
    if (name == "image" and count != shape[0]) or (name == "pixels" and (len(shape) != 4 or shape[3] != 3)):
        raise protocol_error(f"{name} of shape {shape}", "[N] of image, [N, H, W, 3] of pixels")
    if size is not None and (type(size) is not int or size != len(binary)):
        raise protocol_error(f"binary_data_size {size!r}", f"the {len(binary):,} bytes after the JSON")
    if name == "image":
        files = _read_elements(binary) if size is not None else _decoded_base64(entry.get("data"))
        if len(files) != count:
            raise protocol_error(f"{len(files)} images of shape {shape}", f"{count} images")
        return list(files)
    flat = np.frombuffer(binary, np.uint8) if size is not None else _whole_numbers(entry.get("data"))
    if flat.size != count:
        raise protocol_error(f"{flat.size:,} values of shape {shape}", f"{count:,} values")
    return list(flat.reshape(shape))


def _read_elements(data: bytes) -> list[bytes]:
    """The elements of a binary tensor of BYTES, each after its length."""
    values, start = list[bytes](), 0
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "little")
        end = start + 4 + length
        if end > len(data):
            raise protocol_error(
                "an element that ends after the body", "the length of each element before it"
            )
        values.append(data[start + 4 : end])
        start = end
    return values


def _decoded_base64(data: Any) -> list[bytes]:
    try:
        return [base64.b64decode(text, validate=True) for text in np.ravel(np.array(data, object)).tolist()]
    except (binascii.Error, ValueError, TypeError):
        raise protocol_error("data of `image` that are no base64", "image files in base64") from None


def _whole_numbers(data: Any) -> np.ndarray:
    try:
        values = np.asarray(data)
    except (ValueError, OverflowError):
        values = np.array([""])
    if values.dtype.kind not in "iu" or not values.size or values.min() < 0 or values.max() > 255:
        raise protocol_error("data of `pixels` that are not 0 to 255", "whole numbers from 0 to 255")
    return values.astype(np.uint8).ravel()


def _too_large(image: bytes | np.ndarray, limits: Limits) -> str | None:
    """Why an image exceeds the limits; `None` for one that does not."""
    if isinstance(image, bytes) and len(image) > limits.file_bytes:
        return f"file of {len(image):,} bytes; expected at most {limits.file_bytes:,}; shrink it"
    if not isinstance(image, bytes) and image.size // 3 > limits.pixels:
        return f"image of {image.size // 3:,} pixels; expected at most {limits.pixels:,}; shrink it"
    return None


def _parameters(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = entry.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def protocol_error(given: str, expected: str) -> Refused:
    """The refusal of content that is not of the protocol."""
    return Refused(400, given, expected, "see the Open Inference Protocol")
