#!/usr/bin/env bash
# Package:  lightly-train 0.18.0 (with timm 1.0.31)
# Date:     2026-11-30
# Expected: its documentation says that all timm models are supported and that an image classifier may have any of its
#           backbones; so one trains on tf_efficientnet_lite0 or mobilenetv2_100 as on resnet18.
# Happens:  the model is built, and the first step raises RuntimeError: shapes cannot be multiplied. The linear layer is
#           as wide as timm's num_features (1,280), the width after the last convolution, conv_head. The features are
#           the last of timm's forward_intermediates, which are those before conv_head (320). timm's forward_features
#           gives the 1,280. Where no convolution follows the last stage (resnet18), or only after pooling
#           (mobilenetv3_small_050), the widths agree, and it trains.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    lightly-train==0.18.0 timm==1.0.31 pytorch_lightning==2.6.6 albumentations==2.0.8 albucore==0.0.24 \
    opencv-python-headless==4.14.0.94 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 pillow==13.0.0
cd "$here"
export HF_HUB_OFFLINE=1 LIGHTLY_TRAIN_CACHE_DIR="$here/cache" LIGHTLY_TRAIN_EVENTS_DISABLED=1
"$here/venv/bin/python" - 2> log.txt <<'PY' || { tail -n 20 log.txt; exit 1; }
import contextlib
import os
from pathlib import Path

import lightly_train
import timm
import torch
from PIL import Image

for split in ("train", "val"):
    for label, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Path(split, label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (64, 64), colour).save(f"{split}/{label}/{number}.png")


def trained(name):
    """What one step of training on a timm model without weights ends with."""
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            lightly_train.train_image_classification(
                out=f"out/{name}",
                model=f"timm/{name}",
                data={"train": "train", "val": "val", "classes": {0: "red", 1: "blue"}},
                steps=1,
                batch_size=4,
                num_workers=0,
                accelerator="cpu",
                devices=1,
                precision="32-true",
                transform_args={"image_size": (64, 64)},
            )
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "trained"


def widths(name):
    """num_features, and channels of forward_features and of the last of forward_intermediates."""
    model = timm.create_model(name, pretrained=False).eval()
    with torch.no_grad():
        image = torch.zeros(1, 3, 64, 64)
        last = model.forward_intermediates(image, indices=1, intermediates_only=True)[0]
        return model.num_features, model.forward_features(image).shape[1], last.shape[1]


unequal = "mat1 and mat2 shapes cannot be multiplied (4x320 and 1280x2)"
expected = {
    "resnet18": ((512, 512, 512), "trained"),
    "mobilenetv3_small_050": ((288, 288, 288), "trained"),
    "tf_efficientnet_lite0": ((1280, 1280, 320), unequal),
    "mobilenetv2_100": ((1280, 1280, 320), unequal),
}
seen = {}
for name in expected:
    seen[name] = widths(name), trained(name)
    print(f"{name}: num_features %d, forward_features %d, last of forward_intermediates %d" % seen[name][0])
    print(f"    one step of training: {seen[name][1]}")
if seen != expected:
    raise SystemExit("changed: a width, or what a step of training ends with")
PY
