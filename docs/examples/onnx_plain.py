"""python onnx_plain.py EXPORTED photo.jpg ...: needs onnxruntime, numpy and pillow, nothing else."""

import json
import sys

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

about = json.load(open(sys.argv[1] + "/artefact.json", encoding="utf-8"))  # noqa: SIM115
session = ort.InferenceSession(sys.argv[1] + "/model.onnx", providers=["CPUExecutionProvider"])
labels, how, before = about["labels"]["names"], about["decisions"], about["preprocessing"]
by_name = (how["thresholds"], *how["calibration"].values())
over, scale, bias = np.array([[numbers[name] for name in labels] for numbers in by_name])
over[[labels.index(name) for name in how["rules"].pop("never", [])]] = 2  # nothing taught these labels
simple = before["resize"] == "squash" and "larger" not in before
assert (simple, how["rules"]) == (True, {"exclusive": [], "top_k": 0}), "use labelwise"
for file in sys.argv[2:]:
    (image := Image.open(file)).draft("RGB", (max(before["size"]),) * 2)
    x = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    for axis in (1, 0):  # the resize that the model was judged with: bicubic, antialiased, in whole numbers
        step, stop = x.shape[axis] / before["size"][axis], np.arange(before["size"][axis])[:, None] + 0.5
        d = (abs(np.arange(x.shape[axis]) + 0.5 - stop * step) / max(step, 1)).clip(max=2)
        w = np.where(d < 1, (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2)
        w = w / w.sum(1, keepdims=True)
        one = 2.0 ** int(np.log2(32767.49 / w.max()))
        x = np.moveaxis(np.tensordot(np.trunc(w * one + np.copysign(0.5, w)), x, (1, axis)), 0, axis)
        x = np.clip((x + one / 2) // one, 0, 255)
    z = session.run(["logits"], {"images": x.astype(np.uint8).transpose(2, 0, 1)[None]})[0]
    p = 1 / (1 + np.exp(-(z[0] * scale + bias)))
    print(json.dumps({"image": file, **{labels[j]: p[j] for j in np.argsort(-p) if p[j] >= over[j]}}))
